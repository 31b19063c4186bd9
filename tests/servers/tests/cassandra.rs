//! Cassandra behaves as the tests expect. Its data is tested through the history adapter.

use pabal_servers::{Cassandra, started};

#[tokio::test]
async fn a_server_responds_after_a_restart_on_the_same_port() {
    let cassandra = started!(Cassandra::start());
    let (first, second) = (cassandra.keyspace(), cassandra.keyspace());
    assert_ne!(first, second);
    assert!(first.contains(&format!(":{}/", cassandra.port())));
    cassandra.pause();
    cassandra.resume();
    cassandra.restart().await;
    let folder = cassandra.folder().to_owned();
    drop(cassandra);
    assert!(!folder.exists());
}
