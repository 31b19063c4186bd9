//! Fuzz target of the command codec: frames and bodies of clients, valid, invalid in known fields, and
//! damaged.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use pabal_contract::fuzz::{for_a_while, spoiled};
use pabal_core::model::{ChannelId, MessageId, Seq};
use pabal_core::protocol::*;

/// The longest `detail` of a problem, whatever the input.
const LONGEST_DETAIL: usize = 400;

/// Tokens that are inserted anywhere in the input.
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

/// The value of a field: absent, a string, or another JSON value.
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

    /// Whether it counts as absent, as `null` does.
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

/// Decimal digits below 2^63, with any number of leading zeroes.
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
struct Written {
    fields: BTreeMap<&'static str, Field>,
    /// A field that occurs twice.
    twice: Option<&'static str>,
}

const FIELDS: [&str; 6] =
    ["id", "type", "channel_id", "message_id", "client_message_id", "content"];

fn written_command() -> impl Strategy<Value = Written> {
    let kinds = select(&["send", "send", "send", "typing", "read", "dance", "", "Send"][..]);
    let fields = (
        field(names()),
        field(kinds.prop_map(str::to_owned)),
        field(ids()),
        field(ids()),
        field(names()),
        field(any::<String>()),
    );
    let twice = prop_oneof![30 => Just(None), 1 => select(&FIELDS[..]).prop_map(Some)];
    (fields, twice).prop_map(|((id, kind, channel, message, client, content), twice)| Written {
        fields: FIELDS.into_iter().zip([id, kind, channel, message, client, content]).collect(),
        twice,
    })
}

impl Written {
    fn is_malformed(&self) -> bool {
        self.twice.is_some_and(|name| !matches!(self.fields[name], Field::Absent))
    }

    /// Its invalid fields, by the contract.
    fn invalid_fields(&self) -> Vec<&'static str> {
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

    /// The command that it stands for, if no field is invalid.
    fn means(&self) -> Command {
        let text = |name: &str| self.fields[name].text().map(str::to_owned);
        let number = |name| text(name).as_deref().and_then(id).expect("was checked");
        let channel_id = ChannelId::new(number("channel_id"));
        match text("type").as_deref() {
            Some("send") => Command::Send {
                channel_id,
                client_message_id: text("client_message_id"),
                content: text("content").expect("was checked"),
            },
            Some("typing") => Command::Typing { channel_id },
            _ => Command::Read { channel_id, message_id: MessageId::new(number("message_id")) },
        }
    }

    fn matches(&self, (id, command): &NamedCommand) -> Result<(), TestCaseError> {
        let wrong = self.invalid_fields();
        match command {
            Ok(command) => {
                prop_assert!(wrong.is_empty(), "accepted with invalid {wrong:?}");
                prop_assert_eq!(command, &self.means());
            }
            Err(problem) => {
                names_the_invalid_field(problem)?;
                let field = problem.errors.first().map(|error| error.field.as_str());
                prop_assert!(field.is_some_and(|field| wrong.contains(&field)), "{problem:?}");
            }
        }
        let named = self.fields["id"].text().filter(|_| self.fields["id"].is_name());
        prop_assert_eq!(id.as_deref(), named, "the reply carries its id");
        Ok(())
    }

    /// As JSON. `style` selects the order of the fields, the escapes and the spaces.
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
            pairs.extend(std::iter::repeat_n(pair, if self.twice == Some(*name) { 2 } else { 1 }));
        }
        pairs.extend(more.iter().map(|(name, value)| format!("\"{name}\":{value}")));
        pairs.push(r#""unknown":{"deep":[[["\ud83d\udc0e",1e300]]],"":null}"#.to_owned());
        let turns = usize::from(style) % pairs.len();
        pairs.rotate_left(turns);
        format!("{{{}}}", pairs.join([",", "\n, "][usize::from(style >> 2) & 1]))
    }
}

/// A JSON string, for some styles with every character escaped.
fn string(text: &str, style: u8) -> String {
    if style & 1 == 0 {
        return json!(text).to_string();
    }
    let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{escaped}\"")
}

/// What holds for every problem: code `invalid`, and a short sentence that does not repeat the input.
fn names_the_invalid_field(problem: &Problem) -> Result<(), TestCaseError> {
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

/// A command as JSON, by the contract.
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

/// Writes the parsed commands as JSON again, which must parse to the same commands. An invalid command
/// must name its field.
fn can_be_written_again(commands: Vec<NamedCommand>) -> Result<(), TestCaseError> {
    prop_assert!(commands.len() <= 256);
    let mut parsed = Vec::new();
    for (id, command) in commands {
        match command {
            Ok(command) => parsed.push((id, command)),
            Err(problem) => {
                names_the_invalid_field(&problem)?;
                let field = problem.errors.first().map(|error| error.field.as_str());
                prop_assert!(field.is_some_and(|field| FIELDS.contains(&field)), "{problem:?}");
            }
        }
    }
    let body = json!({"commands": parsed.iter().map(written).collect::<Vec<_>>()}).to_string();
    let again = parse_commands(body.as_bytes()).expect("a parsed command can be written");
    let again: Vec<_> = again.into_iter().map(|(id, it)| (id, it.expect("is a command"))).collect();
    prop_assert_eq!(again, parsed);
    Ok(())
}

/// Valid commands are parsed, and invalid ones are refused by field, as the contract says.
#[test]
fn commands() {
    // Sometimes more commands than one body may hold.
    let copies = prop_oneof![80 => Just(1_usize), 1 => 60..120_usize];
    let input = (vec(written_command(), 0..4), copies, any::<u8>());
    for_a_while(file!(), input, |(sent, copies, style)| {
        let sent = vec![sent; copies].concat();
        let list: Vec<_> = sent.iter().map(|sent| sent.write(style, &[])).collect();
        let list = format!("[{}]", list.join(","));
        let (frame, body) = (list.clone(), format!("{{\"commands\":{list}}}"));
        let parsed = [
            parse_client_frame(&frame).map(|frame| frame.commands),
            parse_commands(body.as_bytes()),
        ];
        for parsed in parsed {
            match parsed {
                Err(problem) => {
                    names_the_invalid_field(&problem)?;
                    let twice = sent.iter().any(Written::is_malformed);
                    let field = problem.errors.first().map(|error| error.field.as_str());
                    prop_assert!(twice || field == Some("commands"), "{problem:?}");
                    prop_assert!(twice || sent.len() > 256, "{problem:?}");
                }
                Ok(commands) => {
                    prop_assert_eq!(commands.len(), sent.len());
                    for (sent, command) in sent.iter().zip(&commands) {
                        sent.matches(command)?;
                    }
                    can_be_written_again(commands)?;
                }
            }
        }
        Ok(())
    });
}

/// A frame of one object: an acknowledgement, cursors, and perhaps a command.
#[test]
fn commands_with_cursors() {
    let channels = prop_oneof![
        4 => btree_map(0..u64::MAX >> 1, 0..u64::MAX >> 1, 0..5).prop_map(Some),
        1 => Just(None),
    ];
    const WRONG: &[&str] = &[
        "7",
        "[]",
        "\"1\"",
        "{\"x\":\"0\"}",
        "{\"1\":7}",
        "{\"1\":\"-1\"}",
        "{\"1\":{\"1\":\"1\"}}",
        "{\"9223372036854775808\":\"0\"}",
    ];
    let wrong = prop_oneof![4 => Just(None), 1 => select(WRONG).prop_map(Some)];
    let input = (prop::option::of(written_command()), field(ids()), channels, wrong, any::<u8>());
    for_a_while(file!(), input, |(sent, ack, channels, wrong, style)| {
        let nothing = || FIELDS.into_iter().map(|name| (name, Field::Absent)).collect();
        let command = sent.unwrap_or_else(|| Written { fields: nothing(), twice: None });
        let mut more = Vec::new();
        match &ack {
            Field::Absent => {}
            Field::Text(text) => more.push(("ack", string(text, style))),
            Field::Other(json) => more.push(("ack", (*json).to_owned())),
        }
        let cursors: Option<BTreeMap<_, _>> = channels.as_ref().map(|channels| {
            channels.iter().map(|(id, held)| (id.to_string(), held.to_string())).collect()
        });
        match (wrong, &cursors) {
            (Some(wrong), _) => more.push(("channels", wrong.to_owned())),
            (None, Some(cursors)) => more.push(("channels", json!(cursors).to_string())),
            (None, None) => {}
        }
        let parsed = parse_client_frame(&command.write(style, &more));
        if command.is_malformed() {
            return names_the_invalid_field(&parsed.expect_err("has a field twice"));
        }
        let wrong_ack = !ack.is_absent() && !ack.is_id();
        if wrong_ack || wrong.is_some() {
            let problem = parsed.expect_err("has an invalid field");
            names_the_invalid_field(&problem)?;
            let field = problem.errors[0].field.as_str();
            prop_assert!(field == "ack" && wrong_ack || field == "channels", "{problem:?}");
            return Ok(());
        }
        let frame = parsed.expect("is a frame");
        prop_assert_eq!(frame.ack, ack.text().and_then(id).map(Seq::new));
        let held = |(id, held)| (ChannelId::new(id), MessageId::new(held));
        prop_assert_eq!(frame.channels, channels.map(|it| it.into_iter().map(held).collect()));
        let silent = command.fields["type"].is_absent() && (!ack.is_absent() || cursors.is_some());
        prop_assert_eq!(frame.commands.len(), usize::from(!silent));
        frame.commands.iter().try_for_each(|named| command.matches(named))
    });
}

/// A damaged frame or body is refused with a reason, or parses to commands that can be written again.
#[test]
fn commands_spoiled() {
    let whole =
        (vec(written_command(), 0..3), any::<u8>(), 0..3).prop_map(|(sent, style, shape)| {
            let list: Vec<_> = sent.iter().map(|sent| sent.write(style, &[])).collect();
            let more = [("ack", "\"7\"".to_owned()), ("channels", r#"{"7":"0"}"#.to_owned())];
            match shape {
                0 => format!("[{}]", list.join(",")),
                1 => format!("{{\"commands\":[{}]}}", list.join(",")),
                _ => sent.first().map_or("{\"ack\":\"1\"}".into(), |sent| sent.write(style, &more)),
            }
            .into_bytes()
        });
    for_a_while(file!(), spoiled(whole, TOKENS), |bytes| {
        match parse_commands(&bytes) {
            Err(problem) => names_the_invalid_field(&problem)?,
            Ok(commands) => {
                prop_assert!(std::str::from_utf8(&bytes).is_ok(), "a body that parses is UTF-8");
                can_be_written_again(commands)?;
            }
        }
        // A WebSocket text frame is UTF-8.
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Ok(());
        };
        match parse_client_frame(text) {
            Err(problem) => {
                names_the_invalid_field(&problem)?;
                for error in &problem.errors {
                    prop_assert!(["ack", "channels", "commands"].contains(&&*error.field));
                }
            }
            Ok(frame) => {
                let again = json!({"ack": frame.ack, "channels": frame.channels}).to_string();
                if frame.ack.is_some() || frame.channels.is_some() {
                    let again = parse_client_frame(&again).expect("a parsed frame can be written");
                    prop_assert_eq!((again.ack, again.channels), (frame.ack, frame.channels));
                }
                can_be_written_again(frame.commands)?;
            }
        }
        Ok(())
    });
}
