//! `/v1/me/friends`: requests to be friends, and friends. Two users are friends once each has asked
//! the other.

use std::collections::HashSet;

use axum::Json as Reply;
use axum::extract::State;
use http::StatusCode;
use pabal_core::model::{Friend, FriendState, UserId};
use pabal_core::ports::{Directory, Presence};
use pabal_core::protocol::{Problem, ProblemCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Caller;
use super::request::{Parameters, PathId};
use super::views::{IdSchema, another, page};
use super::{Api, Failure};

/// The relation of another user to the caller.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Friend)]
pub(super) struct FriendView {
    #[schema(value_type = IdSchema)]
    user_id: UserId,
    #[schema(value_type = FriendStateSchema)]
    state: FriendState,
    /// Whether the user is connected now. Always false for a user who is not a friend or does not
    /// share presence. `presence` events report changes.
    online: bool,
}

/// The relation of two users, seen from the caller.
#[derive(ToSchema)]
#[schema(as = FriendState, rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a type of core in the schema")]
enum FriendStateSchema {
    /// The caller has asked the other user.
    Requested,
    /// The other user has asked the caller.
    Received,
    /// Each has asked the other.
    Friends,
}

/// `{"friends": […]}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FriendsAnswer {
    /// Ordered by user id.
    friends: Vec<FriendView>,
    has_more: bool,
}

/// `{"friend": {…}}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FriendAnswer {
    friend: FriendView,
}

/// List friends and requests
///
/// Ordered by user id. For the next page, set `after` to the last user id of this one.
#[utoipa::path(get, path = "/v1/me/friends", tag = "people",
    params(
        ("after" = Option<String>, Query, description = "Return users with larger ids"),
        ("limit" = Option<usize>, Query, description = "Page size, 1 to 200; 50 by default"),
    ),
    responses((status = 200, description = "A page of friends and requests", body = FriendsAnswer)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Reply<FriendsAnswer>, Failure> {
    let (limit, after) = (parameters.limit()?, parameters.id("after")?);
    let ports = api.engine.ports();
    let friends = page_of(&*ports.directory, &*ports.presence, caller.user_id(), after, limit);
    Ok(Reply(friends.await?))
}

/// One page of a user's friends, by two calls of the directory and one of presence.
async fn page_of(
    directory: &dyn Directory,
    presence: &dyn Presence,
    user_id: UserId,
    after: Option<UserId>,
    limit: usize,
) -> Result<FriendsAnswer, Failure> {
    let read = directory.friends_after(user_id, after, limit + 1).await?;
    let (friends, has_more) = page(read, limit);
    let friends = with_presence(directory, presence, friends).await?;
    Ok(FriendsAnswer { friends, has_more })
}

/// Adds to each entry whether that user is connected and shares it. The number of calls does not
/// depend on the number of entries.
async fn with_presence(
    directory: &dyn Directory,
    presence: &dyn Presence,
    entries: Vec<Friend>,
) -> Result<Vec<FriendView>, Failure> {
    let friends = entries.iter().filter(|entry| entry.state == FriendState::Friends);
    let friends: Vec<UserId> = friends.map(|entry| entry.user_id).collect();
    let connected = presence.online(&friends).await?;
    let connected = friends.into_iter().zip(connected).filter(|(_, connected)| *connected);
    let connected: Vec<UserId> = connected.map(|(user_id, _)| user_id).collect();
    let settings = directory.settings_of(&connected).await?;
    let sharing = connected.into_iter().zip(settings).filter(|(_, it)| it.share_presence);
    let online: HashSet<UserId> = sharing.map(|(user_id, _)| user_id).collect();
    let view = |Friend { user_id, state }| {
        let online = online.contains(&user_id);
        FriendView { user_id, state, online }
    };
    Ok(entries.into_iter().map(view).collect())
}

/// Ask a user to be friends, or accept a request
///
/// Idempotent. The state is `friends` once each user has asked the other.
#[utoipa::path(put, path = "/v1/me/friends/{user_id}", tag = "people",
    params(("user_id" = String, Path, description = "The other user")),
    responses(
        (status = 200, description = "The relation after the call", body = FriendAnswer),
        (status = 403, description = "`blocked`: one of the two has blocked the other;
            `forbidden`: one of them has as many friends and requests as allowed"),
        (status = 404, description = "`not_found`: no such user"),
        (status = 422, description = "`invalid`: the user is the caller"),
    ))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    PathId(other): PathId<UserId>,
) -> Result<Reply<FriendAnswer>, Failure> {
    another(caller.user_id(), other)?;
    let state = api.directory().befriend(caller.user_id(), other, api.relations).await?;
    let friend = Friend { user_id: other, state };
    let ports = api.engine.ports();
    let mut views = with_presence(&*ports.directory, &*ports.presence, vec![friend]).await?;
    match views.pop() {
        Some(friend) => Ok(Reply(FriendAnswer { friend })),
        None => Err(Problem::new(ProblemCode::Internal, "one friend has no view").into()),
    }
}

/// End a friendship or a request, on both sides
///
/// Idempotent.
#[utoipa::path(delete, path = "/v1/me/friends/{user_id}", tag = "people",
    params(("user_id" = String, Path, description = "The other user")),
    responses((status = 204, description = "No friendship and no request is left")))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    PathId(other): PathId<UserId>,
) -> Result<StatusCode, Failure> {
    api.directory().unfriend(caller.user_id(), other).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pabal_core::memory::MemoryPresence;
    use pabal_core::model::{Device, DeviceId, NodeId, Timestamp, TokenHash, User};
    use pabal_core::ports::{Access, RelationLimits, SettingsChange};

    use super::super::counted::CountedDirectory;
    use super::*;

    const MINA: UserId = UserId::new(1);
    /// As many friends as a page may have, and some more.
    const FRIENDS: u64 = 230;

    async fn sign_up(directory: &CountedDirectory, user_id: UserId) {
        let created_at = Timestamp::from_millis(1_800_000_000_000);
        let user = User {
            user_id,
            username: format!("user{user_id}"),
            display_name: String::new(),
            status_text: String::new(),
            avatar_url: String::new(),
            created_at,
        };
        let device_id = DeviceId::new(user_id.get());
        let access = Access {
            token: TokenHash::of(&user.username),
            device: Device { device_id, user_id, name: String::new() },
            expires_at: created_at,
        };
        directory.sign_up(user, String::new(), access).await.expect("a sign-up");
    }

    #[tokio::test]
    async fn a_page_of_friends_takes_the_same_number_of_calls_however_long_it_is() {
        let (directory, presence) = (CountedDirectory::default(), MemoryPresence::new());
        let node: NodeId = "n1".parse().expect("a node name");
        presence.begin(&node, Duration::from_secs(60)).await.expect("a lease");
        sign_up(&directory, MINA).await;
        for number in 2..2 + FRIENDS {
            let friend = UserId::new(number);
            sign_up(&directory, friend).await;
            directory.befriend(MINA, friend, RelationLimits::DEFAULT).await.expect("a request");
            directory.befriend(friend, MINA, RelationLimits::DEFAULT).await.expect("an acceptance");
            presence.join(&node, friend).await.expect("a session");
            let share_presence = Some(number.is_multiple_of(2));
            let change = SettingsChange { share_presence, ..SettingsChange::default() };
            directory.change_settings(friend, change).await.expect("settings");
        }
        for limit in [1, 200] {
            let before = directory.calls();
            let reply = page_of(&directory, &presence, MINA, None, limit).await.expect("a page");
            assert_eq!(directory.calls() - before, 2, "the list, and the settings of its users");
            assert_eq!(reply.friends.len(), limit);
            assert!(reply.has_more);
            let shared = |friend: &FriendView| friend.user_id.get().is_multiple_of(2);
            assert!(reply.friends.iter().all(|friend| friend.online == shared(friend)));
        }
        let last = Some(UserId::new(200));
        let reply = page_of(&directory, &presence, MINA, last, 200).await.expect("a page");
        assert_eq!(reply.friends.len() as u64, FRIENDS + 1 - 200);
        assert!(!reply.has_more);
    }
}
