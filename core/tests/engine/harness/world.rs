//! The ports with users and channels, and the engines that run on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pabal_core::engine::{Engine, EngineConfig, Limits, SendRequest, Sent, StartError};
use pabal_core::memory::{ManualClock, MemoryPushNotifier};
use pabal_core::model::{
    Channel, ChannelId, ChannelKind, Device, DeviceId, MessageId, NodeId, Role, Timestamp,
    TokenHash, User, UserId,
};
use pabal_core::ports::{
    Access, Clock, Delivery, Directory, HistoryStore, NodeInfo, NodeRegistry, PageFrom, Ports,
    RelationLimits,
};
use pabal_core::protocol::{Problem, ProblemCode};
use tokio::task::JoinHandle;

use super::{
    TestDirectory, TestHistory, TestInbox, TestInterest, TestLog, TestPresence, TestRegistry,
};

/// Noon of a day in 2027.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const LARGE: usize = 10_000;
const RELATIONS: RelationLimits = RelationLimits::DEFAULT;

/// Everything that engines run on.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) log: Arc<TestLog>,
    pub(crate) inbox: Arc<TestInbox>,
    pub(crate) history: Arc<TestHistory>,
    pub(crate) presence: Arc<TestPresence>,
    pub(crate) interest: Arc<TestInterest>,
    pub(crate) directory: Arc<TestDirectory>,
    pub(crate) push: Arc<MemoryPushNotifier>,
    pub(crate) registry: Arc<TestRegistry>,
    pub(crate) limits: Limits,
    pub(crate) partitions: u16,
    next_id: AtomicU64,
}

impl World {
    /// A world without users, with large limits and without a rate limit.
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        Self {
            log: Arc::new(TestLog::new(clock.clone(), LARGE)),
            inbox: Arc::new(TestInbox::new(LARGE)),
            history: Arc::default(),
            presence: Arc::default(),
            interest: Arc::default(),
            directory: Arc::default(),
            push: Arc::new(MemoryPushNotifier::new(LARGE)),
            registry: Arc::default(),
            limits: Limits { sends_per_second: None, ..Limits::default() },
            partitions: 4,
            next_id: AtomicU64::new(1),
            clock,
        }
    }

    /// A new world with other limits.
    pub(crate) fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let mut world = Self::new();
        change(&mut world.limits);
        world
    }

    /// The next engine gets an empty log with this capacity a partition.
    pub(crate) fn log_of(&mut self, capacity: usize) {
        self.log = Arc::new(TestLog::new(self.clock.clone(), capacity));
    }

    pub(crate) async fn start(&self) -> Engine {
        self.start_node("one").await
    }

    pub(crate) async fn start_node(&self, name: &str) -> Engine {
        self.try_start(name).await.expect("starts")
    }

    pub(crate) async fn try_start(&self, name: &str) -> Result<Engine, StartError> {
        let config = EngineConfig {
            node: node(name),
            partitions: self.partitions,
            limits: self.limits.clone(),
        };
        Engine::start(config, self.ports()).await
    }

    pub(crate) fn ports(&self) -> Ports {
        Ports {
            clock: self.clock.clone(),
            log: self.log.clone(),
            inbox: self.inbox.clone(),
            history: self.history.clone(),
            presence: self.presence.clone(),
            interest: self.interest.clone(),
            directory: self.directory.clone(),
            push: self.push.clone(),
            registry: self.registry.clone(),
        }
    }

    /// Announces a node, as its gateway does regularly.
    pub(crate) async fn announce(&self, name: &str, lease: Duration, draining: bool) {
        let info = NodeInfo {
            node: node(name),
            url: format!("http://{name}"),
            peer_url: format!("http://{name}"),
            websocket_url: String::new(),
            region: String::new(),
            location: None,
            capacity: 10,
            load: 0,
            draining,
        };
        self.registry.heartbeat(info, lease).await.expect("is announced");
    }

    /// Signs a user up.
    pub(crate) async fn user(&self, username: &str) -> UserId {
        let user_id = UserId::new(self.number());
        let user = User {
            user_id,
            username: username.into(),
            display_name: username.into(),
            status_text: String::new(),
            avatar_url: String::new(),
            created_at: NOW,
        };
        let access = self.new_access(user_id);
        self.directory.sign_up(user, String::new(), access).await.expect("signs up");
        user_id
    }

    /// Logs a user in on a new device.
    pub(crate) async fn log_in(&self, user_id: UserId) -> Access {
        let access = self.new_access(user_id);
        self.directory.log_in(access.clone()).await.expect("logs in");
        access
    }

    /// Another token for the device of `access`.
    pub(crate) async fn log_in_again(&self, access: &Access) -> Access {
        self.log_in_until(access, access.expires_at).await
    }

    /// Another token for the device of `access`, with another end.
    pub(crate) async fn log_in_until(&self, access: &Access, expires_at: Timestamp) -> Access {
        let token = self.new_access(access.device.user_id).token;
        let again = Access { token, expires_at, ..access.clone() };
        let (known, now) = (access.token, self.clock.now());
        let added = self.directory.accounts().log_in_again(known, again.clone(), now).await;
        assert!(added.expect("logs in"), "the first token lives");
        again
    }

    fn new_access(&self, user_id: UserId) -> Access {
        let number = self.number();
        let name = String::new();
        Access {
            token: TokenHash::of(&number.to_string()),
            device: Device { device_id: DeviceId::new(number), user_id, name },
            expires_at: NOW.plus(Duration::from_secs(30 * 24 * 3_600)),
        }
    }

    /// A group of `users`; the first one is the owner.
    pub(crate) async fn group(&self, users: &[UserId]) -> ChannelId {
        let channel = self.new_channel(ChannelKind::Group);
        let channel_id = channel.channel_id;
        let members = users.to_vec();
        self.directory
            .create_group(channel, users[0], members, RELATIONS)
            .await
            .expect("creates a group");
        channel_id
    }

    /// The direct channel of two users.
    pub(crate) async fn direct(&self, one: UserId, other: UserId) -> ChannelId {
        let new = self.new_channel(ChannelKind::Direct);
        let made = self.directory.direct_channel([one, other], new, RELATIONS).await;
        made.expect("creates a channel").0.channel_id
    }

    fn new_channel(&self, kind: ChannelKind) -> Channel {
        let name = (kind == ChannelKind::Group).then(|| "a group".to_owned());
        Channel {
            channel_id: ChannelId::new(self.number()),
            kind,
            name,
            created_at: self.clock.now(),
        }
    }

    fn number(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a member in the order of the API: first in the directory, then on the nodes concerned.
    pub(crate) async fn add(&self, engine: &Engine, channel_id: ChannelId, user_id: UserId) {
        self.put(channel_id, user_id).await;
        engine.publish(Delivery::Membership { channel_id, user_id, joined: true }).await;
    }

    /// Adds a member to the directory only.
    pub(crate) async fn put(&self, channel_id: ChannelId, user_id: UserId) {
        let owner = self.owner(channel_id).await;
        let put = self.directory.put_member(owner, channel_id, user_id, None, RELATIONS).await;
        assert_eq!(put.expect("adds").before, None, "was already a member");
    }

    /// An owner of a group.
    async fn owner(&self, channel_id: ChannelId) -> UserId {
        let members = self.directory.members(channel_id).await.expect("reads");
        let owner = members.iter().find(|member| member.role == Role::Owner);
        owner.expect("a group has an owner").user_id
    }

    /// Removes a member in the same order.
    pub(crate) async fn remove(&self, engine: &Engine, channel_id: ChannelId, user_id: UserId) {
        let left = self.directory.remove_member(user_id, channel_id, user_id).await;
        left.expect("was a member");
        engine.publish(Delivery::Membership { channel_id, user_id, joined: false }).await;
    }

    /// All ids that a channel holds, oldest first.
    pub(crate) async fn stored(&self, channel_id: ChannelId) -> Vec<MessageId> {
        let from = PageFrom::After(MessageId::new(0));
        let page = self.history.page(channel_id, from, usize::MAX.into()).await.expect("reads");
        page.messages.iter().map(|message| message.message_id).collect()
    }
}

pub(crate) fn node(name: &str) -> NodeId {
    name.parse().expect("is a node name")
}

/// A send without a name, which is never a repeat.
pub(crate) fn text(channel_id: ChannelId, content: &str) -> SendRequest {
    SendRequest { channel_id, content: content.into(), client_message_id: None }
}

/// A send with a name, which can be repeated.
pub(crate) fn named(channel_id: ChannelId, name: &str) -> SendRequest {
    SendRequest { client_message_id: Some(name.into()), ..text(channel_id, name) }
}

/// Sends a message and waits until it is acknowledged.
pub(crate) async fn send_hello(engine: &Engine, from: UserId, channel_id: ChannelId) -> MessageId {
    let sent = engine.submit(from, text(channel_id, "hello")).await.expect("is stored");
    sent.message.message_id
}

/// The code of a problem.
pub(crate) fn code<T>(result: Result<T, Problem>) -> ProblemCode {
    result.err().expect("should be refused").code
}

/// Waits until every task waits. Time is paused, and advances only then.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Sends in a task of its own.
pub(crate) fn sending(
    engine: &Engine,
    from: UserId,
    send: SendRequest,
) -> JoinHandle<Result<Sent, Problem>> {
    let engine = engine.clone();
    tokio::spawn(async move { engine.submit(from, send).await })
}
