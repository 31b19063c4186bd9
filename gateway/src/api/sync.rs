//! `/v1/sync`: catching up with many channels at once, each from the highest message id that the
//! client holds.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use pabal_core::model::{ChannelId, MessageId};
use pabal_core::protocol::{Cursors, MessageView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Caller;
use super::messages::views;
use super::request::{Json, Parameters};
use super::views::{IdSchema, MessageSchema};
use super::{Api, Failure, held};

/// The cursors of the client.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Held {
    /// For each channel the highest message id held; `"0"` for none. At most 1,000 channels.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, IdSchema>)]
    channels: Cursors,
    /// Continues after this channel: the `next` of an answer that did not hold everything.
    #[schema(value_type = Option<IdSchema>)]
    after: Option<ChannelId>,
}

/// The messages after the cursors, by channel.
#[derive(Serialize, ToSchema)]
pub(super) struct SyncAnswer<'a> {
    #[schema(value_type = BTreeMap<String, ChannelSyncAnswer>)]
    channels: BTreeMap<ChannelId, ChannelSyncAnswer<'a>>,
    /// The named channels of which the caller is not a member: deleted, left, or never joined. The
    /// client should remove them.
    #[schema(value_type = Vec<IdSchema>)]
    gone: Vec<ChannelId>,
    /// `true` if the answer does not hold all channels; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    has_more: bool,
    /// With `has_more`: repeat the request with this as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IdSchema>)]
    next: Option<ChannelId>,
}

/// The messages of one channel after the cursor.
#[derive(Serialize, ToSchema)]
#[schema(as = ChannelSync)]
struct ChannelSyncAnswer<'a> {
    /// Oldest first.
    #[schema(value_type = Vec<MessageSchema>)]
    messages: Vec<MessageView<'a>>,
    /// The cursor to continue from.
    #[schema(value_type = IdSchema)]
    cur_max_message_id: MessageId,
    /// Whether more messages follow that cursor.
    has_more: bool,
}

/// Catch up with many channels
///
/// Returns up to `limit` messages of each named channel after its cursor. Channels of the caller
/// that are not named come with their newest message, if they have one. Named channels that the
/// caller has left, or that were deleted, are listed in `gone`.
///
/// An answer holds about 4 MiB. Channels come in the order of their ids, named or not. If not all
/// fit, the answer has `has_more` and `next`: repeat the request with `next` as `after`.
#[utoipa::path(post, path = "/v1/sync", tag = "messages", request_body = Held,
    params(("limit" = Option<usize>, Query, description = "Messages per channel, 1 to 200; 50 by default")),
    responses(
        (status = 200, description = "The messages after the cursors", body = SyncAnswer),
        (status = 422, description = "`invalid`"),
        (status = 429, description = "`rate_limited`: too many bytes in flight"),
        (status = 503, description = "`unavailable`"),
    ))]
pub(super) async fn sync(
    State(api): State<Api>,
    caller: Caller,
    parameters: Parameters,
    Json(held): Json<Held>,
) -> Result<Response, Failure> {
    let limit = parameters.limit()?;
    let user_id = caller.user_id();
    let limits = api.engine.limits();
    let budget = api.engine.budget();
    let reserved = held::reserve(budget, &caller.holder, limits.sync_answer_bytes())?;
    let synced = api.engine.sync(user_id, &held.channels, held.after, limit).await?;
    let channels = synced.channels.iter().map(|(channel_id, synced)| {
        let reply = ChannelSyncAnswer {
            messages: views(&synced.messages),
            cur_max_message_id: synced.cur_max_message_id,
            has_more: synced.has_more,
        };
        (*channel_id, reply)
    });
    let (channels, next) = (channels.collect(), synced.next);
    let has_more = next.is_some();
    held::json(reserved, &SyncAnswer { channels, gone: synced.gone, has_more, next })
}
