//! The client side of each system's protocol: what it replies to a unit and how it sends a message; and
//! numbered contents, so that every delivery can be checked whatever is around it.

use crate::Outcome;
use crate::wire::{Unit, client_frame};

/// The protocol of a client on one connection.
pub trait Dialect: std::fmt::Debug {
    /// Processes a unit, writes the reply that it needs (the next poll, a pong), and returns the text that
    /// holds the contents.
    ///
    /// # Errors
    /// If the unit violates the protocol.
    fn hear<'a>(&'a mut self, unit: Unit<'a>, reply: &mut Reply) -> Outcome<&'a [u8]>;

    /// Writes the request or frame that sends a message.
    ///
    /// # Errors
    /// If this connection only receives.
    fn say(&mut self, _content: &[u8], _reply: &mut Reply) -> Outcome<()> {
        Err("this connection only receives".into())
    }
}

/// Bytes that a dialect has written and that are not sent yet.
#[derive(Debug, Default)]
pub struct Reply {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Requests among them.
    pub requests: u64,
}

impl Reply {
    /// Appends a text frame.
    pub fn frame(&mut self, text: &[u8]) {
        client_frame(text, &mut self.bytes);
    }

    /// Appends a request, given in parts.
    pub fn request(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.requests += 1;
    }

    /// Removes what was sent.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.requests = 0;
    }
}

/// A client that never replies. [`Swarm`](crate::swarm::Swarm) replies to WebSocket pings.
#[derive(Debug)]
pub struct Silent;

impl Dialect for Silent {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, _: &mut Reply) -> Outcome<&'a [u8]> {
        Ok(unit.body)
    }
}

/// Server-sent events in chunks, which may end anywhere.
#[derive(Debug, Default)]
pub struct Events {
    text: Vec<u8>,
    heard: usize,
}

impl Dialect for Events {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, _: &mut Reply) -> Outcome<&'a [u8]> {
        let data = unit.body.strip_suffix(b"\r\n").ok_or("a chunk without its line end")?;
        if data.is_empty() {
            return Err("the stream ended".into());
        }
        self.text.drain(..self.heard);
        self.text.extend_from_slice(data);
        self.heard = memchr::memmem::rfind(&self.text, b"\n\n").map_or(0, |at| at + 2);
        Ok(&self.text[..self.heard])
    }
}

/// Bytes of a content.
pub const CONTENT: usize = 128;
/// The first byte of a content, which occurs nowhere else in what the systems send.
const MARK: u8 = b'@';
/// Digits of the number after the mark.
const DIGITS: usize = 10;

/// The content of message `number`.
pub fn content(number: u64) -> Vec<u8> {
    let mut content = format!("@{number:0DIGITS$}").into_bytes();
    content.resize(CONTENT, b'x');
    content
}

/// The numbers of the contents in `text`, in their order. An incomplete content is an error.
pub fn numbers(text: &[u8]) -> impl Iterator<Item = Outcome<u64>> {
    memchr::memchr_iter(MARK, text).map(|at| {
        let digits = text.get(at + 1..at + 1 + DIGITS).unwrap_or_default();
        if digits.len() < DIGITS || !digits.iter().all(u8::is_ascii_digit) {
            return Err(format!("no content: {}", String::from_utf8_lossy(text)).into());
        }
        Ok(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Vec<u64> {
        numbers(text).collect::<Outcome<_>>().expect("whole contents")
    }

    #[test]
    fn contents_are_found_within_other_text() {
        let text = [b"[\"", &content(7)[..], b"\",\"", &content(1_234_567_890), b"\"]"].concat();
        assert_eq!(all(&text), [7, 1_234_567_890]);
        assert_eq!(content(7).len(), CONTENT);
        assert!(numbers(b"@00000").any(|number| number.is_err()), "half a content is an error");
        assert!(numbers(b"@000000000x").any(|number| number.is_err()), "and so is another mark");
    }

    #[test]
    fn an_event_counts_once_it_is_complete() {
        let stream = [b"data: ", &content(1)[..], b"\n\ndata: ", &content(2), b"\n\n"].concat();
        for cut in 1..stream.len() - 1 {
            let (mut events, mut reply, mut heard) = (Events::default(), Reply::default(), vec![]);
            for part in [&stream[..cut], &stream[cut..]] {
                let body = [part, b"\r\n"].concat();
                let unit = Unit { head: b"1\r\n", body: &body };
                heard.extend(all(events.hear(unit, &mut reply).expect("a chunk")));
            }
            assert_eq!(heard, [1, 2], "cut at {cut}");
        }
    }
}
