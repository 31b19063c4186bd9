//! PostgreSQL behaves as the tests expect.

use std::time::Duration;

use pabal_servers::{Postgres, started};

#[tokio::test]
async fn commits_survive_a_kill_and_a_restart_on_the_same_port() {
    let postgres = started!(Postgres::start());
    let url = postgres.database().await;
    assert_ne!(postgres.database().await, url, "each call creates another database");
    assert_eq!(postgres.command("CREATE TABLE t AS SELECT 7 AS n").await, "SELECT 1");
    postgres.restart().await;
    assert_eq!(postgres.command("SELECT n FROM t").await, "7");
    assert!(url.contains(&postgres.port().to_string()));
}

#[tokio::test]
async fn a_paused_server_responds_after_it_is_resumed() {
    let postgres = started!(Postgres::start());
    postgres.pause();
    let response = postgres.command("SELECT 1");
    tokio::pin!(response);
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut response).await;
    assert!(waited.is_err(), "a paused server does not respond");
    postgres.resume();
    assert_eq!(response.await, "1");
}

#[tokio::test]
async fn a_server_ends_and_its_folder_is_removed() {
    let postgres = started!(Postgres::start());
    let folder = postgres.folder().to_owned();
    assert!(folder.exists());
    drop(postgres);
    assert!(!folder.exists());
}
