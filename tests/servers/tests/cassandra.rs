//! That Cassandra does what tests rely on; what it holds is seen through the adapter of history.

use pabal_servers::{Cassandra, started};

#[tokio::test]
async fn a_server_answers_again_on_its_port() {
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
