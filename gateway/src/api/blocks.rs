//! `/v1/me/blocks`: the users that the caller has blocked. A change takes effect at once, also for
//! users who are sending at that moment.

use axum::Json as Reply;
use axum::extract::State;
use http::StatusCode;
use pabal_core::model::UserId;
use pabal_core::protocol::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::Caller;
use super::request::{Parameters, PathId};
use super::views::{IdSchema, another, page};
use super::{Api, Failure};

/// A user whom the caller has blocked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Block {
    #[schema(value_type = IdSchema)]
    user_id: UserId,
}

/// `{"blocks": […]}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BlocksAnswer {
    /// Ordered by user id.
    blocks: Vec<Block>,
    has_more: bool,
}

/// List blocked users
///
/// Ordered by user id. For the next page, set `after` to the last user id of this one.
#[utoipa::path(get, path = "/v1/me/blocks", tag = "people",
    params(
        ("after" = Option<String>, Query, description = "Return users with larger ids"),
        ("limit" = Option<usize>, Query, description = "Page size, 1 to 200; 50 by default"),
    ),
    responses((status = 200, description = "A page of blocked users", body = BlocksAnswer)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Reply<BlocksAnswer>, Failure> {
    let (limit, after) = (parameters.limit()?, parameters.id("after")?);
    let read = api.directory().blocks_after(caller.user_id(), after, limit + 1).await?;
    let (blocks, has_more) = page(read, limit);
    let blocks = blocks.into_iter().map(|user_id| Block { user_id }).collect();
    Ok(Reply(BlocksAnswer { blocks, has_more }))
}

/// Block a user
///
/// The user can no longer send to the caller directly, nor ask to be friends. Idempotent.
#[utoipa::path(put, path = "/v1/me/blocks/{user_id}", tag = "people",
    params(("user_id" = String, Path, description = "The other user")),
    responses(
        (status = 204, description = "Blocked"),
        (status = 403, description = "`forbidden`: the caller has blocked as many users as allowed"),
        (status = 404, description = "`not_found`: no such user"),
        (status = 422, description = "`invalid`: the user is the caller"),
    ))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    PathId(other): PathId<UserId>,
) -> Result<StatusCode, Failure> {
    another(caller.user_id(), other)?;
    change(&api, caller.user_id(), other, true).await
}

/// Unblock a user
///
/// Idempotent.
#[utoipa::path(delete, path = "/v1/me/blocks/{user_id}", tag = "people",
    params(("user_id" = String, Path, description = "The other user")),
    responses((status = 204, description = "Not blocked")))]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    PathId(other): PathId<UserId>,
) -> Result<StatusCode, Failure> {
    change(&api, caller.user_id(), other, false).await
}

async fn change(
    api: &Api,
    user_id: UserId,
    other: UserId,
    blocked: bool,
) -> Result<StatusCode, Failure> {
    let work = api.clone();
    api.finish(async move {
        let directory = work.directory();
        // The engine caches for a moment who may send. A membership event for the other user, who
        // is a member already, changes nothing for their sessions and makes every node read the
        // directory again. A block is recorded, because it takes access away.
        if blocked {
            directory.block(user_id, other, work.relations).await?;
            work.revocations.tell().await;
            return Ok(StatusCode::NO_CONTENT);
        }
        directory.unblock(user_id, other).await?;
        if let Some(direct) = directory.find_direct_channel([user_id, other]).await? {
            work.publish_membership(direct.channel_id, &[other], true).await;
        }
        Ok::<_, Problem>(StatusCode::NO_CONTENT)
    })
    .await
}
