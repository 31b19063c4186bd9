//! The parts of WebSocket and HTTP/1.1 that a counting client needs: the end of a frame or a response, and
//! the cursor at the end of a batch.

use memchr::memmem;

/// How the bytes of a connection are cut into units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Frames of a server (RFC 6455 section 5.2).
    WebSocket,
    /// Responses with a `content-length` (RFC 9112 section 6.2).
    Http,
    /// Chunks of a streamed response, after its head (RFC 9112 section 7.1).
    Chunks,
}

/// One complete frame, response or chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    /// Header of the frame, status line and headers, or the line with the chunk's size.
    pub head: &'a [u8],
    /// The payload; that of a chunk with its line end.
    pub body: &'a [u8],
}

impl Framing {
    /// The unit at the beginning of `bytes`, if it is complete.
    pub fn unit(self, bytes: &[u8]) -> Option<Unit<'_>> {
        let (head, body) = match self {
            Self::WebSocket => frame_lengths(bytes)?,
            Self::Http => response_lengths(bytes)?,
            Self::Chunks => chunk_lengths(bytes)?,
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

fn response_lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    Some((head, content_length(&bytes[..head])))
}

/// The value of `content-length`, however it is capitalised; 0 without one.
fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    // The part of the name that all servers write in lower case is quick to find.
    const TAIL: &[u8] = b"ength: ";
    memmem::find_iter(head, TAIL)
        .map(|at| at + TAIL.len())
        .find(|end| {
            end.checked_sub(NAME.len())
                .is_some_and(|start| head[start..*end].eq_ignore_ascii_case(NAME))
        })
        .map_or(0, |end| digits(&head[end..]))
}

fn digits(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

fn chunk_lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = memmem::find(bytes, b"\r\n")? + 2;
    let size = bytes
        .iter()
        .map_while(|byte| (*byte as char).to_digit(16))
        .fold(0, |size, digit| size * 16 + digit as usize);
    Some((head, size + 2))
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

/// The cursor at the end of a batch, which is the number of events that the session has received; none if
/// the bytes are not a batch.
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
    fn the_length_of_an_answer_is_found_however_it_is_written() {
        for (head, body) in [
            (&b"HTTP/1.1 200 OK\r\nX-Strength: 9\r\nContent-Length: 3\r\n\r\n"[..], &b"abc"[..]),
            (b"HTTP/1.1 204 No Content\r\nserver: x\r\n\r\n", b""),
        ] {
            let bytes = [head, b"abcHTTP"].concat();
            assert_eq!(Framing::Http.unit(&bytes), Some(Unit { head, body }));
        }
    }

    #[test]
    fn chunks_are_cut_where_they_end() {
        let bytes = b"1a\r\ndata: abcdefghijklmnopqr\n\n\r\n5\r\nhel";
        let unit = Framing::Chunks.unit(bytes).expect("whole");
        assert_eq!(unit, Unit { head: b"1a\r\n", body: b"data: abcdefghijklmnopqr\n\n\r\n" });
        assert_eq!(Framing::Chunks.unit(&bytes[unit.head.len() + unit.body.len()..]), None);
    }

    #[test]
    fn a_batch_says_how_far_it_goes() {
        assert_eq!(next_of(br#"{"events":[{}],"next":"42"}"#), Some(42));
        assert_eq!(next_of(br#"{"events":[],"next":"7","timeout":true}"#), Some(7));
        assert_eq!(next_of(br#"{"reply":{"message_id":"1"}}"#), None);
    }
}
