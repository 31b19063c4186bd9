//! How the suites run a property and wait. Owns no property of any port.
//!
//! Suites run against real servers, so nothing here needs paused time, and nothing waits for a time
//! in the hope that something has happened by then: a suite waits for a condition, and a property
//! that does not come to its end fails by name. Under paused time all of it takes no time.

use std::fmt::Debug;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use pabal_core::model::NodeId;

/// How long one property may take; far more than any does.
const PROPERTY_DEADLINE: Duration = Duration::from_secs(30);

/// How long a call is watched before it counts as waiting. Too short can only let a fault pass, it
/// cannot fail a right adapter.
const A_WHILE: Duration = Duration::from_millis(50);

/// Pause between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A lease that a suite waits to end. A suite asserts nothing that must happen within it.
pub(super) const SHORT_LEASE: Duration = Duration::from_millis(150);

/// A lease that outlives every property.
pub(super) const LONG_LEASE: Duration = Duration::from_secs(120);

/// Runs each property in order, each on what `fresh` makes for it.
macro_rules! properties {
    ($fresh:expr => $($property:ident)+) => {
        $($crate::property::ends(stringify!($property), async {
            $property($fresh.await).await
        })
        .await;)+
    };
}
pub(super) use properties;

/// Runs `property`, which must come to its end.
pub(super) async fn ends(name: &str, property: impl Future<Output = ()>) {
    let ended = timeout(PROPERTY_DEADLINE, property).await;
    assert!(ended.is_ok(), "{name} did not end within {PROPERTY_DEADLINE:?}");
}

/// Waits until `condition` holds; the deadline of the property ends the wait.
pub(super) async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    while !condition().await {
        sleep(LOOK_INTERVAL).await;
    }
}

/// Asserts that the call in `task` has not come back.
pub(super) async fn assert_waits<T: Debug>(task: &mut JoinHandle<T>) {
    if let Ok(answer) = timeout(A_WHILE, task).await {
        panic!("should be waiting, but answered {answer:?}");
    }
}

/// What the call in `task` answers, once it does.
pub(super) async fn answer<T>(task: JoinHandle<T>) -> T {
    task.await.expect("the call panicked")
}

/// Starts a call and drops it while it waits.
pub(super) async fn start_and_cancel<T: Debug>(call: impl Future<Output = T>) {
    if let Ok(answer) = timeout(A_WHILE, call).await {
        panic!("should be waiting, but answered {answer:?}");
    }
}

/// The node of this name.
pub(super) fn node(name: &str) -> NodeId {
    name.parse().expect("a node name")
}

/// Nodes `node-0`, `node-1`, …
pub(super) fn nodes(count: usize) -> Vec<NodeId> {
    (0..count).map(|number| node(&format!("node-{number}"))).collect()
}
