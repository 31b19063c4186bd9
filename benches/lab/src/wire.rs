//! Just enough of WebSocket and HTTP/1.1 for a client that counts: finding where a frame or an
//! answer ends, and the cursor at the end of a batch.

use memchr::memmem;

/// How a connection's bytes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Frames of a server (RFC 6455 section 5.2).
    WebSocket,
    /// Answers with a `content-length` (RFC 9112).
    Http,
}

/// One frame or answer, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    /// Header of the frame, or status line and headers.
    pub head: &'a [u8],
    /// What it carries.
    pub body: &'a [u8],
}

impl Framing {
    /// The unit at the beginning of `bytes`, if it is there to its end.
    pub fn unit(self, bytes: &[u8]) -> Option<Unit<'_>> {
        let (head, body) = match self {
            Self::WebSocket => frame_lengths(bytes)?,
            Self::Http => answer_lengths(bytes)?,
        };
        let whole = bytes.get(..head + body)?;
        Some(Unit { head: &whole[..head], body: &whole[head..] })
    }
}

fn frame_lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes.get(1)? & 0x7f {
        126 => {
            let length = bytes.get(2..4)?.try_into().ok()?;
            Some((4, usize::from(u16::from_be_bytes(length))))
        }
        127 => {
            let length = bytes.get(2..10)?.try_into().ok()?;
            Some((10, u64::from_be_bytes(length) as usize))
        }
        length => Some((2, usize::from(length))),
    }
}

fn answer_lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    const LENGTH: &[u8] = b"content-length: ";
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let length = match memmem::find(&bytes[..head], LENGTH) {
        Some(at) => bytes[at + LENGTH.len()..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0, |length, digit| length * 10 + usize::from(digit - b'0')),
        None => 0,
    };
    Some((head, length))
}

/// A text frame as clients send it, appended to `out`. The masking key is 0, which leaves the text
/// as it is; the server has the same work with it.
pub fn client_frame(text: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    match u16::try_from(text.len()) {
        Ok(length) if length < 126 => out.push(0x80 | length as u8),
        Ok(length) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text);
}

/// The seq at the end of a batch, which says how many events a session has received in all; nothing
/// if this is no batch.
pub fn next_of(batch: &[u8]) -> Option<u64> {
    if !batch.starts_with(b"{\"events\":[") {
        return None;
    }
    let rest =
        batch.strip_suffix(b"\"}").or_else(|| batch.strip_suffix(b"\",\"timeout\":true}"))?;
    let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = &rest[rest.len() - digits..];
    Some(digits.iter().fold(0, |next, digit| next * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_answers_are_cut_where_they_end() {
        let bytes = b"\x81\x02hi\x81\x7e\x00\x80";
        let unit = Framing::WebSocket.unit(bytes).expect("whole");
        assert_eq!((unit.head.len(), unit.body), (2, &b"hi"[..]));
        assert_eq!(Framing::WebSocket.unit(&bytes[4..]), None);
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP";
        let unit = Framing::Http.unit(bytes).expect("whole");
        assert_eq!((unit.head.len(), unit.body), (38, &b"abc"[..]));
    }

    #[test]
    fn a_batch_says_how_far_it_goes() {
        assert_eq!(next_of(br#"{"events":[{}],"next":"42"}"#), Some(42));
        assert_eq!(next_of(br#"{"events":[],"next":"7","timeout":true}"#), Some(7));
        assert_eq!(next_of(br#"{"reply":{"message_id":"1"}}"#), None);
    }
}
