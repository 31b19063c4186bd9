//! `/v1/me/friends`: asking, accepting, ending. Two users are friends once both have asked.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use pabal_core::model::{Friend, FriendState, UserId};
use pabal_core::protocol::{Problem, ProblemCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::request::{Parameters, PathId};
use super::views::{IdSchema, another, page};
use super::{Api, Failure};
use crate::auth::Caller;

/// How another user stands to the caller.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Friend)]
pub(super) struct FriendView {
    #[schema(value_type = IdSchema)]
    user_id: UserId,
    #[schema(value_type = FriendStateSchema)]
    state: FriendState,
    /// Whether they are connected now. Only of friends who share it; `presence` events say when it
    /// changes.
    online: bool,
}

/// How two users stand to each other, seen from the caller.
#[derive(ToSchema)]
#[schema(as = FriendState, rename_all = "snake_case")]
#[expect(dead_code, reason = "stands for a type of core in the schema")]
enum FriendStateSchema {
    /// The caller asked.
    Requested,
    /// The other user asked.
    Received,
    /// Both asked.
    Friends,
}

/// `{"friends": […]}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FriendsAnswer {
    /// By user id.
    friends: Vec<FriendView>,
    has_more: bool,
}

/// `{"friend": {…}}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FriendAnswer {
    friend: FriendView,
}

/// The caller's friends and requests.
///
/// By user id; the next page is `?after=` the last one.
#[utoipa::path(get, path = "/v1/me/friends", tag = "people",
    params(
        ("after" = Option<String>, Query, description = "Those with larger user ids"),
        ("limit" = Option<usize>, Query, description = "1 to 200; 50 if absent"),
    ),
    responses((status = 200, description = "Friends and requests", body = FriendsAnswer)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Answer<FriendsAnswer>, Failure> {
    let (limit, after) = (parameters.limit()?, parameters.id("after")?);
    let all = api.directory().friends(caller.user_id()).await?;
    let (some, has_more) = page(all, |friend| friend.user_id, after, limit);
    let friends = with_presence(&api, some).await?;
    Ok(Answer(FriendsAnswer { friends, has_more }))
}

async fn with_presence(api: &Api, friends: Vec<Friend>) -> Result<Vec<FriendView>, Failure> {
    let users: Vec<UserId> = friends.iter().map(|friend| friend.user_id).collect();
    let connected = api.engine.ports().presence.online(&users).await?;
    let mut views = Vec::with_capacity(friends.len());
    for (Friend { user_id, state }, connected) in friends.into_iter().zip(connected) {
        let online = connected
            && state == FriendState::Friends
            && api.directory().settings(user_id).await?.share_presence;
        views.push(FriendView { user_id, state, online });
    }
    Ok(views)
}

/// Ask a user to be friends, or accept that they asked.
///
/// Idempotent. The state is `friends` once both have asked.
#[utoipa::path(put, path = "/v1/me/friends/{user_id}", tag = "people",
    params(("user_id" = String, Path, description = "The other user")),
    responses(
        (status = 200, description = "How it stands now", body = FriendAnswer),
        (status = 403, description = "`blocked`: the other user blocked the caller"),
        (status = 404, description = "`not_found`"),
        (status = 422, description = "`invalid`: oneself"),
    ))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    PathId(other): PathId<UserId>,
) -> Result<Answer<FriendAnswer>, Failure> {
    another(caller.user_id(), other)?;
    if api.directory().blocks(other).await?.contains(&caller.user_id()) {
        let detail = "this user does not accept requests";
        return Err(Problem::new(ProblemCode::Blocked, detail).into());
    }
    let state = api.directory().befriend(caller.user_id(), other).await?;
    let friend = Friend { user_id: other, state };
    let mut views = with_presence(&api, vec![friend]).await?;
    match views.pop() {
        Some(friend) => Ok(Answer(FriendAnswer { friend })),
        None => Err(Problem::new(ProblemCode::Internal, "one friend has no view").into()),
    }
}

/// End a friendship or a request, on both sides.
///
/// Idempotent.
#[utoipa::path(delete, path = "/v1/me/friends/{user_id}", tag = "people",
    params(("user_id" = String, Path, description = "The other user")),
    responses((status = 204, description = "There is none any more")))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    PathId(other): PathId<UserId>,
) -> Result<StatusCode, Failure> {
    api.directory().unfriend(caller.user_id(), other).await?;
    Ok(StatusCode::NO_CONTENT)
}
