//! The directory in SQLite: the contract on real files, durability across reopening, and concurrent
//! writers. Groups that take several transactions are in [`large_groups`], files that it refuses in
//! [`refusals`]; PostgreSQL is in [`postgres`].

#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

mod large_groups;
mod refusals;
mod postgres;

use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use pabal_contract as contract;
use pabal_core::model::{
    Channel, ChannelId, ChannelKind, Device, DeviceId, FriendState, MessageId, NotificationLevel,
    Role, Timestamp, TokenHash, User, UserId,
};
use pabal_core::ports::{Access, Directory, DirectoryError, RelationLimits, SettingsChange};
use pabal_storage::directory::SqliteDirectory;
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

/// Limits that these tests do not reach.
const LIMITS: RelationLimits = RelationLimits::DEFAULT;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn open(path: &Path) -> SqliteDirectory {
    SqliteDirectory::open(path).await.unwrap()
}

/// A connection of the test's own, like that of another program.
async fn outside(path: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap()
}

fn user(number: u64) -> User {
    User {
        user_id: UserId::new(number),
        username: format!("user-{number}"),
        display_name: "사용자".into(),
        status_text: String::new(),
        avatar_url: String::new(),
        created_at: Timestamp::from_micros(1_800_000_000_000_001),
    }
}

fn access(number: u64) -> Access {
    let user_id = UserId::new(number);
    Access {
        token: TokenHash::of(&format!("token {number}")),
        device: Device { device_id: DeviceId::new(number), user_id, name: String::new() },
        expires_at: Timestamp::from_micros(1_900_000_000_000_001),
    }
}

fn channel(number: u64, kind: ChannelKind) -> Channel {
    let name = (kind == ChannelKind::Group).then(|| "Couriers".to_owned());
    let created_at = Timestamp::from_millis(1_800_000_000_000);
    Channel { channel_id: ChannelId::new(number), kind, name, created_at }
}

async fn sign_up(directory: &dyn Directory, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        directory.sign_up(user(number), "hash".into(), access(number)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fulfils_the_contract() {
    let folder = folder();
    let files = AtomicU64::new(0);
    let fresh = async || {
        let number = files.fetch_add(1, Ordering::Relaxed);
        let path = folder.path().join(format!("{number}.db"));
        Arc::new(open(&path).await) as Arc<dyn Directory>
    };
    contract::directory::run(fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fulfils_the_contract_of_accounts() {
    let folder = folder();
    let files = AtomicU64::new(0);
    contract::accounts::run(async || {
        let number = files.fetch_add(1, Ordering::Relaxed);
        let both = Arc::new(open(&folder.path().join(format!("{number}.db"))).await);
        contract::accounts::AccountsStore { directory: both.clone(), accounts: both }
    })
    .await;
}

#[tokio::test]
async fn a_reopened_directory_keeps_everything() {
    let folder = folder();
    let path = folder.path().join("directory.db");
    let [one, two, three] = [1, 2, 3].map(UserId::new);
    let [pair, team] = [10, 11].map(ChannelId::new);
    let first = open(&path).await;
    sign_up(&first, 1..=3).await;
    first.befriend(one, two, LIMITS).await.unwrap();
    first.befriend(two, one, LIMITS).await.unwrap();
    first.block(three, one, LIMITS).await.unwrap();
    let silent = SettingsChange {
        notifications: Some(NotificationLevel::None),
        share_read: Some(false),
        ..Default::default()
    };
    let settings = first.change_settings(two, silent).await.unwrap();
    first.direct_channel([one, three], channel(10, ChannelKind::Direct), LIMITS).await.unwrap();
    first.create_group(channel(11, ChannelKind::Group), two, vec![one], LIMITS).await.unwrap();
    first.put_member(two, team, three, Some(Role::Admin), LIMITS).await.unwrap();
    first.mark_read(pair, one, MessageId::new(77)).await.unwrap();
    first.log_out(access(3).token).await.unwrap();
    let before = (first.memberships(one).await.unwrap(), first.push_targets(team).await.unwrap());
    first.close().await;

    let again = open(&path).await;
    assert_eq!(again.user(one).await.unwrap(), Some(user(1)));
    assert_eq!(again.credentials("USER-2").await.unwrap().unwrap().user, user(2));
    assert_eq!(again.access(access(1).token).await.unwrap(), Some(access(1)));
    assert_eq!(again.access(access(3).token).await.unwrap(), None);
    assert_eq!(again.friends(one).await.unwrap()[0].state, FriendState::Friends);
    assert_eq!(again.blocks_after(three, None, 100).await.unwrap(), [one]);
    assert_eq!(again.settings(two).await.unwrap(), settings);
    let after = (again.memberships(one).await.unwrap(), again.push_targets(team).await.unwrap());
    assert_eq!(after, before);
    assert!(after.0[0].blocked && after.0[0].read_up_to == MessageId::new(77));
    // The order of succession is kept too.
    again.remove_member(two, team, two).await.unwrap();
    assert_eq!(again.membership(three, team).await.unwrap().unwrap().role, Role::Owner);
    again.close().await;
}

#[tokio::test]
async fn a_closed_directory_is_one_file_and_unavailable() {
    let folder = folder();
    let path = folder.path().join("directory.db");
    let directory = open(&path).await;
    sign_up(&directory, 1..=3).await;
    directory.close().await;
    directory.close().await;
    let mut names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    let expected = ["directory.db", "directory.mark"];
    assert_eq!(names, expected, "the write-ahead log is written back");
    let read = directory.user(UserId::new(1)).await;
    assert!(matches!(&read, Err(e @ DirectoryError::Unavailable(_)) if e.retryable()), "{read:?}");
    let write = directory.block(UserId::new(1), UserId::new(2), LIMITS).await;
    assert!(matches!(write, Err(DirectoryError::Unavailable(_))), "{write:?}");
}

#[tokio::test]
async fn acknowledged_changes_survive_without_a_close() {
    let folder = folder();
    let path = folder.path().join("directory.db");
    let directory = open(&path).await;
    sign_up(&directory, 1..=20).await;
    // The files as a crash of the process leaves them, with the write-ahead log not written back.
    let copy = folder.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    fs::copy(folder.path().join("directory.db-wal"), folder.path().join("copy.db-wal")).unwrap();
    let recovered = open(&copy).await;
    assert_eq!(recovered.users_by_prefix("user-", 100).await.unwrap().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_hundred_concurrent_writers_all_succeed() {
    const WRITERS: u64 = 400;
    let folder = folder();
    let path = folder.path().join("directory.db");
    // Two directories on one file, like two processes.
    let directories = [open(&path).await, open(&path).await];
    sign_up(&directories[0], 1..=2).await;
    let (one, team) = (UserId::new(1), ChannelId::new(10));
    directories[0]
        .create_group(channel(10, ChannelKind::Group), one, vec![], LIMITS)
        .await
        .unwrap();
    let tasks: Vec<_> = (100..100 + WRITERS)
        .map(|number| {
            let directory = directories[number as usize % 2].clone();
            tokio::spawn(async move {
                directory.sign_up(user(number), "hash".into(), access(number)).await?;
                directory.put_member(one, team, UserId::new(number), None, LIMITS).await?;
                directory.befriend(UserId::new(number), one, LIMITS).await
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
async fn a_dropped_call_is_executed_completely_or_not_at_all() {
    let folder = folder();
    let directory = open(&folder.path().join("directory.db")).await;
    sign_up(&directory, 1..=5).await;
    let everyone: Vec<_> = (1..=5).map(UserId::new).collect();
    let mut made = 0;
    for number in 0..60 {
        let id = ChannelId::new(100 + number);
        let group = channel(id.get(), ChannelKind::Group);
        let mut call = directory.create_group(group, everyone[0], everyone.clone(), LIMITS);
        // Dropped after an increasing number of steps; the last calls complete.
        for _ in 0..number / 2 {
            if poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        // The next write runs after the dropped call has been resolved.
        directory.befriend(everyone[0], everyone[1], LIMITS).await.unwrap();
        let members = directory.members(id).await.unwrap().len();
        assert!(members == 0 || members == 5, "{members} of 5 members after {number}");
        made += usize::from(members == 5);
    }
    assert_eq!(directory.memberships(everyone[4]).await.unwrap().len(), made);
}

#[tokio::test]
async fn a_group_may_have_more_members_than_a_statement_can_add() {
    const MEMBERS: u64 = 1_203;
    let folder = folder();
    let path = folder.path().join("directory.db");
    let directory = open(&path).await;
    sqlx::query(
        "WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < $1)
         INSERT INTO users SELECT id, 'user-' || id, 'user-' || id, '', '', '', 0, 0 FROM ids",
    )
    .bind(MEMBERS as i64)
    .execute(&mut outside(&path).await)
    .await
    .unwrap();
    let ids: Vec<_> = (1..=MEMBERS).map(UserId::new).collect();
    let with_stranger = [ids.clone(), vec![UserId::new(MEMBERS + 5)]].concat();
    let group = channel(10, ChannelKind::Group);
    let refused = directory.create_group(group.clone(), ids[0], with_stranger, LIMITS).await;
    let stranger = UserId::new(MEMBERS + 5);
    assert!(matches!(refused, Err(DirectoryError::UnknownUser(id)) if id == stranger));
    // The heir is second in the list, so it has arrived before all members except the owner.
    let [owner, heir] = [ids[700], ids[1_100]];
    let members = [vec![heir], ids.clone()].concat();
    directory.create_group(group, owner, members, LIMITS).await.unwrap();
    assert_eq!(directory.members(ChannelId::new(10)).await.unwrap().len() as u64, MEMBERS);
    directory.remove_member(owner, ChannelId::new(10), owner).await.unwrap();
    let membership = directory.membership(heir, ChannelId::new(10)).await.unwrap().unwrap();
    assert_eq!(membership.role, Role::Owner);
}

#[tokio::test]
async fn the_file_has_a_write_ahead_log_and_no_tokens() {
    let folder = folder();
    let path = folder.path().join("directory.db");
    let directory = open(&path).await;
    sign_up(&directory, [1]).await;
    directory.close().await;
    let mut file = outside(&path).await;
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut file).await.unwrap();
    assert_eq!(mode, "wal");
    let hash: Vec<u8> = sqlx::query_scalar("SELECT token_hash FROM access_tokens")
        .fetch_one(&mut file)
        .await
        .unwrap();
    assert_eq!(hash, access(1).token.as_bytes());
    let bytes = fs::read(&path).unwrap();
    assert!(!bytes.windows(7).any(|window| window == b"token 1"));
}

#[tokio::test]
async fn a_file_of_the_first_release_loses_the_devices_of_ended_tokens_only() {
    let folder = folder();
    let path = folder.path().join("directory.db");
    let directory = open(&path).await;
    sign_up(&directory, [1]).await;
    directory.close().await;
    // The state before devices were removed with their tokens.
    let mut file = outside(&path).await;
    for statement in [
        "DELETE FROM _sqlx_migrations WHERE version > 1",
        "DROP INDEX access_tokens_by_expiry",
        "DROP INDEX access_tokens_by_device",
        "DROP INDEX devices_by_user",
        "DROP INDEX users_copy",
        "DROP INDEX credentials_copy",
        "DROP INDEX devices_copy",
        "DROP INDEX access_tokens_copy",
        "DROP INDEX settings_copy",
        "DROP INDEX blocks_copy",
        "DROP INDEX channels_copy",
        "DROP INDEX members_copy",
        "DROP TABLE revocations",
        "DROP INDEX channels_hidden",
        "DROP INDEX members_held",
        "ALTER TABLE channels DROP COLUMN hidden",
        "ALTER TABLE members DROP COLUMN by_stranger",
        "DROP TABLE known_networks",
        "ALTER TABLE users DROP COLUMN disabled",
        "INSERT INTO devices (device_id, user_id, name) VALUES (7, 1, 'left behind')",
    ] {
        sqlx::query(statement).execute(&mut file).await.unwrap();
    }
    file.close().await.unwrap();

    let directory = open(&path).await;
    assert_eq!(directory.access(access(1).token).await.unwrap(), Some(access(1)));
    let mut file = outside(&path).await;
    let devices: Vec<i64> =
        sqlx::query_scalar("SELECT device_id FROM devices").fetch_all(&mut file).await.unwrap();
    assert_eq!(devices, [1]);
    directory.close().await;
}
