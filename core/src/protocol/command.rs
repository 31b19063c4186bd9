//! What a client asks for, by HTTP body or WebSocket frame alike, and the answer to it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{Problem, ProblemCode};
use crate::model::{ChannelId, MessageId, Seq};

/// The highest message id a client holds, by channel.
pub type Cursors = BTreeMap<ChannelId, MessageId>;

/// A command that makes sense as far as its form goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Say something.
    Send {
        /// Where.
        channel_id: ChannelId,
        /// The sender's name for it, by which a repetition is known.
        client_message_id: Option<String>,
        /// What.
        content: String,
    },
    /// Tell the channel that one is writing.
    Typing {
        /// Where.
        channel_id: ChannelId,
    },
    /// One has read up to here.
    Read {
        /// Where.
        channel_id: ChannelId,
        /// Up to which message.
        message_id: MessageId,
    },
}

/// A command with the id to answer to, or what is wrong with it.
pub type NamedCommand = (Option<String>, Result<Command, Problem>);

/// A text frame from a client. Any of its parts may be there.
#[derive(Debug, Default)]
pub struct ClientFrame {
    /// Confirms the events up to here.
    pub ack: Option<Seq>,
    /// Asks for catch-up from these cursors.
    pub channels: Option<Cursors>,
    /// Commands, in order.
    pub commands: Vec<NamedCommand>,
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The id the client gave.
    pub id: Option<String>,
    /// The message id of a send, or what went wrong.
    pub outcome: Result<Option<MessageId>, Problem>,
}

impl Serialize for Reply {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            r#type: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            message_id: Option<MessageId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<&'a Problem>,
        }
        let (message_id, error) = match &self.outcome {
            Ok(message_id) => (*message_id, None),
            Err(problem) => (None, Some(problem)),
        };
        Wire { r#type: "reply", id: self.id.as_deref(), message_id, error }.serialize(serializer)
    }
}

/// A string, or something else that stands in its place; telling them apart lets one wrong field
/// answer as a wrong field and not as malformed JSON.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    Is(#[serde(borrow)] Cow<'a, str>),
    IsNot(IgnoredAny),
}

#[derive(Debug, Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    channel_id: Option<Text<'a>>,
    #[serde(borrow)]
    message_id: Option<Text<'a>>,
    #[serde(borrow)]
    client_message_id: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    ack: Option<Text<'a>>,
    channels: Option<serde_json::Value>,
}

/// The longest id of a command and `client_message_id`, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 128;
/// As many commands as one body or frame may hold.
const MAX_COMMANDS: usize = 256;

/// As much as a client is told of what it sent.
const MAX_QUOTED_BYTES: usize = 200;

fn malformed(error: &serde_json::Error) -> Problem {
    let mut said = error.to_string();
    if said.len() > MAX_QUOTED_BYTES {
        // It quotes a string of the client's, however long that is.
        said.truncate(said.floor_char_boundary(MAX_QUOTED_BYTES));
        said += &format!("… at line {} column {}", error.line(), error.column());
    }
    Problem::new(ProblemCode::Invalid, format!("not the JSON expected here: {said}"))
}

/// Reads a WebSocket text frame: an object (ack, channels, a command) or an array of commands.
///
/// # Errors
/// A problem if the frame as a whole makes no sense: the connection cannot go on.
pub fn parse_client_frame(frame: &str) -> Result<ClientFrame, Problem> {
    if frame.trim_ascii_start().starts_with('[') {
        let raw: Vec<Raw<'_>> = serde_json::from_str(frame).map_err(|error| malformed(&error))?;
        let commands = commands(raw)?;
        return Ok(ClientFrame { commands, ..ClientFrame::default() });
    }
    let raw: Raw<'_> = serde_json::from_str(frame).map_err(|error| malformed(&error))?;
    let ack = raw.ack.as_ref().map(|text| parsed("ack", text)).transpose()?;
    let channels = raw.channels.as_ref().map(cursors).transpose()?;
    if raw.kind.is_none() && (ack.is_some() || channels.is_some()) {
        return Ok(ClientFrame { ack, channels, commands: Vec::new() });
    }
    Ok(ClientFrame { ack, channels, commands: commands(vec![raw])? })
}

/// Reads the body `{"commands":[…]}`.
///
/// # Errors
/// A problem if the body as a whole makes no sense; nothing of it was done.
pub fn parse_commands(body: &[u8]) -> Result<Vec<NamedCommand>, Problem> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        commands: Vec<Raw<'a>>,
    }
    // The parser would not look into fields that nobody reads.
    let body = std::str::from_utf8(body);
    let body = body.map_err(|_| Problem::new(ProblemCode::Invalid, "the body is not UTF-8"))?;
    let body: Body<'_> = serde_json::from_str(body).map_err(|error| malformed(&error))?;
    commands(body.commands)
}

fn commands(raw: Vec<Raw<'_>>) -> Result<Vec<NamedCommand>, Problem> {
    if raw.len() > MAX_COMMANDS {
        let detail = format!("at most {MAX_COMMANDS} commands at once");
        return Err(Problem::invalid("commands", detail));
    }
    Ok(raw.into_iter().map(named).collect())
}

fn named(raw: Raw<'_>) -> NamedCommand {
    let id = match &raw.id {
        None => Ok(None),
        Some(text) => name("id", text).map(Some),
    };
    match id {
        Ok(id) => (id, command(raw)),
        Err(problem) => (None, Err(problem)),
    }
}

fn command(raw: Raw<'_>) -> Result<Command, Problem> {
    let kind = required("type", raw.kind.as_ref())?;
    match kind {
        "send" => Ok(Command::Send {
            channel_id: required_id("channel_id", raw.channel_id.as_ref())?,
            client_message_id: match &raw.client_message_id {
                None => None,
                Some(text) => Some(name("client_message_id", text)?),
            },
            content: match raw.content {
                Some(Text::Is(text)) => text.into_owned(),
                Some(Text::IsNot(_)) => {
                    return Err(Problem::invalid("content", "must be a string"));
                }
                None => return Err(Problem::invalid("content", "is required")),
            },
        }),
        "typing" => {
            Ok(Command::Typing { channel_id: required_id("channel_id", raw.channel_id.as_ref())? })
        }
        "read" => Ok(Command::Read {
            channel_id: required_id("channel_id", raw.channel_id.as_ref())?,
            message_id: required_id("message_id", raw.message_id.as_ref())?,
        }),
        _ => Err(Problem::invalid("type", "must be send, typing or read")),
    }
}

fn required<'a>(field: &'static str, value: Option<&'a Text<'_>>) -> Result<&'a str, Problem> {
    match value {
        Some(Text::Is(text)) => Ok(text),
        Some(Text::IsNot(_)) => Err(Problem::invalid(field, "must be a string")),
        None => Err(Problem::invalid(field, "is required")),
    }
}

fn required_id<T: std::str::FromStr<Err = crate::model::InvalidId>>(
    field: &'static str,
    value: Option<&Text<'_>>,
) -> Result<T, Problem> {
    required(field, value)?
        .parse()
        .map_err(|error: crate::model::InvalidId| Problem::invalid(field, error.to_string()))
}

fn parsed<T: std::str::FromStr<Err = crate::model::InvalidId>>(
    field: &'static str,
    value: &Text<'_>,
) -> Result<T, Problem> {
    required_id(field, Some(value))
}

fn name(field: &'static str, value: &Text<'_>) -> Result<String, Problem> {
    let text = required(field, Some(value))?;
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        return Err(Problem::invalid(field, format!("must have 1 to {MAX_NAME_BYTES} bytes")));
    }
    Ok(text.to_owned())
}

fn cursors(value: &serde_json::Value) -> Result<Cursors, Problem> {
    Cursors::deserialize(value)
        .map_err(|_| Problem::invalid("channels", "must map channel ids to message ids"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_wrong_command_does_not_spoil_the_others() {
        let frame = r#"[{"id":"a","type":"send","channel_id":"7","content":"hi"},
                         {"id":"b","type":"send","channel_id":7,"content":"hi"},
                         {"id":"c","type":"dance"}]"#;
        let frame = parse_client_frame(frame).expect("a frame");
        assert_eq!(frame.commands.len(), 3);
        assert!(frame.commands[0].1.is_ok());
        let wrong = |index: usize| frame.commands[index].1.clone().expect_err("wrong").errors;
        assert_eq!(wrong(1)[0].field, "channel_id");
        assert_eq!(wrong(2)[0].field, "type");
        assert_eq!(frame.commands[2].0.as_deref(), Some("c"));
    }

    #[test]
    fn ack_and_channels_need_no_command() {
        let frame = parse_client_frame(r#"{"ack":"12"}"#).expect("a frame");
        assert_eq!((frame.ack, frame.commands.len()), (Some(Seq::new(12)), 0));
        let frame = parse_client_frame(r#"{"channels":{"7":"0"}}"#).expect("a frame");
        assert_eq!(frame.channels.expect("cursors").len(), 1);
        assert!(parse_client_frame(r#"{"ack":12}"#).is_err());
        assert!(parse_client_frame(r#"{"channels":{"x":"0"}}"#).is_err());
    }

    #[test]
    fn a_refusal_is_no_echo_and_looks_into_what_nobody_reads() {
        let long = format!("{{\"commands\":\"{}\"}}", "é".repeat(100_000));
        let problem = parse_commands(long.as_bytes()).expect_err("no list");
        assert!(problem.detail.len() < 400, "{} bytes", problem.detail.len());
        assert!(problem.detail.ends_with("… at line 1 column 200014"), "{}", problem.detail);
        let problem = parse_commands(b"{\"commands\":[],\"x\":\"\xff\"}").expect_err("no UTF-8");
        assert_eq!(problem.detail, "the body is not UTF-8");
    }

    #[test]
    fn a_reply_has_the_form_of_the_contract() {
        let sent = Reply { id: Some("c1".into()), outcome: Ok(Some(MessageId::new(9))) };
        let text = serde_json::to_string(&sent).expect("serialises");
        assert_eq!(text, r#"{"type":"reply","id":"c1","message_id":"9"}"#);
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_client_frame(&String::from_utf8_lossy(&bytes));
            let _ = parse_commands(&bytes);
        }

        #[test]
        fn any_content_arrives_as_it_was_sent(content: String) {
            let body = serde_json::json!({"commands": [
                {"type": "send", "channel_id": "1", "content": content},
            ]});
            let parsed = parse_commands(body.to_string().as_bytes()).expect("a body");
            let expected = Command::Send {
                channel_id: ChannelId::new(1), client_message_id: None, content,
            };
            prop_assert_eq!(parsed[0].1.as_ref().expect("a command"), &expected);
        }
    }
}
