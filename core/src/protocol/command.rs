//! The commands of a client, the same in an HTTP body and in a WebSocket frame, and the replies.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::{Problem, ProblemCode};
use crate::model::{ChannelId, MessageId, Seq};

/// The highest message id a client holds, by channel.
pub type Cursors = BTreeMap<ChannelId, MessageId>;

/// A well-formed command. Whether the user may run it, the engine decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send a message.
    Send {
        /// The channel to send to.
        channel_id: ChannelId,
        /// The sender's name for the send, by which a repeat is recognised.
        client_message_id: Option<String>,
        /// The text.
        content: String,
    },
    /// Notify the channel that the user is typing.
    Typing {
        /// The channel.
        channel_id: ChannelId,
    },
    /// Record that the user has read a channel up to a message.
    Read {
        /// The channel.
        channel_id: ChannelId,
        /// The last message that the user has read.
        message_id: MessageId,
    },
}

/// A command with the id for its reply, or what is wrong with it.
pub type NamedCommand = (Option<String>, Result<Command, Problem>);

/// A text frame of a client. Each part is optional.
#[derive(Debug, Default)]
pub struct ClientFrame {
    /// Confirms the events up to this seq.
    pub ack: Option<Seq>,
    /// Asks for catch-up from these cursors.
    pub channels: Option<Cursors>,
    /// Commands, in order.
    pub commands: Vec<NamedCommand>,
}

/// The reply to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The id that the client gave to the command.
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

/// A string, or another JSON value where a string is expected. With the second variant, such a field
/// is reported as invalid; without it, the whole body would be malformed.
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

/// The longest name that a client may give: the id of a command, and `client_message_id`. In bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// How many commands one body or frame may hold.
const MAX_COMMANDS: usize = 256;

/// The problem of input that is not the expected JSON. It names the position and not the parser's words, which
/// quote the input and name types of this program.
fn malformed(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let detail = match error.classify() {
        Category::Eof => {
            format!("ends in the middle of a JSON document: line {line} column {column}")
        }
        Category::Syntax => format!("is not JSON: line {line} column {column}"),
        Category::Data | Category::Io => format!("unexpected JSON: line {line} column {column}"),
    };
    Problem::new(ProblemCode::Invalid, detail)
}

/// Parses a WebSocket text frame: an object (ack, channels, a command) or an array of up to 256
/// commands.
///
/// An invalid command does not invalidate the others: it becomes an error in its position.
///
/// # Errors
/// `invalid` if the frame as a whole is malformed: the connection cannot continue. Do not retry.
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

/// Parses the body `{"commands":[…]}` with up to 256 commands.
///
/// An invalid command does not invalidate the others: it becomes an error in its position.
///
/// # Errors
/// `invalid` if the body as a whole is malformed: no command of it may run. Do not retry.
pub fn parse_commands(body: &[u8]) -> Result<Vec<NamedCommand>, Problem> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        commands: Vec<Raw<'a>>,
    }
    // Checked here, because the parser skips the content of unknown fields.
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
    check_name(field, text)?;
    Ok(text.to_owned())
}

/// Checks a name that a client gives: 1 to [`MAX_NAME_BYTES`] bytes. An empty name is refused,
/// because all sends that carry it would be repeats of one.
///
/// # Errors
/// `invalid` for `field`: do not retry.
pub fn check_name(field: &'static str, name: &str) -> Result<(), Problem> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Problem::invalid(field, format!("must have 1 to {MAX_NAME_BYTES} bytes")));
    }
    Ok(())
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
    fn an_invalid_command_does_not_invalidate_the_others() {
        let frame = r#"[{"id":"a","type":"send","channel_id":"7","content":"hi"},
                         {"id":"b","type":"send","channel_id":7,"content":"hi"},
                         {"id":"c","type":"dance"}]"#;
        let frame = parse_client_frame(frame).expect("is a frame");
        assert_eq!(frame.commands.len(), 3);
        assert!(frame.commands[0].1.is_ok());
        let errors = |index: usize| frame.commands[index].1.clone().expect_err("is invalid").errors;
        assert_eq!(errors(1)[0].field, "channel_id");
        assert_eq!(errors(2)[0].field, "type");
        assert_eq!(frame.commands[2].0.as_deref(), Some("c"));
    }

    #[test]
    fn ack_and_channels_need_no_command() {
        let frame = parse_client_frame(r#"{"ack":"12"}"#).expect("is a frame");
        assert_eq!((frame.ack, frame.commands.len()), (Some(Seq::new(12)), 0));
        let frame = parse_client_frame(r#"{"channels":{"7":"0"}}"#).expect("is a frame");
        assert_eq!(frame.channels.expect("has cursors").len(), 1);
        assert!(parse_client_frame(r#"{"ack":12}"#).is_err());
        assert!(parse_client_frame(r#"{"channels":{"x":"0"}}"#).is_err());
    }

    #[test]
    fn a_problem_quotes_little_of_the_input_and_unknown_fields_must_be_utf_8() {
        let long = format!("{{\"commands\":\"{}\"}}", "é".repeat(100_000));
        let problem = parse_commands(long.as_bytes()).expect_err("has no list");
        assert!(problem.detail.len() < 400, "{} bytes", problem.detail.len());
        assert!(problem.detail.ends_with("line 1 column 200014"), "{}", problem.detail);
        let problem =
            parse_commands(b"{\"commands\":[],\"x\":\"\xff\"}").expect_err("is not UTF-8");
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
            let parsed = parse_commands(body.to_string().as_bytes()).expect("is a body");
            let expected = Command::Send {
                channel_id: ChannelId::new(1), client_message_id: None, content,
            };
            prop_assert_eq!(parsed[0].1.as_ref().expect("is a command"), &expected);
        }
    }

    #[test]
    fn malformed_json_is_named_by_its_position_alone() {
        for (frame, expected) in [
            (r#"{"type":"send""#, "ends in the middle of a JSON document: line 1 column 14"),
            ("{\n\"type\" 7}", "is not JSON: line 2 column 8"),
            ("7", "unexpected JSON: line 1 column 1"),
        ] {
            let problem = parse_client_frame(frame).expect_err("is malformed");
            assert_eq!(problem.detail, expected, "{frame}");
        }
    }
}
