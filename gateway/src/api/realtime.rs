//! Descriptions of what the transports serve, for the OpenAPI document only. None of these functions is
//! ever called; `docs/protocol.md` says more than OpenAPI can.
#![expect(dead_code, reason = "types and functions that only carry descriptions")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::views::IdSchema;

/// What a new session starts from.
#[derive(ToSchema)]
pub(super) struct NewSession {
    /// The highest message id that the client holds, by channel; later messages are delivered first.
    /// Without it the session starts at now.
    channels: Option<BTreeMap<String, IdSchema>>,
}

/// A session, and how to read from it.
#[derive(ToSchema)]
pub(super) struct SessionDocument {
    #[schema(example = "0123456789abcdef.n1")]
    session_id: String,
    /// The node it lives on.
    node: String,
    /// The `after` of the first read.
    #[schema(example = "0")]
    next: String,
    /// How long the session lives without a reader, in milliseconds.
    resume_window_ms: u64,
    /// By name (`polling`, `long_polling`, `websocket`, `sse`): its `url` and its limits.
    transports: BTreeMap<String, BTreeMap<String, Value>>,
    /// URLs of other nodes of the cluster, where to open a session if this node is unavailable.
    #[schema(example = json!(["https://n2.chat.example.org"]))]
    elsewhere: Option<Vec<String>>,
}

/// Events of a session.
#[derive(ToSchema)]
pub(super) struct Batch {
    /// Each with a `type`: `message`, `read`, `typing`, `presence`, `channel`, `member`, `resync`,
    /// `draining` and more to come.
    events: Vec<Event>,
    /// The seq of the last of them: the `after` of the next read.
    #[schema(example = "42")]
    next: String,
    /// The deadline of a long poll passed without an event.
    timeout: Option<bool>,
}

/// An event, with further fields that depend on its type.
#[derive(ToSchema)]
pub(super) struct Event {
    r#type: String,
}

/// Commands, in the order in which they take effect.
#[derive(ToSchema)]
pub(super) struct Commands {
    commands: Vec<Command>,
}

/// One command.
#[derive(ToSchema)]
pub(super) struct Command {
    /// The id of the reply.
    #[schema(example = "c1")]
    id: Option<String>,
    /// `send`, `typing` or `read`.
    #[schema(example = "send")]
    r#type: String,
    #[schema(value_type = IdSchema)]
    channel_id: String,
    /// Of a `send`.
    content: Option<String>,
    /// Of a `send`.
    client_message_id: Option<String>,
    /// Of a `read`: the last message that was read.
    #[schema(value_type = Option<IdSchema>)]
    message_id: Option<String>,
}

/// The replies, in the order of the commands.
#[derive(ToSchema)]
pub(super) struct Replies {
    replies: Vec<Reply>,
}

/// The reply to one command.
#[derive(ToSchema)]
pub(super) struct Reply {
    /// Always `reply`.
    r#type: String,
    id: Option<String>,
    /// Of a `send` that is durable.
    #[schema(value_type = Option<IdSchema>)]
    message_id: Option<String>,
    error: Option<super::views::ProblemSchema>,
}

/// Open a session.
#[utoipa::path(post, path = "/v1/sessions", tag = "realtime", request_body = NewSession,
    responses(
        (status = 201, description = "The session", body = SessionDocument),
        (status = 429, description = "`rate_limited`: too many sessions of this user"),
        (status = 503, description = "`unavailable`, `draining`"),
    ))]
pub(super) fn open_session() {}

/// End a session.
#[utoipa::path(delete, path = "/v1/sessions/{session_id}", tag = "realtime",
    params(("session_id" = String, Path, description = "The session")),
    responses(
        (status = 204, description = "Ended"),
        (status = 404, description = "`not_found`: not a session of this device"),
        (status = 410, description = "`session_gone`"),
    ))]
pub(super) fn end_session() {}

/// Short polling: the events that there are, at once.
#[utoipa::path(get, path = "/v1/sessions/{session_id}/poll", tag = "realtime",
    params(
        ("session_id" = String, Path, description = "The session"),
        ("after" = Option<String>, Query, description = "The seq received so far; confirms it"),
        ("limit" = Option<usize>, Query, description = "The most events"),
    ),
    responses(
        (status = 200, description = "A batch, perhaps empty", body = Batch),
        (status = 404, description = "`not_found`: not a session of this device"),
        (status = 410, description = "`session_gone`"),
        (status = 422, description = "`invalid`: below what was confirmed"),
    ))]
pub(super) fn poll() {}

/// Long polling: a response with the first event, or at the deadline.
#[utoipa::path(get, path = "/v1/sessions/{session_id}/long-poll", tag = "realtime",
    params(
        ("session_id" = String, Path, description = "The session"),
        ("after" = Option<String>, Query, description = "The seq received so far; confirms it"),
        ("wait_ms" = Option<u64>, Query, description = "How long to wait, at most 60,000"),
    ),
    responses(
        (status = 200, description = "A batch; at the deadline an empty one with `timeout`",
            body = Batch),
        (status = 404, description = "`not_found`: not a session of this device"),
        (status = 410, description = "`session_gone`"),
        (status = 422, description = "`invalid`: below what was confirmed"),
    ))]
pub(super) fn long_poll() {}

/// WebSocket: every text frame is a batch.
///
/// Browsers offer the subprotocols `pabal.v1` and `pabal.bearer.<token>`. The client sends
/// `{"ack":"<seq>"}` and commands.
#[utoipa::path(get, path = "/v1/sessions/{session_id}/websocket", tag = "realtime",
    params(
        ("session_id" = String, Path, description = "The session"),
        ("after" = Option<String>, Query, description = "The seq received so far; confirms it"),
    ),
    responses(
        (status = 101, description = "Switched to WebSocket"),
        (status = 404, description = "`not_found`: not a session of this device"),
        (status = 410, description = "`session_gone`"),
    ))]
pub(super) fn websocket() {}

/// Server-sent events: `data` is a batch, `id` its `next`.
#[utoipa::path(get, path = "/v1/sessions/{session_id}/events", tag = "realtime",
    params(
        ("session_id" = String, Path, description = "The session"),
        ("after" = Option<String>, Query, description = "The seq received so far; confirms it"),
        ("Last-Event-ID" = Option<String>, Header, description = "The same, from a browser"),
    ),
    responses(
        (status = 200, description = "A stream of batches", body = String,
            content_type = "text/event-stream"),
        (status = 404, description = "`not_found`: not a session of this device"),
        (status = 410, description = "`session_gone`"),
    ))]
pub(super) fn events() {}

/// Carry out commands.
#[utoipa::path(post, path = "/v1/sessions/{session_id}/commands", tag = "realtime",
    params(("session_id" = String, Path, description = "The session")),
    request_body = Commands,
    responses(
        (status = 200, description = "A reply to each", body = Replies),
        (status = 404, description = "`not_found`: not a session of this device"),
        (status = 410, description = "`session_gone`"),
        (status = 422, description = "`invalid`: the body as a whole"),
    ))]
pub(super) fn commands() {}

/// WebSocket in one step: opens a session and reads from it.
///
/// The first server frame is `{"session": {…}}`. A client frame `{"channels": {…}}` asks for the messages
/// after those cursors.
#[utoipa::path(get, path = "/v1/websocket", tag = "realtime",
    responses((status = 101, description = "Switched to WebSocket")))]
pub(super) fn one_step_websocket() {}
