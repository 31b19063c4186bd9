//! Runs properties and waits for conditions. Owns no property of any port.
//!
//! Suites run against real servers, so they neither need paused time nor sleep for a fixed time:
//! they wait for conditions, and a property that does not end fails by name. Under paused time the
//! waits take no real time.

use std::fmt::Debug;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use pabal_core::model::NodeId;

/// The deadline of a property; far longer than any takes.
const PROPERTY_DEADLINE: Duration = Duration::from_secs(30);

/// How long a call is observed before it counts as waiting. A too short time can miss a fault but
/// cannot fail a correct adapter.
const OBSERVED_FOR: Duration = Duration::from_millis(50);

/// The pause between two checks of a condition.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// A lease whose end a suite waits for. A suite asserts nothing that must happen before its end.
pub(super) const SHORT_LEASE: Duration = Duration::from_millis(150);

/// A lease that outlives every property.
pub(super) const LONG_LEASE: Duration = Duration::from_secs(120);

/// Runs each property in order, each on a new value of `fresh`.
macro_rules! properties {
    ($fresh:expr => $($property:ident)+) => {
        $($crate::property::run_property(stringify!($property), async {
            $property($fresh.await).await
        })
        .await;)+
    };
}
pub(super) use properties;

/// Runs `property`, which must end before the deadline.
pub(super) async fn run_property(name: &str, property: impl Future<Output = ()>) {
    let ended = timeout(PROPERTY_DEADLINE, property).await;
    assert!(ended.is_ok(), "{name} did not end within {PROPERTY_DEADLINE:?}");
}

/// Waits until `condition` holds; the deadline of the property bounds the wait.
pub(super) async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    while !condition().await {
        sleep(CHECK_INTERVAL).await;
    }
}

/// Asserts that the call in `task` has not returned.
pub(super) async fn assert_waits<T: Debug>(task: &mut JoinHandle<T>) {
    if let Ok(result) = timeout(OBSERVED_FOR, task).await {
        panic!("should be waiting, but returned {result:?}");
    }
}

/// The result of the call in `task`.
pub(super) async fn result_of<T>(task: JoinHandle<T>) -> T {
    task.await.expect("the call panicked")
}

/// Starts a call and drops its future while it waits.
pub(super) async fn start_and_cancel<T: Debug>(call: impl Future<Output = T>) {
    if let Ok(result) = timeout(OBSERVED_FOR, call).await {
        panic!("should be waiting, but returned {result:?}");
    }
}

/// The node of this name.
pub(super) fn node(name: &str) -> NodeId {
    name.parse().expect("a node name")
}

/// The nodes `node-0`, `node-1`, …
pub(super) fn nodes(count: usize) -> Vec<NodeId> {
    (0..count).map(|number| node(&format!("node-{number}"))).collect()
}
