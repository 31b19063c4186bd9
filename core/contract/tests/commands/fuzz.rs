//! Fuzz target of the command codec: frames and bodies as clients write them, valid, with known
//! errors, and mutated.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use pabal_contract::fuzz::{mutated, run_for_budget};
use pabal_core::model::{ChannelId, MessageId, Seq};
use pabal_core::protocol::*;

/// The maximum length of an error detail, for any input.
const LONGEST_DETAIL: usize = 400;

/// Pieces of the grammar, for insertion at any offset.
const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"true",
    b"-1",
    b"1e400",
    b"18446744073709551616",
    b"0.1",
    b"\xff",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\0",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{\"\":{\"\":{\"\":{\"\":{\"\":",
    b"{}",
    b"[]",
    b" ",
    b"\"id\":\"again\",",
    b"\"type\":\"send\",",
    b"\"ack\":\"1\",",
    b"\"channels\":{},",
    b"\"content\":\"again\",",
    b"\"commands\":[],",
    b"\"channel_id\":7,",
    b"\xef\xbb\xbf",
];

/// The value of a field: none, a string, or other JSON.
#[derive(Clone, Debug)]
enum Field {
    Absent,
    Text(String),
    Other(&'static str),
}

impl Field {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the field counts as absent; `null` does.
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent | Self::Other("null"))
    }

    fn is_id(&self) -> bool {
        self.text().is_some_and(|text| id(text).is_some())
    }

    fn is_name(&self) -> bool {
        self.text().is_some_and(|text| (1..=128).contains(&text.len()))
    }
}

/// Decimal digits below 2^63, with any number of leading zeros.
fn id(text: &str) -> Option<u64> {
    let digits = text.trim_start_matches('0');
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits.is_empty() { Some(0) } else { digits.parse::<u64>().ok() };
    number.filter(|number| plain && *number < 1 << 63)
}

fn field(text: impl Strategy<Value = String>) -> impl Strategy<Value = Field> {
    const OTHER: &[&str] = &["null", "7", "-1.5e-7", "true", "[]", "[\"x\"]", "{}", "{\"a\":[{}]}"];
    prop_oneof![
        1 => Just(Field::Absent),
        8 => text.prop_map(Field::Text),
        1 => select(OTHER).prop_map(Field::Other),
    ]
}

fn ids() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0..u64::MAX >> 1).prop_map(|id| id.to_string()),
        1 => any::<u64>().prop_map(|id| id.to_string()),
        1 => "0{0,40}[0-9]{1,20}",
        1 => select(&["", "-1", "+1", " 1", "1 ", "1.0", "1e3", "0x1", "１", "9223372036854775807",
            "9223372036854775808", "18446744073709551616"][..]).prop_map(str::to_owned),
    ]
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![4 => "\\PC{1,20}", 1 => any::<String>(), 1 => "x{127,130}", 1 => Just(String::new())]
}

/// One command as a client writes it.
#[derive(Clone, Debug)]
struct Sample {
    fields: BTreeMap<&'static str, Field>,
    /// A field that occurs twice.
    duplicated: Option<&'static str>,
}

const FIELDS: [&str; 6] =
    ["id", "type", "channel_id", "message_id", "client_message_id", "content"];

fn sample() -> impl Strategy<Value = Sample> {
    let kinds = select(&["send", "send", "send", "typing", "read", "dance", "", "Send"][..]);
    let fields = (
        field(names()),
        field(kinds.prop_map(str::to_owned)),
        field(ids()),
        field(ids()),
        field(names()),
        field(any::<String>()),
    );
    let duplicated = prop_oneof![30 => Just(None), 1 => select(&FIELDS[..]).prop_map(Some)];
    (fields, duplicated).prop_map(|((id, kind, channel, message, client, content), duplicated)| {
        Sample {
            fields: FIELDS.into_iter().zip([id, kind, channel, message, client, content]).collect(),
            duplicated,
        }
    })
}

impl Sample {
    fn is_malformed(&self) -> bool {
        self.duplicated.is_some_and(|name| !matches!(self.fields[name], Field::Absent))
    }

    /// The fields that are invalid according to the contract.
    fn invalid(&self) -> Vec<&'static str> {
        let is = |name: &str, right: fn(&Field) -> bool| right(&self.fields[name]);
        let name = |field: &Field| field.is_absent() || field.is_name();
        let mut checks = vec![("id", is("id", name))];
        match self.fields["type"].text() {
            Some("send") => checks.extend([
                ("channel_id", is("channel_id", Field::is_id)),
                ("client_message_id", is("client_message_id", name)),
                ("content", is("content", |field| field.text().is_some())),
            ]),
            Some("typing") => checks.push(("channel_id", is("channel_id", Field::is_id))),
            Some("read") => checks.extend([
                ("channel_id", is("channel_id", Field::is_id)),
                ("message_id", is("message_id", Field::is_id)),
            ]),
            _ => checks.push(("type", false)),
        }
        checks.into_iter().filter(|(_, right)| !right).map(|(name, _)| name).collect()
    }

    /// The command it means if all fields are valid.
    fn meaning(&self) -> Command {
        let text = |name: &str| self.fields[name].text().map(str::to_owned);
        let number = |name| text(name).as_deref().and_then(id).expect("checked");
        let channel_id = ChannelId::new(number("channel_id"));
        match text("type").as_deref() {
            Some("send") => Command::Send {
                channel_id,
                client_message_id: text("client_message_id"),
                content: text("content").expect("checked"),
            },
            Some("typing") => Command::Typing { channel_id },
            _ => Command::Read { channel_id, message_id: MessageId::new(number("message_id")) },
        }
    }

    fn matches(&self, (id, command): &NamedCommand) -> Result<(), TestCaseError> {
        let invalid = self.invalid();
        match command {
            Ok(command) => {
                prop_assert!(invalid.is_empty(), "accepted with invalid fields {invalid:?}");
                prop_assert_eq!(command, &self.meaning());
            }
            Err(problem) => {
                is_valid_refusal(problem)?;
                let field = problem.errors.first().map(|error| error.field.as_str());
                prop_assert!(field.is_some_and(|field| invalid.contains(&field)), "{problem:?}");
            }
        }
        let named = self.fields["id"].text().filter(|_| self.fields["id"].is_name());
        prop_assert_eq!(id.as_deref(), named, "the reply has the id of the command");
        Ok(())
    }

    /// The command as JSON. The order of fields, the escapes and the white space depend on `style`.
    fn write(&self, style: u8, more: &[(&str, String)]) -> String {
        let mut pairs: Vec<String> = Vec::new();
        for (name, field) in &self.fields {
            let value = match field {
                Field::Absent => continue,
                Field::Text(text) => string(text, style),
                Field::Other(json) => (*json).to_owned(),
            };
            let pair =
                format!("{}{}{value}", string(name, style >> 1), [":", " :\t"][style as usize & 1]);
            pairs.extend(std::iter::repeat_n(
                pair,
                if self.duplicated == Some(*name) { 2 } else { 1 },
            ));
        }
        pairs.extend(more.iter().map(|(name, value)| format!("\"{name}\":{value}")));
        pairs.push(r#""unknown":{"deep":[[["\ud83d\udc0e",1e300]]],"":null}"#.to_owned());
        let turns = usize::from(style) % pairs.len();
        pairs.rotate_left(turns);
        format!("{{{}}}", pairs.join([",", "\n, "][usize::from(style >> 2) & 1]))
    }
}

/// A JSON string, fully escaped for odd styles.
fn string(text: &str, style: u8) -> String {
    if style & 1 == 0 {
        return json!(text).to_string();
    }
    let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{escaped}\"")
}

/// The form of every refusal: the code `invalid`, and a bounded sentence that does not echo the
/// input.
fn is_valid_refusal(problem: &Problem) -> Result<(), TestCaseError> {
    prop_assert_eq!(problem.code, ProblemCode::Invalid);
    prop_assert!(
        !problem.detail.is_empty() && problem.detail.len() <= LONGEST_DETAIL,
        "{problem:?}"
    );
    for error in &problem.errors {
        prop_assert!(problem.detail.starts_with(&format!("{}: ", error.field)), "{problem:?}");
        prop_assert!(!error.detail.is_empty());
    }
    Ok(())
}

/// A command as the contract writes it.
fn written((id, command): &(Option<String>, Command)) -> serde_json::Value {
    let mut written = match command {
        Command::Send { channel_id, client_message_id, content } => json!({
            "type": "send", "channel_id": channel_id, "client_message_id": client_message_id,
            "content": content,
        }),
        Command::Typing { channel_id } => json!({"type": "typing", "channel_id": channel_id}),
        Command::Read { channel_id, message_id } => {
            json!({"type": "read", "channel_id": channel_id, "message_id": message_id})
        }
    };
    written["id"] = json!(id);
    written
}

/// Writes the understood commands as JSON: parsing it again must give the same commands. A refused
/// command must name a field.
fn parses_to_the_same_again(commands: Vec<NamedCommand>) -> Result<(), TestCaseError> {
    prop_assert!(commands.len() <= 256);
    let mut understood = Vec::new();
    for (id, command) in commands {
        match command {
            Ok(command) => understood.push((id, command)),
            Err(problem) => {
                is_valid_refusal(&problem)?;
                let field = problem.errors.first().map(|error| error.field.as_str());
                prop_assert!(field.is_some_and(|field| FIELDS.contains(&field)), "{problem:?}");
            }
        }
    }
    let body = json!({"commands": understood.iter().map(written).collect::<Vec<_>>()}).to_string();
    let again = parse_commands(body.as_bytes()).expect("what was understood can be written");
    let again: Vec<_> = again.into_iter().map(|(id, it)| (id, it.expect("a command"))).collect();
    prop_assert_eq!(again, understood);
    Ok(())
}

/// The codec accepts and refuses commands as the contract requires.
#[test]
fn commands() {
    // Occasionally more commands than one body may have.
    let copies = prop_oneof![80 => Just(1_usize), 1 => 60..120_usize];
    let input = (vec(sample(), 0..4), copies, any::<u8>());
    run_for_budget(file!(), input, |(sample, copies, style)| {
        let sample = vec![sample; copies].concat();
        let list: Vec<_> = sample.iter().map(|sample| sample.write(style, &[])).collect();
        let list = format!("[{}]", list.join(","));
        let (frame, body) = (list.clone(), format!("{{\"commands\":{list}}}"));
        let parsed = [
            parse_client_frame(&frame).map(|frame| frame.commands),
            parse_commands(body.as_bytes()),
        ];
        for parsed in parsed {
            match parsed {
                Err(problem) => {
                    is_valid_refusal(&problem)?;
                    let duplicated = sample.iter().any(Sample::is_malformed);
                    let field = problem.errors.first().map(|error| error.field.as_str());
                    prop_assert!(duplicated || field == Some("commands"), "{problem:?}");
                    prop_assert!(duplicated || sample.len() > 256, "{problem:?}");
                }
                Ok(commands) => {
                    prop_assert_eq!(commands.len(), sample.len());
                    for (sample, command) in sample.iter().zip(&commands) {
                        sample.matches(command)?;
                    }
                    parses_to_the_same_again(commands)?;
                }
            }
        }
        Ok(())
    });
}

/// A frame of one object: an acknowledgement, channel cursors and possibly a command.
#[test]
fn commands_with_cursors() {
    let channels = prop_oneof![
        4 => btree_map(0..u64::MAX >> 1, 0..u64::MAX >> 1, 0..5).prop_map(Some),
        1 => Just(None),
    ];
    const INVALID: &[&str] = &[
        "7",
        "[]",
        "\"1\"",
        "{\"x\":\"0\"}",
        "{\"1\":7}",
        "{\"1\":\"-1\"}",
        "{\"1\":{\"1\":\"1\"}}",
        "{\"9223372036854775808\":\"0\"}",
    ];
    let invalid = prop_oneof![4 => Just(None), 1 => select(INVALID).prop_map(Some)];
    let input = (prop::option::of(sample()), field(ids()), channels, invalid, any::<u8>());
    run_for_budget(file!(), input, |(sample, ack, channels, invalid, style)| {
        let nothing = || FIELDS.into_iter().map(|name| (name, Field::Absent)).collect();
        let command = sample.unwrap_or_else(|| Sample { fields: nothing(), duplicated: None });
        let mut more = Vec::new();
        match &ack {
            Field::Absent => {}
            Field::Text(text) => more.push(("ack", string(text, style))),
            Field::Other(json) => more.push(("ack", (*json).to_owned())),
        }
        let cursors: Option<BTreeMap<_, _>> = channels.as_ref().map(|channels| {
            channels.iter().map(|(id, held)| (id.to_string(), held.to_string())).collect()
        });
        match (invalid, &cursors) {
            (Some(invalid), _) => more.push(("channels", invalid.to_owned())),
            (None, Some(cursors)) => more.push(("channels", json!(cursors).to_string())),
            (None, None) => {}
        }
        let understood = parse_client_frame(&command.write(style, &more));
        if command.is_malformed() {
            return is_valid_refusal(&understood.expect_err("a duplicate field"));
        }
        let wrong_ack = !ack.is_absent() && !ack.is_id();
        if wrong_ack || invalid.is_some() {
            let problem = understood.expect_err("an invalid field");
            is_valid_refusal(&problem)?;
            let field = problem.errors[0].field.as_str();
            prop_assert!(field == "ack" && wrong_ack || field == "channels", "{problem:?}");
            return Ok(());
        }
        let frame = understood.expect("a frame");
        prop_assert_eq!(frame.ack, ack.text().and_then(id).map(Seq::new));
        let held = |(id, held)| (ChannelId::new(id), MessageId::new(held));
        prop_assert_eq!(frame.channels, channels.map(|it| it.into_iter().map(held).collect()));
        let silent = command.fields["type"].is_absent() && (!ack.is_absent() || cursors.is_some());
        prop_assert_eq!(frame.commands.len(), usize::from(!silent));
        frame.commands.iter().try_for_each(|named| command.matches(named))
    });
}

/// A mutated frame or body is either refused with a reason or parsed without loss.
#[test]
fn commands_spoiled() {
    let whole = (vec(sample(), 0..3), any::<u8>(), 0..3).prop_map(|(sample, style, shape)| {
        let list: Vec<_> = sample.iter().map(|sample| sample.write(style, &[])).collect();
        let more = [("ack", "\"7\"".to_owned()), ("channels", r#"{"7":"0"}"#.to_owned())];
        match shape {
            0 => format!("[{}]", list.join(",")),
            1 => format!("{{\"commands\":[{}]}}", list.join(",")),
            _ => {
                sample.first().map_or("{\"ack\":\"1\"}".into(), |sample| sample.write(style, &more))
            }
        }
        .into_bytes()
    });
    run_for_budget(file!(), mutated(whole, TOKENS), |bytes| {
        match parse_commands(&bytes) {
            Err(problem) => is_valid_refusal(&problem)?,
            Ok(commands) => {
                prop_assert!(std::str::from_utf8(&bytes).is_ok(), "UTF-8 throughout");
                parses_to_the_same_again(commands)?;
            }
        }
        // A WebSocket text frame is always UTF-8.
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Ok(());
        };
        match parse_client_frame(text) {
            Err(problem) => {
                is_valid_refusal(&problem)?;
                for error in &problem.errors {
                    prop_assert!(["ack", "channels", "commands"].contains(&&*error.field));
                }
            }
            Ok(frame) => {
                let again = json!({"ack": frame.ack, "channels": frame.channels}).to_string();
                if frame.ack.is_some() || frame.channels.is_some() {
                    let again = parse_client_frame(&again).expect("it can be written");
                    prop_assert_eq!((again.ack, again.channels), (frame.ack, frame.channels));
                }
                parses_to_the_same_again(frame.commands)?;
            }
        }
        Ok(())
    });
}
