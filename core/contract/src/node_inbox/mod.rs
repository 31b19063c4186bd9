//! What every [`NodeInbox`] must do. Owns no adapter.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::property::node;
use pabal_core::model::{MessageId, NodeId};
use pabal_core::ports::{Delivery, InboxEntry, InboxError, InboxPosition, NodeInbox};

mod opening;
mod sending;
mod receiving;
mod bounds;

type Inbox = Arc<dyn NodeInbox>;

/// Runs the suite. `fresh` creates an adapter without inboxes; each inbox has exactly the given
/// capacity.
///
/// If the adapter breaks the contract.
/// Where the adapter breaks the contract.
pub async fn run(fresh: impl AsyncFn(usize) -> Inbox) {
    let roomy = async || fresh(ALL).await;
    opening::run(&roomy).await;
    sending::run(&roomy).await;
    receiving::run(&roomy).await;
    bounds::run(&fresh).await;
}

const TIGHT: usize = 4;
/// The limit for receiving all entries.
const ALL: usize = 1_000;
const START: InboxPosition = InboxPosition(0);

/// A delivery that carries only `number`.
fn delivery(number: u64) -> Delivery {
    Delivery::Stored { message_id: MessageId::new(number), first_id: MessageId::new(number) }
}

fn numbered(numbers: Range<u64>) -> Vec<Delivery> {
    numbers.map(delivery).collect()
}

fn number(entry: &InboxEntry) -> u64 {
    match &entry.delivery {
        Delivery::Stored { message_id, .. } => message_id.get(),
        other => panic!("not a delivery of this suite: {other:?}"),
    }
}

async fn open(inbox: &Inbox, name: &str) -> NodeId {
    let node = node(name);
    inbox.open(&node).await.expect("opens");
    node
}

async fn receive(inbox: &Inbox, name: &str, after: InboxPosition) -> Vec<InboxEntry> {
    inbox.receive(&node(name), after, ALL).await.expect("receives")
}

/// Receives and confirms until `count` entries have arrived.
async fn drain(inbox: &Inbox, name: &str, count: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut after = START;
    while (numbers.len() as u64) < count {
        let entries = receive(inbox, name, after).await;
        assert_rising(&entries);
        assert!(entries[0].position > after);
        after = entries[entries.len() - 1].position;
        numbers.extend(entries.iter().map(number));
    }
    numbers
}

fn spawn_receive(
    inbox: &Inbox,
    name: &str,
    after: InboxPosition,
) -> JoinHandle<Result<Vec<InboxEntry>, InboxError>> {
    let (inbox, node) = (inbox.clone(), node(name));
    tokio::spawn(async move { inbox.receive(&node, after, ALL).await })
}

fn spawn_send(
    inbox: &Inbox,
    name: &str,
    deliveries: Vec<Delivery>,
) -> JoinHandle<Result<(), InboxError>> {
    let (inbox, node) = (inbox.clone(), node(name));
    tokio::spawn(async move { inbox.send(&node, deliveries).await })
}

/// Asserts that the entries carry exactly these numbers, in order.
fn assert_holds(entries: &[InboxEntry], numbers: Range<u64>) {
    assert_rising(entries);
    let found: Vec<_> = entries.iter().map(number).collect();
    assert_eq!(found, numbers.collect::<Vec<_>>());
}

fn assert_rising(entries: &[InboxEntry]) {
    assert!(entries.is_sorted_by(|entry, next| entry.position < next.position), "{entries:?}");
}

fn assert_unknown<T: Debug>(result: &Result<T, InboxError>) {
    assert!(matches!(result, Err(InboxError::UnknownNode(_))), "{result:?} without an inbox");
}
