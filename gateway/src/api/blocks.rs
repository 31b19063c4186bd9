//! `/v1/me/blocks`: whom the caller does not want to hear from. Felt at once by those who are
//! writing right now.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use pabal_core::model::UserId;
use pabal_core::protocol::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::request::{Parameters, PathId};
use super::views::{IdSchema, another, page};
use super::{Api, Failure};
use crate::auth::Caller;

/// A user whom the caller has blocked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Block {
    #[schema(value_type = IdSchema)]
    user_id: UserId,
}

/// `{"blocks": […]}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BlocksAnswer {
    /// By user id.
    blocks: Vec<Block>,
    has_more: bool,
}

/// Whom the caller has blocked.
///
/// By user id; the next page is `?after=` the last one.
#[utoipa::path(get, path = "/v1/me/blocks", tag = "people",
    params(
        ("after" = Option<String>, Query, description = "Those with larger user ids"),
        ("limit" = Option<usize>, Query, description = "1 to 200; 50 if absent"),
    ),
    responses((status = 200, description = "Those blocked", body = BlocksAnswer)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Answer<BlocksAnswer>, Failure> {
    let (limit, after) = (parameters.limit()?, parameters.id("after")?);
    let all = api.directory().blocks(caller.user_id()).await?;
    let (some, has_more) = page(all, |user_id| *user_id, after, limit);
    let blocks = some.into_iter().map(|user_id| Block { user_id }).collect();
    Ok(Answer(BlocksAnswer { blocks, has_more }))
}

/// Block a user.
///
/// They can't send to the caller directly any more, nor ask to be friends. Idempotent.
#[utoipa::path(put, path = "/v1/me/blocks/{user_id}", tag = "people",
    params(("user_id" = String, Path, description = "The other user")),
    responses(
        (status = 204, description = "Blocked"),
        (status = 404, description = "`not_found`"),
        (status = 422, description = "`invalid`: oneself"),
    ))]
pub(super) async fn put(
    State(api): State<Api>,
    caller: Caller,
    PathId(other): PathId<UserId>,
) -> Result<StatusCode, Failure> {
    another(caller.user_id(), other)?;
    change(&api, caller.user_id(), other, true).await
}

/// Lift a block.
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
        if blocked {
            directory.block(user_id, other).await?;
        } else {
            directory.unblock(user_id, other).await?;
        }
        // The engine remembers for a moment who may send. That the other user *is* in the direct
        // channel is no news to their sessions, but makes every node ask the directory anew.
        let mine = directory.memberships(user_id).await?;
        let direct = mine.into_iter().find(|one| one.peer == Some(other));
        if let Some(direct) = direct {
            let channel_id = direct.channel.channel_id;
            work.publish_membership(channel_id, &[other], true).await;
        }
        Ok::<_, Problem>(StatusCode::NO_CONTENT)
    })
    .await
}
