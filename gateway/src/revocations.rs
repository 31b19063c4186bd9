//! Tells the nodes which access was taken away, from the list that the directory keeps of it.
//!
//! A change that takes access away commits together with its entry in the list. The node that made the
//! change then tells it at once; if it dies before, another node finds the entry, or the same one after
//! a restart. So no session keeps access because a node died in between.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use pabal_core::engine::Engine;
use pabal_core::model::{ChannelId, ChannelKind, UserId};
use pabal_core::ports::{
    Audience, Delivery, Directory, DirectoryError, Revocation, Revoked, RevokedAccess,
};
use pabal_core::protocol::event::{self, Action};
use tokio::sync::watch;

/// How often a node reads the list, so that what another node did not tell takes effect within a
/// second. It is nearly always empty, so a read costs one page that is in memory.
const EVERY: Duration = Duration::from_millis(300);
/// How many entries are read at a time.
const PAGE: usize = 100;
/// How many entries are told at a time: one that waits for a full inbox delays few others.
const CONCURRENT: usize = 16;

/// The list of revoked access, as this node works it off. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Revocations {
    engine: Engine,
    /// The number of the newest request to work the list off.
    asked: watch::Sender<u64>,
    /// The newest of these requests after which the list was worked off.
    done: watch::Sender<u64>,
}

impl Revocations {
    /// The list in the directory of `engine`. [`run`](Self::run) works it off.
    pub fn new(engine: Engine) -> Self {
        Self { engine, asked: watch::Sender::new(0), done: watch::Sender::new(0) }
    }

    /// Tells the nodes what was recorded before this call, and waits until they were told. Returns
    /// without that if the directory fails or the node stops: the list is worked off later, by this
    /// node or another one.
    pub async fn tell(&self) {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        let mut done = self.done.subscribe();
        // It fails only if the node has stopped.
        let _ = done.wait_for(|done| *done >= number).await;
    }

    /// Works the list off whenever it is asked to, and regularly. Never returns.
    pub async fn run(self) {
        let _ended = EndsWaits(self.done.clone());
        let mut asked = self.asked.subscribe();
        let mut failing = false;
        loop {
            let number = *asked.borrow_and_update();
            match self.work_off().await {
                Ok(()) => failing = false,
                // Logged once per outage, not once per attempt.
                Err(error) if !failing => {
                    tracing::warn!(%error, "cannot tell which access was taken away; retrying");
                    failing = true;
                }
                Err(_) => {}
            }
            self.done.send_replace(number);
            // An error means that no handle is left, which this task itself holds.
            let _ = tokio::time::timeout(EVERY, asked.changed()).await;
        }
    }

    async fn work_off(&self) -> Result<(), DirectoryError> {
        let directory = self.directory();
        loop {
            let entries = directory.revocations(PAGE).await?;
            if entries.is_empty() {
                return Ok(());
            }
            let all = entries.len();
            let told = stream::iter(entries).map(|entry| async move {
                let number = entry.number;
                self.tell_one(entry).await.map(|()| number)
            });
            let told: Vec<_> = told.buffer_unordered(CONCURRENT).collect().await;
            let mut failed = None;
            let mut numbers = Vec::with_capacity(all);
            for outcome in told {
                match outcome {
                    Ok(number) => numbers.push(number),
                    Err(error) => failed = Some(error),
                }
            }
            // Removed last: if the node dies before this, the entries are told again.
            directory.forget_revocations(&numbers).await?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
    }

    async fn tell_one(&self, entry: Revocation) -> Result<(), DirectoryError> {
        let Revocation { user_id, revoked, .. } = entry;
        match revoked {
            RevokedAccess::Sessions(revoked) => self.end_sessions(user_id, revoked).await,
            RevokedAccess::Channel { channel_id } => {
                self.tell_membership(user_id, channel_id).await?;
            }
            RevokedAccess::Group { channel_id, name } => {
                self.end_group(channel_id, name.as_deref()).await;
            }
        }
        Ok(())
    }

    async fn end_sessions(&self, user_id: UserId, revoked: Revoked) {
        // On this node at once; on other nodes through their inboxes.
        self.engine.revoke(user_id, revoked).await;
        self.engine.publish(Delivery::EndSessions { user_id, revoked }).await;
    }

    /// Tells whether a user is a member now, which may have changed since the entry: a user who was
    /// removed and added again is a member. It may also change meanwhile, so it is read again.
    async fn tell_membership(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> Result<(), DirectoryError> {
        let mut joined = self.is_member(user_id, channel_id).await?;
        loop {
            let membership = Delivery::Membership { channel_id, user_id, joined };
            self.engine.publish(membership).await;
            let now = self.is_member(user_id, channel_id).await?;
            if now == joined {
                return Ok(());
            }
            joined = now;
        }
    }

    async fn is_member(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> Result<bool, DirectoryError> {
        Ok(self.directory().membership(user_id, channel_id).await?.is_some())
    }

    /// The event goes first: afterwards no session is subscribed to the group.
    async fn end_group(&self, channel_id: ChannelId, name: Option<&str>) {
        let event = event::channel(Action::Deleted, channel_id, ChannelKind::Group, name);
        let audience = Audience::Channel { channel_id, except: None };
        self.engine.publish(Delivery::Event { audience, event }).await;
        self.engine.publish(Delivery::ChannelEnded { channel_id }).await;
    }

    fn directory(&self) -> Arc<dyn Directory> {
        Arc::clone(&self.engine.ports().directory)
    }
}

/// Lets all waits end when the task does.
struct EndsWaits(watch::Sender<u64>);

impl Drop for EndsWaits {
    fn drop(&mut self) {
        self.0.send_replace(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use pabal_core::engine::{EngineConfig, Limits};
    use pabal_core::memory::{
        ManualClock, MemoryDirectory, MemoryHistoryStore, MemoryInterest, MemoryMessageLog,
        MemoryNodeInbox, MemoryNodeRegistry, MemoryPresence, MemoryPushNotifier,
    };
    use pabal_core::model::{Channel, Device, DeviceId, Timestamp, TokenHash, User};
    use pabal_core::ports::{Access, Clock, Ports, RelationLimits};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const GROUP: ChannelId = ChannelId::new(7);
    const ANN: UserId = UserId::new(1);
    const BEN: UserId = UserId::new(2);

    fn access(user_id: UserId) -> Access {
        Access {
            token: TokenHash::of(&user_id.to_string()),
            device: Device {
                device_id: DeviceId::new(user_id.get()),
                user_id,
                name: String::new(),
            },
            expires_at: NOW.plus(Duration::from_secs(60 * 60)),
        }
    }

    /// A node on stores in memory, with Ann's group that Ben is in. The list is not worked off yet.
    async fn node() -> Revocations {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
        let directory = Arc::new(MemoryDirectory::default());
        for user_id in [ANN, BEN] {
            let user = User {
                user_id,
                username: format!("user{user_id}"),
                display_name: String::new(),
                status_text: String::new(),
                avatar_url: String::new(),
                created_at: NOW,
            };
            directory.sign_up(user, String::new(), access(user_id)).await.unwrap();
        }
        let (kind, name) = (ChannelKind::Group, Some("Lunch".to_owned()));
        let group = Channel { channel_id: GROUP, kind, name, created_at: NOW };
        directory.create_group(group, ANN, vec![BEN], RelationLimits::DEFAULT).await.unwrap();
        let ports = Ports {
            log: Arc::new(MemoryMessageLog::new(Arc::clone(&clock), 1_024)),
            inbox: Arc::new(MemoryNodeInbox::new(1_024)),
            history: Arc::new(MemoryHistoryStore::default()),
            presence: Arc::new(MemoryPresence::default()),
            interest: Arc::new(MemoryInterest::default()),
            directory,
            push: Arc::new(MemoryPushNotifier::new(1_024)),
            registry: Arc::new(MemoryNodeRegistry::default()),
            clock,
        };
        let limits = Limits::default();
        let config = EngineConfig { node: "n1".parse().unwrap(), partitions: 1, limits };
        Revocations::new(Engine::start(config, ports).await.unwrap())
    }

    async fn until(mut condition: impl AsyncFnMut() -> bool) {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether a node would route a message of the group to this one.
    async fn subscribed(node: &Revocations) -> bool {
        let interested = node.engine.ports().interest.nodes(&[GROUP]).await.unwrap();
        !interested[0].is_empty()
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_node_recorded_before_it_died_takes_effect() {
        let node = node().await;
        let directory = node.directory();
        node.engine.open_session(&access(ANN), None).await.unwrap();
        node.engine.open_session(&access(BEN), None).await.unwrap();
        // As if the node that made these changes had died before it told them.
        directory.log_out(access(ANN).token).await.unwrap();
        directory.remove_member(ANN, GROUP, BEN).await.unwrap();
        assert_eq!(node.engine.stats().sessions, 2);
        assert!(subscribed(&node).await);
        let task = tokio::spawn(node.clone().run());
        until(async || node.engine.stats().sessions == 1).await;
        until(async || !subscribed(&node).await).await;
        until(async || directory.revocations(10).await.unwrap().is_empty()).await;
        task.abort();
        node.engine.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_who_was_added_again_meanwhile_stays_a_member() {
        let node = node().await;
        let directory = node.directory();
        node.engine.open_session(&access(BEN), None).await.unwrap();
        directory.remove_member(ANN, GROUP, BEN).await.unwrap();
        let limits = RelationLimits::DEFAULT;
        directory.put_member(ANN, GROUP, BEN, None, limits).await.unwrap();
        let task = tokio::spawn(node.clone().run());
        node.tell().await;
        assert_eq!(directory.revocations(10).await.unwrap(), []);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(subscribed(&node).await);
        task.abort();
        node.engine.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_task() {
        let node = node().await;
        let task = tokio::spawn(node.clone().run());
        node.tell().await;
        task.abort();
        node.tell().await;
        node.engine.shutdown().await;
    }
}
