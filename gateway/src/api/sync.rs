//! `/v1/sync`: catching up with many channels at once, by the highest message id held of each.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use pabal_core::model::{ChannelId, MessageId};
use pabal_core::protocol::{Cursors, MessageView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::messages::views;
use super::request::{Json, Parameters};
use super::views::{IdSchema, MessageSchema};
use super::{Api, Failure};
use crate::auth::Caller;

/// What the client holds.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Held {
    /// For each channel the highest message id held; `"0"` for none. At most 1,000 channels.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, IdSchema>)]
    channels: Cursors,
}

/// What lies beyond, by channel.
#[derive(Serialize, ToSchema)]
pub(super) struct SyncAnswer<'a> {
    #[schema(value_type = BTreeMap<String, ChannelSyncAnswer>)]
    channels: BTreeMap<ChannelId, ChannelSyncAnswer<'a>>,
    /// Of the channels named, those that the caller is not in: left, deleted, or never theirs. To
    /// be forgotten.
    #[schema(value_type = Vec<IdSchema>)]
    gone: Vec<ChannelId>,
}

/// What one channel holds beyond the cursor.
#[derive(Serialize, ToSchema)]
#[schema(as = ChannelSync)]
struct ChannelSyncAnswer<'a> {
    /// Oldest first.
    #[schema(value_type = Vec<MessageSchema>)]
    messages: Vec<MessageView<'a>>,
    /// The cursor to continue from.
    #[schema(value_type = IdSchema)]
    cur_max_message_id: MessageId,
    /// Whether more lies beyond it.
    has_more: bool,
}

/// Catch up with many channels.
///
/// Up to `limit` messages a channel beyond the cursor that is given for it. The caller's channels
/// that are not named come with their newest message, if they have one. Named channels that the
/// caller left meanwhile, or that were deleted, are listed under `gone`; the others are answered.
#[utoipa::path(post, path = "/v1/sync", tag = "messages", request_body = Held,
    params(("limit" = Option<usize>, Query, description = "A channel: 1 to 200; 50 if absent")),
    responses(
        (status = 200, description = "What lies beyond", body = SyncAnswer),
        (status = 422, description = "`invalid`"),
    ))]
pub(super) async fn sync(
    State(api): State<Api>,
    caller: Caller,
    parameters: Parameters,
    Json(held): Json<Held>,
) -> Result<Response, Failure> {
    let limit = parameters.limit()?;
    let user_id = caller.user_id();
    let synced = api.engine.sync(user_id, &held.channels, limit).await?;
    let channels = synced.channels.iter().map(|(channel_id, beyond)| {
        let answer = ChannelSyncAnswer {
            messages: views(&beyond.messages),
            cur_max_message_id: beyond.cur_max_message_id,
            has_more: beyond.has_more,
        };
        (*channel_id, answer)
    });
    let channels = channels.collect();
    Ok(Answer(SyncAnswer { channels, gone: synced.gone }).into_response())
}
