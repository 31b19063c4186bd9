//! What every [`Directory`] must do: the entry point of the suite, and the users and channels of
//! its parts. Owns no adapter.
//!
//! Many properties make concurrent calls: an adapter that checks and writes in two separate steps
//! fails them. Run the suite on a runtime with several threads.

mod accounts;
mod profiles;
mod people;
mod direct;
mod groups;
mod permissions;
mod limits;
mod revocations;
mod pages;
mod succession;
mod reference;

use std::sync::Arc;

use pabal_core::model::{
    Channel, ChannelId, ChannelKind, Device, DeviceId, Member, Role, Timestamp, TokenHash, User,
    UserId,
};
use pabal_core::ports::{Access, BoxFuture, Directory, DirectoryError, RelationLimits};

type Dir = Arc<dyn Directory>;

/// Limits that the other properties do not reach.
pub(super) const LIMITS: RelationLimits = RelationLimits::DEFAULT;

/// Runs the suite. `fresh` creates an empty directory.
///
/// # Panics
/// If the adapter breaks the contract.
pub async fn run(fresh: impl AsyncFn() -> Dir) {
    accounts::run(&fresh).await;
    profiles::run(&fresh).await;
    people::run(&fresh).await;
    direct::run(&fresh).await;
    groups::run(&fresh).await;
    permissions::run(&fresh).await;
    limits::run(&fresh).await;
    revocations::run(&fresh).await;
    pages::run(&fresh).await;
    succession::run(&fresh).await;
    reference::run(&fresh).await;
}

/// User `number`, with a name that sorts like the number.
pub(super) fn user(number: u64) -> User {
    User {
        user_id: UserId::new(number),
        username: format!("user-{number:04}"),
        display_name: format!("User {number}"),
        status_text: String::new(),
        avatar_url: String::new(),
        created_at: Timestamp::from_micros(1_800_000_000_000_000 + number),
    }
}

/// Access `number`, with its own device, for `user_id`.
pub(super) fn access(user_id: UserId, number: u64) -> Access {
    Access {
        token: TokenHash::of(&format!("token {number}")),
        device: Device {
            device_id: DeviceId::new(number),
            user_id,
            name: format!("Phone {number}"),
        },
        expires_at: Timestamp::from_micros(1_900_000_000_000_001),
    }
}

/// The stored hash of the password of user `number`.
pub(super) fn password_hash(number: u64) -> String {
    format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA${number}")
}

async fn sign_up(directory: &Dir, user: User) -> Result<(), DirectoryError> {
    let number = user.user_id.get();
    let access = access(user.user_id, number);
    directory.sign_up(user, password_hash(number), access).await
}

/// Signs up users 1, 2, … `N`.
pub(super) async fn people<const N: usize>(directory: &Dir) -> [UserId; N] {
    let ids = std::array::from_fn(|index| UserId::new(index as u64 + 1));
    for id in ids {
        sign_up(directory, user(id.get())).await.expect("a sign-up");
    }
    ids
}

/// Signs up users 1, 2, … with these names.
async fn named(directory: &Dir, names: &[&str]) {
    for (number, name) in (1..).zip(names) {
        let user = User { username: (*name).into(), ..user(number) };
        sign_up(directory, user).await.expect("a sign-up");
    }
}

/// The names of the users found by `prefix`.
async fn found(directory: &Dir, prefix: &str, limit: usize) -> Vec<String> {
    let users = directory.users_by_prefix(prefix, limit).await.expect("users");
    users.into_iter().map(|user| user.username).collect()
}

pub(super) const fn channel_id(number: u64) -> ChannelId {
    ChannelId::new(number)
}

fn created_at(number: u64) -> Timestamp {
    Timestamp::from_micros(1_850_000_000_000_000 + number)
}

/// A direct channel as a caller passes it.
pub(super) fn direct(number: u64) -> Channel {
    let channel_id = channel_id(number);
    Channel { channel_id, kind: ChannelKind::Direct, name: None, created_at: created_at(number) }
}

/// A group as a caller passes it.
fn group(number: u64) -> Channel {
    let (channel_id, name) = (channel_id(number), Some(format!("Group {number}")));
    Channel { channel_id, kind: ChannelKind::Group, name, created_at: created_at(number) }
}

/// The members of a channel as pairs.
async fn roles(directory: &Dir, channel_id: ChannelId) -> Vec<(UserId, Role)> {
    let members = directory.members(channel_id).await.expect("members");
    members.into_iter().map(|Member { user_id, role }| (user_id, role)).collect()
}

/// Makes `call` with each of `inputs` concurrently, each in its own task. Returns the results in
/// the order of the inputs.
async fn at_once<I: Send + 'static, T: Send + 'static>(
    directory: &Dir,
    inputs: impl IntoIterator<Item = I>,
    call: impl Fn(&dyn Directory, I) -> BoxFuture<'_, T> + Copy + Send + 'static,
) -> Vec<T> {
    let start = |input| {
        let directory = directory.clone();
        tokio::spawn(async move { call(&*directory, input).await })
    };
    let tasks: Vec<_> = inputs.into_iter().map(start).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("a call panicked"));
    }
    results
}
