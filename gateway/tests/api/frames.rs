//! WebSocket conformance: the cases of the Autobahn suite that concern a server without extensions,
//! written from RFC 6455, each with its section. A frame was taken if the command in it is replied to.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::line::{Line, Stream, upgrade};
use crate::support::{Node, Person, pluck};

const SOON: Duration = Duration::from_secs(20);
pub(crate) const FINAL: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;
pub(crate) const COMMAND: &str = r#"{"id":"héllo-€-𐍈","type":"fly"}"#;

/// What the server sends in response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    /// The command was understood, and succeeded or failed.
    Reply,
    Pong(Vec<u8>),
    Close(Option<u16>),
}

/// A frame as clients send it: masked, its length in the shortest form (section 5.2).
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(first, 0x80, payload.len());
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn header(first: u8, masked: u8, length: usize) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..126 => header.push(masked | length as u8),
        126..65_536 => {
            header.push(masked | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(masked | 127);
            header.extend((length as u64).to_be_bytes());
        }
    }
    header
}

pub(crate) fn text(payload: &[u8]) -> Vec<u8> {
    frame(FINAL | TEXT, payload)
}

/// The command in a message of so many bytes.
fn padded(length: usize) -> Vec<u8> {
    let mut payload = COMMAND.as_bytes().to_vec();
    payload.resize(length.max(payload.len()), b' ');
    payload
}

pub(crate) fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FINAL | CLOSE, &[&code.to_be_bytes()[..], reason].concat())
}

/// A message in fragments of so many bytes, with `between` after each but the last.
pub(crate) fn fragments(payload: &[u8], size: usize, between: &[u8]) -> Vec<u8> {
    let chunks: Vec<_> = payload.chunks(size).collect();
    let mut frames = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let (first, last) = (index == 0, index + 1 == chunks.len());
        let opcode = if first { TEXT } else { CONTINUATION };
        frames.extend(frame(opcode | if last { FINAL } else { 0 }, chunk));
        if !last {
            frames.extend(between);
        }
    }
    frames
}

/// A socket on which frames are written by hand.
pub(crate) struct Raw {
    pub(crate) stream: Box<dyn Stream>,
}

impl Raw {
    pub(crate) async fn open(node: &Node, person: &Person) -> Self {
        Self::over(Line::open(node).await, person).await
    }

    /// The same on a connection that is there.
    pub(crate) async fn over(mut line: Line, person: &Person) -> Self {
        assert_eq!(line.ask(upgrade(person, "/v1/websocket")).await.status, 101);
        let (stream, unread) = line.into_parts();
        Self::greeted(tokio::io::join(unread.chain(stream.0), stream.1)).await
    }

    /// On a stream after its handshake.
    pub(crate) async fn greeted(stream: impl Stream + 'static) -> Self {
        let mut raw = Self { stream: Box::new(stream) };
        let (first, greeting) = raw.read().await.unwrap();
        assert!(first == FINAL | TEXT && greeting.starts_with(br#"{"session":"#));
        raw
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        // The server may have closed before the end. TLS holds back what is not flushed.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next frame, its first byte and payload; nothing at the end.
    pub(crate) async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let (first, length) =
                (self.stream.read_u8().await.ok()?, self.stream.read_u8().await.ok()?);
            assert_eq!(length & 0x80, 0, "section 5.1: a server does not mask");
            let length = match length {
                126 => u64::from(self.stream.read_u16().await.ok()?),
                127 => self.stream.read_u64().await.ok()?,
                length => length.into(),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some((first, payload))
        };
        timeout(SOON, read).await.expect("the server sends a frame in time")
    }

    pub(crate) async fn said(&mut self) -> Option<Said> {
        loop {
            let (first, payload) = self.read().await?;
            assert_eq!(first & 0x70, 0, "section 5.2: reserved bits without an extension");
            match first & 0x0f {
                TEXT if payload.starts_with(br#"{"reply":"#) => {
                    assert!(String::from_utf8(payload).unwrap().contains("héllo-€-𐍈"));
                    return Some(Said::Reply);
                }
                // The problem that goes before a close.
                TEXT => assert!(payload.starts_with(br#"{"error":"#), "{payload:?}"),
                PONG => return Some(Said::Pong(payload)),
                CLOSE => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    return Some(Said::Close(code));
                }
                opcode => panic!("opcode {opcode}"),
            }
        }
    }
}

pub(crate) type Case = (&'static str, Vec<u8>, Vec<Said>);

fn framing() -> Vec<Case> {
    let pong = |payload: &[u8]| Said::Pong(payload.to_vec());
    let refused = || vec![Said::Close(Some(1002))];
    let mut cases: Vec<Case> = Vec::new();
    for length in [0, 125, 126, 127, 128, 65_535, 65_536, 256 * 1024] {
        cases.push(("5.2 text of every length class", text(&padded(length)), vec![Said::Reply]));
    }
    let large = text(&padded(256 * 1024 + 1));
    cases.push(("10.4 a frame above the limit", large, vec![Said::Close(Some(4413))]));
    let large = fragments(&padded(256 * 1024 + 1), 64 * 1024, &[]);
    cases.push(("10.4 a message above the limit", large, vec![Said::Close(Some(4413))]));
    let endless = header(FINAL | TEXT, 0x80, usize::MAX >> 1);
    let endless = [endless, vec![0; 4]].concat();
    cases.push(("10.4 a frame of 2^63 bytes", endless, vec![Said::Close(Some(4413))]));
    let binary = frame(FINAL | BINARY, COMMAND.as_bytes());
    cases.push(("5.6 binary is no JSON text", binary, vec![Said::Close(Some(4400))]));
    let unmasked = [header(FINAL | TEXT, 0, COMMAND.len()), COMMAND.into()].concat();
    cases.push(("5.1 unmasked", unmasked, refused()));
    for bits in [0x40, 0x20, 0x10, 0x70] {
        let reserved = frame(FINAL | bits | TEXT, COMMAND.as_bytes());
        cases.push(("5.2 reserved bits of text", reserved, refused()));
        cases.push(("5.2 reserved bits of a ping", frame(FINAL | bits | PING, b""), refused()));
        cases.push(("5.2 reserved bits of a close", frame(FINAL | bits | CLOSE, b""), refused()));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(("5.2 reserved opcodes", frame(FINAL | opcode, b""), refused()));
    }
    for payload in [&b""[..], b"hello", &[0xff; 125]] {
        let ping = frame(FINAL | PING, payload);
        cases.push(("5.5.3 a pong has its ping's payload", ping, vec![pong(payload)]));
    }
    cases.push(("5.5 control of 126 bytes", frame(FINAL | PING, &[0; 126]), refused()));
    cases.push(("5.5 control in fragments", frame(PING, b"x"), refused()));
    let unasked = [frame(FINAL | PONG, b"x"), text(COMMAND.as_bytes())].concat();
    cases.push(("5.5.3 an unsolicited pong", unasked, vec![Said::Reply]));
    cases
}

fn fragmentation() -> Vec<Case> {
    let refused = || vec![Said::Close(Some(1002))];
    let (command, ping) = (COMMAND.as_bytes(), frame(FINAL | PING, b"p"));
    let mut cases: Vec<Case> = Vec::new();
    for size in [1, 2, 3, 7, command.len() - 1] {
        let frames = fragments(command, size, &[]);
        cases.push(("5.4 a message in fragments", frames, vec![Said::Reply]));
    }
    let frames = fragments(command, command.len() / 2 + 1, &ping);
    let said = vec![Said::Pong(b"p".into()), Said::Reply];
    cases.push(("5.4 control between fragments", frames, said));
    let empty = [frame(TEXT, b""), frame(CONTINUATION, b""), frame(FINAL, command)].concat();
    cases.push(("5.4 empty fragments", empty, vec![Said::Reply]));
    cases.push(("5.4 continuation of nothing", frame(FINAL | CONTINUATION, command), refused()));
    cases.push(("5.4 the same, not the last", frame(CONTINUATION, command), refused()));
    let two = [frame(TEXT, b"{"), text(command)].concat();
    cases.push(("5.4 a message within a message", two, refused()));
    let after = [text(command), frame(FINAL | CONTINUATION, b"x")].concat();
    cases.push(("5.4 continuation of what has ended", after, refused()));
    cases
}

fn utf8() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let sequences: [(&'static str, &[u8]); 8] = [
        ("8.1 a lone continuation byte", &[0x80]),
        ("8.1 a sequence cut short", &[0xe2, 0x82]),
        ("8.1 the same within text", &[0xe2, 0x82, b'"']),
        ("8.1 an overlong slash", &[0xc0, 0xaf]),
        ("8.1 a surrogate", &[0xed, 0xa0, 0x80]),
        ("8.1 beyond U+10FFFF", &[0xf4, 0x90, 0x80, 0x80]),
        ("8.1 five bytes", &[0xf8, 0x88, 0x80, 0x80, 0x80]),
        ("8.1 never a byte of UTF-8", &[0xfe, 0xff]),
    ];
    for (name, bytes) in sequences {
        let whole = [&br#"{"id":""#[..], bytes].concat();
        let said = vec![Said::Close(Some(1007))];
        cases.push((name, text(&whole), said.clone()));
        cases.push((name, fragments(&whole, 1, &[]), said));
    }
    cases
}

fn closing() -> Vec<Case> {
    let said = |code: u16| vec![Said::Close(Some(code))];
    let mut cases: Vec<Case> = Vec::new();
    cases.push(("5.5.1 no code", frame(FINAL | CLOSE, b""), vec![Said::Close(None)]));
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        cases.push(("7.4 a code that may be sent comes back", close(code, b"bye"), said(code)));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        cases.push(("7.4 a code that must not be sent", close(code, b""), said(1002)));
    }
    cases.push(("5.5.1 half a code", frame(FINAL | CLOSE, &[3]), said(1002)));
    cases.push(("5.5.1 the longest reason", close(1000, &[b'x'; 123]), said(1000)));
    cases.push(("5.5 a reason too long", close(1000, &[b'x'; 124]), said(1002)));
    let after = [close(1000, b""), text(COMMAND.as_bytes()), frame(FINAL | PING, b"")].concat();
    cases.push(("5.5.1 what comes after a close is discarded", after, said(1000)));
    let within = [frame(TEXT, b"{"), close(1000, b"")].concat();
    cases.push(("7.1.2 a close within a message", within, said(1000)));
    cases
}

/// All of the cases.
pub(crate) fn cases() -> Vec<Case> {
    [framing(), fragmentation(), utf8(), closing()].concat()
}

/// Tries each case on a socket of its own.
pub(crate) async fn hold(cases: Vec<Case>, open: impl AsyncFn() -> Raw) {
    for (name, bytes, expected) in cases {
        let shown = &bytes[..bytes.len().min(24)];
        // In one piece, and byte by byte where that is not too long.
        let mut pieces = vec![bytes.len()];
        if bytes.len() < 1_000 {
            pieces.push(1);
        }
        for piece in pieces {
            let mut raw = open().await;
            for piece in bytes.chunks(piece) {
                raw.write(piece).await;
            }
            for expected in &expected {
                let mut said = raw.said().await;
                // A command right before a violation may get a reply or not.
                if matches!(expected, Said::Close(_)) && said == Some(Said::Reply) {
                    said = raw.said().await;
                }
                assert_eq!(said.as_ref(), Some(expected), "section {name}: {shown:02x?}");
            }
            if matches!(expected.last(), Some(Said::Close(_))) {
                raw.write(&close(1000, b"")).await;
                assert_eq!(raw.said().await, None, "section {name}: the connection ends");
            } else {
                // Section 7.1: the closing handshake, in good order.
                raw.write(&close(1000, b"")).await;
                assert_eq!(raw.said().await, Some(Said::Close(Some(1000))), "{name}");
                assert_eq!(raw.said().await, None, "section {name}: the connection ends");
            }
        }
    }
}

#[tokio::test]
async fn frames_are_handled_as_rfc_6455_says() {
    let node = Node::start_with(|config| config.limits.sessions_per_user = 1_000).await;
    let ann = node.sign_up("ann").await;
    hold(cases(), async || Raw::open(&node, &ann).await).await;
    node.stop().await;
}

#[tokio::test]
async fn a_reason_that_is_not_utf_8_is_refused() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let mut raw = Raw::open(&node, &ann).await;
    raw.write(&close(1000, &[0xce, 0xba, 0xe1, 0xbd])).await;
    // Section 8.1 wants the connection failed, by 1007 or any other code.
    let said = raw.said().await.unwrap();
    assert!(matches!(said, Said::Close(Some(1002 | 1007))), "{said:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_flood_of_control_frames_does_not_grow_the_write_buffer() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let mut raw = Raw::open(&node, &ann).await;
    let flood = frame(FINAL | PING, &[b'p'; 125]).repeat(20_000);
    let (mut read, mut write) = tokio::io::split(raw.stream);
    let writing = async {
        write.write_all(&flood).await.unwrap();
        write.write_all(&text(COMMAND.as_bytes())).await.unwrap();
    };
    // Section 5.5.3 allows a server to send a pong for the last of several pings only.
    let reading = async {
        let mut seen = Vec::new();
        while !seen.windows(8).any(|bytes| bytes == br#"{"reply""#) {
            assert_ne!(read.read_buf(&mut seen).await.unwrap(), 0, "closed");
            let old = seen.len().saturating_sub(1_000);
            seen.drain(..old);
        }
    };
    timeout(SOON, async { tokio::join!(writing, reading) }).await.expect("answered");
    raw = Raw { stream: Box::new(tokio::io::join(read, write)) };
    raw.write(&close(1000, b"")).await;
    node.stop().await;
}

/// Frames with `count` sends to a channel.
fn sends(channel_id: &str, count: usize) -> Vec<u8> {
    let send = |number: usize| {
        let (id, content) = (format!("c{number}"), number.to_string());
        let send = json!({"id": id, "type": "send", "channel_id": channel_id, "content": content});
        text(send.to_string().as_bytes())
    };
    (0..count).flat_map(send).collect()
}

async fn contents(person: &Person, channel_id: &str) -> Vec<String> {
    let path = format!("/v1/channels/{channel_id}/messages?after=0");
    let page = person.get(&path).await.json(200);
    pluck(&page["messages"], "content").into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn commands_before_a_close_are_carried_out_and_replied_to_before_it() {
    let node = Node::start().await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = ann.direct(&bob).await;
    let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    let mut raw = Raw::open(&node, &ann).await;
    raw.write(&[sends(&channel_id, expected.len()), close(1000, b"bye")].concat()).await;
    let mut answered = Vec::new();
    loop {
        let (first, payload) = raw.read().await.expect("a close comes before the end");
        if first == FINAL | CLOSE {
            assert_eq!(
                payload,
                1000_u16.to_be_bytes().into_iter().chain(*b"bye").collect::<Vec<_>>()
            );
            break;
        }
        let frame: Value = serde_json::from_slice(&payload).unwrap();
        if let Some(reply) = frame.get("reply") {
            assert!(reply["message_id"].is_string(), "{reply}");
            answered.push(reply["id"].as_str().unwrap().to_owned());
        }
    }
    answered.sort_by_key(|id| id[1..].parse::<usize>().unwrap());
    assert_eq!(answered, (0..20).map(|number| format!("c{number}")).collect::<Vec<_>>());
    assert_eq!(raw.said().await, None);
    assert_eq!(contents(&bob, &channel_id).await, expected);
    node.stop().await;
}

#[tokio::test]
async fn commands_before_the_end_of_a_connection_are_carried_out() {
    let node = Node::start().await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = ann.direct(&bob).await;
    let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    let mut raw = Raw::open(&node, &ann).await;
    raw.write(&sends(&channel_id, expected.len())).await;
    raw.stream.shutdown().await.unwrap();
    let stored = async {
        while contents(&bob, &channel_id).await != expected {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, stored).await.expect("every command that was read is carried out");
    node.stop().await;
}
