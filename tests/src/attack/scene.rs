//! What every attack needs: a node, its memory, two neighbours, and the users of the attack.

use std::net::Ipv4Addr;

use futures::{StreamExt, stream};
use http::Method;

use super::memory::Memory;
use super::neighbours::Neighbours;
use crate::account::{Account, Id};
use crate::node::Node;

/// The longest content, of characters that take six bytes each in JSON.
pub(super) fn escaped() -> String {
    "\u{1}".repeat(16 * 1024)
}

/// A node under attack.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) node: Node,
    pub(super) memory: Memory,
    pub(super) neighbours: Neighbours,
    /// A user of the attack.
    pub(super) eve: Account,
    /// Another one.
    pub(super) mallory: Account,
}

impl Scene {
    pub(super) async fn start(settings: &[(&str, &str)]) -> Self {
        let node = Node::start_watched(Ipv4Addr::LOCALHOST.into(), settings).await;
        let memory = Memory::of(node.id());
        memory.pin_to_first_core();
        let neighbours = Neighbours::meet(node.address()).await;
        let eve = Account::sign_up(node.address(), "eve").await;
        let mallory = Account::sign_up(node.address(), "mallory").await;
        Self { node, memory, neighbours, eve, mallory }
    }

    /// Stores `count` messages of `content` in the direct channel of eve and mallory.
    pub(super) async fn stored(&self, count: usize, content: &str) -> Id {
        let channel_id = self.mallory.direct(&self.eve).await;
        let sends = (0..count).map(|_| self.mallory.say(channel_id, content, None));
        stream::iter(sends).buffer_unordered(16).for_each(async |_| {}).await;
        channel_id
    }

    /// Ordinary requests, so that the node holds what it holds in use.
    pub(super) async fn warm_up(&self) {
        let channel_id = self.eve.direct(&self.mallory).await;
        for _ in 0..50 {
            self.eve.say(channel_id, "hello", None).await;
            let path = format!("/v1/channels/{channel_id}/messages?limit=10");
            self.eve.must(Method::GET, &path, None, 200).await;
        }
        for _ in 0..10 {
            let session = self.eve.open(None).await;
            self.eve.close(&session).await;
        }
    }

    /// Whether the node serves an ordinary request.
    pub(super) async fn serves(&self) -> bool {
        let response = self.mallory.call(Method::GET, "/v1/me", None).await;
        response.is_ok_and(|response| response.status == 200)
    }
}
