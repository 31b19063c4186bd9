//! `/v1/channels/{channel_id}/messages`: sending and reading messages.

use axum::Json as Reply;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pabal_core::engine::SendRequest;
use pabal_core::model::{ChannelId, Message};
use pabal_core::ports::PageFrom;
use pabal_core::protocol::{MessageView, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Caller;
use super::request::{Json, Parameters, PathId};
use super::views::{MessageAnswer, MessageSchema};
use super::{Api, Failure, held};

/// A message to send.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewMessage {
    /// 1 byte to 16 KiB of UTF-8 by default.
    #[schema(example = "안녕하세요")]
    content: String,
    /// An id chosen by the sender, 1 to 128 bytes. A repeated send with the same id within 24 hours
    /// returns the first message and stores nothing.
    client_message_id: Option<String>,
}

/// Send a message
///
/// On return the message is durable. After a timeout or `not_confirmed`, repeat the request with
/// the same `client_message_id`: the channel then holds one message.
#[utoipa::path(post, path = "/v1/channels/{channel_id}/messages", tag = "messages",
    params(("channel_id" = String, Path, description = "The channel")),
    request_body = NewMessage,
    responses(
        (status = 201, description = "The message", body = MessageAnswer),
        (status = 200, description = "A repeated send: the first message", body = MessageAnswer),
        (status = 403, description = "`not_a_member`, `blocked`"),
        (status = 413, description = "`too_large`: the content is too long"),
        (status = 422, description = "`invalid`"),
        (status = 429, description = "`rate_limited`"),
        (status = 503, description = "`not_confirmed`: repeat the request; `unavailable`, `draining`"),
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
    Ok((status, Reply(MessageAnswer { message })).into_response())
}

/// `{"messages": […]}`.
#[derive(Serialize, ToSchema)]
pub(super) struct MessagesAnswer<'a> {
    #[schema(value_type = Vec<MessageSchema>)]
    pub(super) messages: Vec<MessageView<'a>>,
    /// Whether more messages follow the last one, in the same direction.
    pub(super) has_more: bool,
}

/// Views of messages, in their order.
pub(super) fn views(messages: &[Message]) -> Vec<MessageView<'_>> {
    messages.iter().map(MessageView::from).collect()
}

/// Read messages
///
/// Takes at most one of `after` (oldest first), `before` (newest first) and `around` (oldest first,
/// half of the limit before that message). Without any of them it returns the newest messages,
/// newest first.
#[utoipa::path(get, path = "/v1/channels/{channel_id}/messages", tag = "messages",
    params(
        ("channel_id" = String, Path, description = "The channel"),
        ("after" = Option<String>, Query, description = "Messages with larger ids, oldest first"),
        ("before" = Option<String>, Query, description = "Messages with smaller ids, newest first"),
        ("around" = Option<String>, Query, description = "Messages on both sides of this id, oldest first"),
        ("limit" = Option<usize>, Query, description = "Page size, 1 to 200; 50 by default"),
    ),
    responses(
        (status = 200, description = "A page of messages", body = MessagesAnswer),
        (status = 403, description = "`not_a_member`"),
        (status = 422, description = "`invalid`"),
        (status = 429, description = "`rate_limited`: too many bytes in flight"),
        (status = 503, description = "`unavailable`"),
    ))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    PathId(channel_id): PathId<ChannelId>,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let limit = parameters.limit()?;
    let starts = [
        parameters.id("after")?.map(PageFrom::After),
        parameters.id("before")?.map(PageFrom::Before),
        parameters.id("around")?.map(PageFrom::Around),
    ];
    let mut starts = starts.into_iter().flatten();
    let from = starts.next().unwrap_or(PageFrom::Newest);
    if starts.next().is_some() {
        let detail = "send at most one of after, before and around";
        return Err(Problem::invalid("after", detail).into());
    }
    let limits = api.engine.limits();
    let held = held::reserve(api.engine.budget(), &caller.holder, limits.page_answer_bytes())?;
    let page = api.engine.page(caller.user_id(), channel_id, from, limit).await?;
    let reply = MessagesAnswer { messages: views(&page.messages), has_more: page.has_more };
    held::json(held, &reply)
}
