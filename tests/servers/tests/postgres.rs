//! That PostgreSQL does what tests rely on.

use std::time::Duration;

use pabal_servers::{Postgres, started};

#[tokio::test]
async fn what_was_committed_survives_a_kill_on_the_same_port() {
    let postgres = started!(Postgres::start());
    let url = postgres.database().await;
    assert_ne!(postgres.database().await, url, "each database is another");
    assert_eq!(postgres.command("CREATE TABLE t AS SELECT 7 AS n").await, "SELECT 1");
    postgres.restart().await;
    assert_eq!(postgres.command("SELECT n FROM t").await, "7");
    assert!(url.contains(&postgres.port().to_string()));
}

#[tokio::test]
async fn a_paused_server_answers_when_it_goes_on() {
    let postgres = started!(Postgres::start());
    postgres.pause();
    let response = postgres.command("SELECT 1");
    tokio::pin!(response);
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut response).await;
    assert!(waited.is_err(), "a paused server answers nothing");
    postgres.resume();
    assert_eq!(response.await, "1");
}

#[tokio::test]
async fn a_server_is_gone_with_its_folder() {
    let postgres = started!(Postgres::start());
    let folder = postgres.folder().to_owned();
    assert!(folder.exists());
    drop(postgres);
    assert!(!folder.exists());
}
