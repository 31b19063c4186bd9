//! Groups that take several transactions, on either database.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::model::{ChannelId, ChannelKind, UserId};
use pabal_core::ports::{BoxFuture, Directory, DirectoryError};

use super::{LIMITS, channel, folder, open, outside, sign_up};

const GROUP: ChannelId = ChannelId::new(10);
/// Several times what one transaction adds.
const MEMBERS: u64 = 1_203;

type Dir = Arc<dyn Directory>;

fn ids() -> Vec<UserId> {
    (1..=MEMBERS).map(UserId::new).collect()
}

async fn create(directory: Dir) -> Result<(), DirectoryError> {
    let group = channel(GROUP.get(), ChannelKind::Group);
    directory.create_group(group, UserId::new(1), ids(), LIMITS).await
}

/// How many members calls see, by each way of asking.
async fn visible(directory: &Dir) -> Vec<usize> {
    let mut visible = vec![
        directory.members(GROUP).await.unwrap().len(),
        directory.push_targets(GROUP).await.unwrap().len(),
    ];
    for user_id in [1, MEMBERS].map(UserId::new) {
        visible.push(directory.memberships(user_id).await.unwrap().len());
        let membership = directory.membership(user_id, GROUP).await.unwrap();
        visible.push(usize::from(membership.is_some()));
    }
    visible
}

const NOTHING: [usize; 6] = [0; 6];
const EVERYTHING: [usize; 6] = [MEMBERS as usize, MEMBERS as usize, 1, 1, 1, 1];

/// No call sees a part of the group, and other writes do not wait for all of it.
pub(super) async fn appears_at_once_while_others_write(directory: Dir) {
    sign_up(&*directory, 1..=MEMBERS).await;
    let creation = tokio::spawn(create(Arc::clone(&directory)));
    let mut writes = 0;
    while !creation.is_finished() {
        let seen = visible(&directory).await;
        // Shown between two of these calls, it appears in the later ones.
        let mut shown = seen.iter().zip(EVERYTHING).skip_while(|(seen, _)| **seen == 0);
        assert!(shown.all(|(seen, all)| *seen == all), "a part is visible: {seen:?}");
        directory.unblock(UserId::new(2), UserId::new(3)).await.unwrap();
        writes += 1;
    }
    creation.await.unwrap().unwrap();
    assert_eq!(visible(&directory).await, EVERYTHING);
    // In one transaction, only the writes before and after it would proceed.
    assert!(writes >= 3, "{writes} writes proceeded meanwhile");
}

/// Runs `call` until `reached`, and ends it there like a crash. If the call was faster, `undo` and again.
async fn interrupt(
    call: impl Fn() -> BoxFuture<'static, ()>,
    undo: impl Fn() -> BoxFuture<'static, ()>,
    reached: impl AsyncFn() -> bool,
) {
    loop {
        let task = tokio::spawn(call());
        while !task.is_finished() {
            if reached().await {
                task.abort();
                break;
            }
        }
        match task.await {
            Err(error) if error.is_cancelled() => return,
            ended => ended.unwrap(),
        }
        undo().await;
    }
}

fn creation(directory: &Dir) -> BoxFuture<'static, ()> {
    let directory = Arc::clone(directory);
    Box::pin(async move { create(directory).await.unwrap() })
}

fn deletion(directory: &Dir) -> BoxFuture<'static, ()> {
    let directory = Arc::clone(directory);
    Box::pin(async move { drop(directory.delete_group(UserId::new(1), GROUP).await.unwrap()) })
}

/// After a crash in the middle of a creation no call sees the group, and the rest is removed. `hidden`
/// returns whether there is a hidden group.
pub(super) async fn an_interrupted_creation_is_invisible(
    directory: Dir,
    hidden: impl AsyncFn() -> bool,
) {
    sign_up(&*directory, 1..=MEMBERS).await;
    interrupt(|| creation(&directory), || deletion(&directory), &hidden).await;
    assert_eq!(visible(&directory).await, NOTHING);
    let created_at = channel(GROUP.get(), ChannelKind::Group).created_at;
    assert_eq!(directory.remove_leftovers(created_at).await.unwrap(), 0, "it may still go on");
    assert!(hidden().await);
    let later = created_at.plus(Duration::from_millis(1));
    assert_eq!(directory.remove_leftovers(later).await.unwrap(), 1);
    assert!(!hidden().await);
    create(Arc::clone(&directory)).await.unwrap();
    assert_eq!(visible(&directory).await, EVERYTHING);
    assert_eq!(directory.remove_leftovers(later).await.unwrap(), 0, "a whole group stays");
    // One that fails in the last transaction removes what it has written.
    let group = channel(GROUP.get() + 1, ChannelKind::Group);
    let stranger = UserId::new(MEMBERS + 1);
    let members = [ids(), vec![stranger]].concat();
    let refused = directory.create_group(group, UserId::new(1), members, LIMITS).await;
    assert!(matches!(refused, Err(DirectoryError::UnknownUser(id)) if id == stranger));
    assert!(!hidden().await);
}

/// After a crash in the middle of a deletion no call sees the group, and the rest is removed.
pub(super) async fn an_interrupted_deletion_is_invisible(
    directory: Dir,
    hidden: impl AsyncFn() -> bool,
) {
    sign_up(&*directory, 1..=MEMBERS).await;
    create(Arc::clone(&directory)).await.unwrap();
    interrupt(|| deletion(&directory), || creation(&directory), &hidden).await;
    assert_eq!(visible(&directory).await, NOTHING);
    let later = channel(1, ChannelKind::Group).created_at.plus(Duration::from_secs(1));
    assert_eq!(directory.remove_leftovers(later).await.unwrap(), 1);
    create(Arc::clone(&directory)).await.unwrap();
    let (_, members) = directory.delete_group(UserId::new(1), GROUP).await.unwrap();
    assert_eq!((members, visible(&directory).await), (ids(), NOTHING.to_vec()));
    assert!(!hidden().await, "a deletion removes everything itself");
    create(directory).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_large_group_appears_at_once_while_others_write() {
    let folder = folder();
    appears_at_once_while_others_write(Arc::new(open(&folder.path().join("d.db")).await)).await;
}

const HIDDEN: &str = "SELECT COUNT(*) FROM channels WHERE hidden";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_interrupted_creation_or_deletion_leaves_nothing_visible() {
    let folder = folder();
    for name in ["created.db", "deleted.db"] {
        let path = folder.path().join(name);
        let directory: Dir = Arc::new(open(&path).await);
        let hidden = async || {
            let mut outside = outside(&path).await;
            let count: i64 = sqlx::query_scalar(HIDDEN).fetch_one(&mut outside).await.unwrap();
            count > 0
        };
        match name {
            "created.db" => an_interrupted_creation_is_invisible(directory, hidden).await,
            _ => an_interrupted_deletion_is_invisible(directory, hidden).await,
        }
    }
}
