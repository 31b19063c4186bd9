//! What all scenarios share: users on a node, a proxy in between, and waiting for conditions.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pabal_client::{
    Account, Backoff, ChannelId, Client, Connection, Event, Fallback, Message, MessageId, Options,
    Policy,
};
use pabal_tests::address::Address;
use pabal_tests::node::Node;
use pabal_tests::proxy::FaultProxy;
use pabal_tests::wait;

/// The limit of a scenario, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(240);
pub(crate) const PASSWORD: &str = "correct horse";

/// Runs a scenario to its end. All its tasks end with it.
pub(crate) fn run(scenario: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let ended = tokio::time::timeout(DEADLINE, scenario).await;
        assert!(ended.is_ok(), "the scenario took longer than {DEADLINE:?}");
    });
}

/// Time limits that suit a test.
pub(crate) fn options(transports: Policy) -> Options {
    Options {
        transports,
        poll_interval: Duration::from_millis(20),
        backoff: Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(100) },
        fallback: Fallback {
            establish_within: Duration::from_secs(3),
            // Cut connections must not change the transport under test.
            failures: 1_000,
            ..Fallback::default()
        },
        ..Options::default()
    }
}

/// A node, and a proxy through which some users reach it.
pub(crate) struct World {
    pub(crate) node: Arc<Node>,
    pub(crate) proxy: FaultProxy,
}

impl World {
    /// On the node that scenarios share.
    pub(crate) async fn shared() -> Self {
        Self::on(Node::shared().await).await
    }

    /// On a node of its own.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(Arc::new(Node::start(settings).await)).await
    }

    async fn on(node: Arc<Node>) -> Self {
        let proxy = FaultProxy::to(node.address()).await;
        Self { node, proxy }
    }

    /// A new user who reaches the node directly.
    pub(crate) async fn user(&self) -> Account {
        sign_up(self.node.address()).await
    }

    /// A new user who reaches the node through the proxy.
    pub(crate) async fn user_behind_proxy(&self) -> Account {
        sign_up(self.proxy.address()).await
    }

    /// Two new users, the second behind the proxy, and their direct channel.
    pub(crate) async fn pair(&self) -> (Account, Account, ChannelId) {
        let (one, other) = (self.user().await, self.user_behind_proxy().await);
        let channel = one.direct(other.user_id()).await.unwrap();
        (one, other, channel.channel_id)
    }
}

async fn sign_up(address: &Address) -> Account {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("user{}", COUNT.fetch_add(1, Ordering::Relaxed));
    client(address).sign_up(&name, PASSWORD).await.unwrap()
}

pub(crate) fn client(address: &Address) -> Client {
    Client::builder(format!("http://{}", address.get())).build().unwrap()
}

/// Sends `lines` one after another, each by one request.
pub(crate) async fn say(account: &Account, channel_id: ChannelId, lines: &[String]) {
    for line in lines {
        account.post_message(channel_id, line, line).await.unwrap();
    }
}

/// Distinct contents.
pub(crate) fn lines(name: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{name} {number}")).collect()
}

/// What a connection has yielded.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) messages: Vec<Message>,
    pub(crate) others: Vec<Event>,
    newest: BTreeMap<ChannelId, MessageId>,
}

impl Journal {
    /// Takes events until a condition is fulfilled.
    pub(crate) async fn until(
        &mut self,
        connection: &mut Connection,
        what: &str,
        shows: impl Fn(&Self) -> bool,
    ) {
        wait::soon(what, async {
            while !shows(self) {
                let event = connection.next().await.expect("the connection continues");
                self.note(event.expect("no error"));
            }
        })
        .await;
    }

    fn note(&mut self, event: Event) {
        let Event::Message(message) = event else {
            // No device in these tests reports the same read position twice.
            let twice = matches!(event, Event::Read { .. }) && self.others.contains(&event);
            assert!(!twice, "{event:?} was delivered twice");
            return self.others.push(event);
        };
        let newest = self.newest.entry(message.channel_id).or_default();
        assert!(message.message_id > *newest, "{message:?} after {newest}: repeated or late");
        *newest = message.message_id;
        self.messages.push(message);
    }

    pub(crate) fn contents(&self) -> Vec<&str> {
        self.messages.iter().map(|message| message.content.as_str()).collect()
    }
}

/// Takes as many messages as `lines` has, and compares.
pub(crate) async fn hears(connection: &mut Connection, journal: &mut Journal, lines: &[String]) {
    let from = journal.messages.len();
    let count = from + lines.len();
    let what = format!("{} messages", lines.len());
    journal.until(connection, &what, |journal| journal.messages.len() >= count).await;
    assert_eq!(journal.contents()[from..], *lines);
}

/// The contents of a channel.
pub(crate) async fn history(account: &Account, channel_id: ChannelId) -> Vec<String> {
    let mut all = Vec::new();
    let mut from = MessageId::START;
    loop {
        let page = account.messages(channel_id, pabal_client::PageFrom::After(from)).await.unwrap();
        from = page.entries.last().map_or(from, |message| message.message_id);
        all.extend(page.entries.into_iter().map(|message| message.content));
        if !page.has_more {
            return all;
        }
    }
}
