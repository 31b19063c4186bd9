//! `/v1/channels/{channel_id}/messages`: saying something, and reading what was said.

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pabal_core::engine::SendRequest;
use pabal_core::model::{ChannelId, Message};
use pabal_core::ports::PageFrom;
use pabal_core::protocol::{MessageView, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::request::{Json, Parameters, PathId};
use super::views::{MessageAnswer, MessageSchema};
use super::{Api, Failure};
use crate::auth::Caller;

/// What is to be said.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewMessage {
    /// 1 byte to 16 KiB of UTF-8, unless configured otherwise.
    #[schema(example = "안녕하세요")]
    content: String,
    /// The sender's own name for the message, 1 to 128 bytes. A repetition under the same name within
    /// 24 hours is the same message.
    client_message_id: Option<String>,
}

/// Send a message.
///
/// When this answers, the message is durable. After a timeout or `not_confirmed`, repeat the request
/// with the same `client_message_id`: the channel holds one message.
#[utoipa::path(post, path = "/v1/channels/{channel_id}/messages", tag = "messages",
    params(("channel_id" = String, Path, description = "The channel")),
    request_body = NewMessage,
    responses(
        (status = 201, description = "The message", body = MessageAnswer),
        (status = 200, description = "It was sent before: the first message", body = MessageAnswer),
        (status = 403, description = "`not_a_member`, `blocked`"),
        (status = 413, description = "`too_large`: the content"),
        (status = 422, description = "`invalid`"),
        (status = 429, description = "`rate_limited`"),
        (status = 503, description = "`not_confirmed`: repeat; `unavailable`, `draining`"),
    ))]
pub(super) async fn send(
    State(api): State<Api>,
    caller: Caller,
    PathId(channel_id): PathId<ChannelId>,
    Json(body): Json<NewMessage>,
) -> Result<Response, Failure> {
    // The engine checks the name: the same rule for every path that a send may take.
    let request = SendRequest {
        channel_id,
        content: body.content,
        client_message_id: body.client_message_id,
    };
    let sent = api.engine.submit(caller.user_id(), request).await?;
    let status = if sent.repeat { StatusCode::OK } else { StatusCode::CREATED };
    let message = MessageView::from(&sent.message);
    Ok((status, Answer(MessageAnswer { message })).into_response())
}

/// `{"messages": […]}`.
#[derive(Serialize, ToSchema)]
pub(super) struct MessagesAnswer<'a> {
    #[schema(value_type = Vec<MessageSchema>)]
    pub(super) messages: Vec<MessageView<'a>>,
    /// Whether more lie beyond the last of them, in the same direction.
    pub(super) has_more: bool,
}

/// Views of messages, in their order.
pub(super) fn views(messages: &[Message]) -> Vec<MessageView<'_>> {
    messages.iter().map(MessageView::from).collect()
}

/// Read messages.
///
/// At most one of `after` (oldest first), `before` (newest first) and `around` (oldest first, half
/// of the limit before that message); without any, the newest first.
#[utoipa::path(get, path = "/v1/channels/{channel_id}/messages", tag = "messages",
    params(
        ("channel_id" = String, Path, description = "The channel"),
        ("after" = Option<String>, Query, description = "Ids above this one, oldest first"),
        ("before" = Option<String>, Query, description = "Ids below this one, newest first"),
        ("around" = Option<String>, Query, description = "On both sides of this one, oldest first"),
        ("limit" = Option<usize>, Query, description = "1 to 200; 50 if absent"),
    ),
    responses(
        (status = 200, description = "The messages", body = MessagesAnswer),
        (status = 403, description = "`not_a_member`"),
        (status = 422, description = "`invalid`"),
    ))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    PathId(channel_id): PathId<ChannelId>,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let limit = parameters.limit()?;
    let places = [
        parameters.id("after")?.map(PageFrom::After),
        parameters.id("before")?.map(PageFrom::Before),
        parameters.id("around")?.map(PageFrom::Around),
    ];
    let mut places = places.into_iter().flatten();
    let from = places.next().unwrap_or(PageFrom::Newest);
    if places.next().is_some() {
        let detail = "at most one of after, before and around";
        return Err(Problem::invalid("after", detail).into());
    }
    let page = api.engine.page(caller.user_id(), channel_id, from, limit).await?;
    let answer = MessagesAnswer { messages: views(&page.messages), has_more: page.has_more };
    Ok(Answer(answer).into_response())
}
