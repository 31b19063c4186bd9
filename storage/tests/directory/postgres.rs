//! The directory in PostgreSQL, on a real server: the contract, concurrent nodes, a server that
//! restarts or hangs under load, and invalid addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pabal_contract as contract;
use pabal_core::model::{ChannelId, ChannelKind, FriendState, UserId};
use pabal_core::ports::{Directory, DirectoryError};
use pabal_servers::{Missing, Postgres, Shared, started};
use pabal_storage::directory::PostgresDirectory;
use pabal_storage::error::ConnectFailure;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, timeout};

use super::{access, channel, sign_up, user};

/// Longer than any call may take: the deadline of the port and a margin for a busy machine.
const CALL_LIMIT: Duration = Duration::from_secs(40);

static SERVER: Shared<Postgres> = Shared::new();

async fn server() -> Result<&'static Postgres, Missing> {
    // The server is never restarted, so nothing needs to be on disk.
    SERVER.get(async || Postgres::start_with(&[("fsync", "off")]).await, Postgres::folder).await
}

async fn connect(url: &str) -> PostgresDirectory {
    PostgresDirectory::connect(url, 8).await.unwrap()
}

async fn fresh(server: &Postgres) -> (String, PostgresDirectory) {
    let url = server.database().await;
    PostgresDirectory::migrate(&url).await.unwrap();
    let directory = connect(&url).await;
    (url, directory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fulfils_the_contract() {
    let server = started!(server());
    contract::directory::run(async || Arc::new(fresh(server).await.1) as Arc<dyn Directory>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fulfils_the_contract_of_accounts() {
    let server = started!(server());
    contract::accounts::run(async || {
        let both = Arc::new(fresh(server).await.1);
        contract::accounts::AccountsStore { directory: both.clone(), accounts: both }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_hundred_concurrent_writers_on_two_nodes_all_succeed() {
    const WRITERS: u64 = 400;
    let server = started!(server());
    let (url, first) = fresh(server).await;
    let directories = [first, connect(&url).await];
    sign_up(&directories[0], 1..=2).await;
    let (one, team) = (UserId::new(1), ChannelId::new(10));
    directories[0].create_group(channel(10, ChannelKind::Group), one, vec![]).await.unwrap();
    let tasks: Vec<_> = (100..100 + WRITERS)
        .map(|number| {
            let directory = directories[number as usize % 2].clone();
            tokio::spawn(async move {
                directory.sign_up(user(number), "hash".into(), access(number)).await?;
                directory.put_member(team, UserId::new(number), None, 10_000).await?;
                directory.befriend(UserId::new(number), one).await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), FriendState::Requested);
    }
    assert_eq!(directories[1].members(team).await.unwrap().len() as u64, WRITERS + 1);
    assert_eq!(directories[1].friends(one).await.unwrap().len() as u64, WRITERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_owners_who_leave_concurrently_leave_a_successor() {
    let server = started!(server());
    let (url, first) = fresh(server).await;
    let second = connect(&url).await;
    sign_up(&first, 1..=3).await;
    let [one, two, three] = [1, 2, 3].map(UserId::new);
    for number in 100..130 {
        let id = ChannelId::new(number);
        let group = channel(number, ChannelKind::Group);
        first.create_group(group, one, vec![two, three]).await.unwrap();
        first.put_member(id, two, Some(pabal_core::model::Role::Owner), 10).await.unwrap();
        let both = tokio::join!(first.remove_member(id, one), second.remove_member(id, two));
        assert!(both.0.unwrap() && both.1.unwrap());
        let left = first.members(id).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].user_id, left[0].role), (three, pabal_core::model::Role::Owner));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_a_deadlock_rolled_back_is_retried() {
    let server = started!(server());
    let url = server.database().await;
    let name = url.rsplit('/').next().unwrap();
    // Long enough for this test to create the deadlock.
    server.command(&format!("ALTER DATABASE {name} SET deadlock_timeout = '3s'")).await;
    PostgresDirectory::migrate(&url).await.unwrap();
    let directory = connect(&url).await;
    sign_up(&directory, 1..=2).await;
    // Another program locks the second user, then the first.
    let mut other = PgConnection::connect(&url).await.unwrap();
    let hold = "SELECT 1 FROM users WHERE user_id = $1 FOR UPDATE";
    sqlx::query("SET deadlock_timeout = '100s'").execute(&mut other).await.unwrap();
    sqlx::query("BEGIN").execute(&mut other).await.unwrap();
    sqlx::query(hold).bind(2_i64).execute(&mut other).await.unwrap();
    let call = tokio::spawn({
        let directory = directory.clone();
        async move { directory.befriend(UserId::new(1), UserId::new(2)).await }
    });
    pabal_servers::until("the call waits for the second user", async || {
        let waits = "SELECT COUNT(*) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&mut other).await.unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    sqlx::query(hold).bind(1_i64).execute(&mut other).await.unwrap();
    assert!(!call.is_finished(), "the call was rolled back and waits again");
    sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    assert_eq!(call.await.unwrap().unwrap(), FriendState::Requested);
}

/// Writers that continue after failures and record acknowledged changes.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<tokio::task::JoinHandle<Tally>>,
}

/// The results of one writer.
#[derive(Default)]
struct Tally {
    acknowledged: Vec<u64>,
    refused: u64,
}

impl Load {
    fn on(directory: &PostgresDirectory) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let writers = (1..=12).map(|writer| {
            let (directory, stop) = (directory.clone(), stop.clone());
            let all: Arc<AtomicU64> = Arc::clone(&acknowledged);
            tokio::spawn(async move {
                let mut tally = Tally::default();
                for number in writer * 1_000_000.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let call = directory.sign_up(user(number), "hash".into(), access(number));
                    let result = timeout(CALL_LIMIT, call).await.expect("a result in time");
                    match result {
                        Ok(()) => {
                            tally.acknowledged.push(number);
                            all.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            assert!(error.retryable(), "{error}");
                            tally.refused += 1;
                        }
                    }
                }
                tally
            })
        });
        let writers = writers.collect();
        Self { stop, acknowledged, writers }
    }

    /// Waits until `by` more changes are acknowledged.
    async fn wait_for(&self, by: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + by;
        pabal_servers::until("the load continues", async || {
            (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Stops the load, checks that all acknowledged changes are stored, and returns the number of
    /// failed calls.
    async fn check(self, directory: &PostgresDirectory) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut refused = 0;
        for writer in self.writers {
            let tally = writer.await.unwrap();
            refused += tally.refused;
            for number in tally.acknowledged {
                let found = directory.user(UserId::new(number)).await.unwrap();
                assert_eq!(found, Some(user(number)), "an acknowledged change is missing");
            }
        }
        refused
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_restarts_under_load_loses_nothing() {
    let server = started!(Postgres::start());
    let (_, directory) = fresh(&server).await;
    let load = Load::on(&directory);
    load.wait_for(100).await;
    for _ in 0..2 {
        server.restart().await;
        load.wait_for(100).await;
    }
    load.check(&directory).await;
    // An unreachable server is reported within the deadline, and used again when it returns.
    server.kill();
    let unreachable = timeout(CALL_LIMIT, directory.user(UserId::new(1))).await.unwrap();
    assert!(
        matches!(&unreachable, Err(e @ DirectoryError::Unavailable(_)) if e.retryable()),
        "{unreachable:?}"
    );
    server.restart().await;
    assert_eq!(directory.user(UserId::new(1)).await.unwrap(), None);
    directory.close().await;
    let closed = directory.user(UserId::new(1)).await;
    assert!(matches!(closed, Err(DirectoryError::Unavailable(_))), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_hangs_under_load_is_reported_within_the_deadline() {
    let server = started!(Postgres::start());
    let (_, directory) = fresh(&server).await;
    let load = Load::on(&directory);
    load.wait_for(100).await;
    server.pause();
    let started = Instant::now();
    let result = directory.user(UserId::new(1)).await;
    assert!(matches!(&result, Err(e) if e.retryable()), "{result:?} after {:?}", started.elapsed());
    assert!(started.elapsed() < CALL_LIMIT);
    server.resume();
    load.wait_for(100).await;
    assert!(load.check(&directory).await > 0, "calls failed meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_start_concurrently_create_the_tables_once() {
    let server = started!(server());
    let url = server.database().await;
    let too_early = PostgresDirectory::connect(&url, 1).await;
    let error = too_early.expect_err("there are no tables");
    assert_eq!(*error.failure(), ConnectFailure::Older(0), "{error:?}");
    assert!(error.to_string().ends_with("has schema version 0: run `pabal migrate`"), "{error}");
    let nodes: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { PostgresDirectory::migrate(&url).await })
        })
        .collect();
    for node in nodes {
        node.await.unwrap().unwrap();
    }
    sign_up(&connect(&url).await, 1..=2).await;
}

#[tokio::test]
async fn tables_of_another_release_are_refused_and_not_changed() {
    let server = started!(server());
    let (url, directory) = fresh(server).await;
    directory.close().await;
    let mut outside = PgConnection::connect(&url).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9000, 'of tomorrow', TRUE, ''::bytea, 0)",
    )
    .execute(&mut outside)
    .await
    .unwrap();
    for error in [
        PostgresDirectory::connect(&url, 1).await.map(drop).expect_err("newer"),
        PostgresDirectory::migrate(&url).await.expect_err("newer"),
    ] {
        assert_eq!(*error.failure(), ConnectFailure::Newer(9000), "{error:?}");
    }
    sqlx::raw_sql(
        "DELETE FROM _sqlx_migrations WHERE version = 9000;
         UPDATE _sqlx_migrations SET checksum = ''::bytea WHERE version = 1",
    )
    .execute(&mut outside)
    .await
    .unwrap();
    let error = PostgresDirectory::migrate(&url).await.expect_err("altered");
    assert_eq!(*error.failure(), ConnectFailure::Altered(1), "{error:?}");
}

#[tokio::test]
async fn an_unusable_address_gives_a_one_line_error_without_the_password() {
    let server = started!(server());
    let url = server.database().await;
    let unused_port = pabal_servers::spare_ports(1)[0];
    let location = format!("127.0.0.1:{}", server.port());
    let cases = [
        (server.url("pabal", "secret", "postgres"), false, "password authentication failed"),
        (server.url("stranger", "secret", "postgres"), false, "password authentication failed"),
        (url.replace("/d", "/no_such_"), false, "does not exist"),
        (format!("{url}?sslmode=require"), false, "TLS"),
        (format!("postgres://pabal:secret@127.0.0.1:{unused_port}/pabal"), true, "refused"),
        (url.replace("postgres://", "mysql://"), false, "does not begin with postgres://"),
        ("postgres://pabal:secret@:x/".to_owned(), false, "the address cannot be used"),
    ];
    for (url, retryable, said) in cases {
        let error = PostgresDirectory::connect(&url, 1).await.expect_err("cannot be used");
        let line = error.to_string();
        assert_eq!(error.retryable(), retryable, "{line}");
        assert!(line.contains(said), "{line}");
        assert!(!line.contains('\n') && !line.contains("secret"), "{line}");
        assert!(!line.contains("courier"), "{line}");
        if url.contains(&location) && !url.starts_with("mysql") {
            assert!(line.contains(&location), "{line}");
        }
    }
}
