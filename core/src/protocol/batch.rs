//! The one document that every transport delivers: `{"events":[…],"next":"42"}`.

use bytes::Bytes;

use crate::model::Seq;

const OPEN: &[u8] = b"{\"events\":[";
const NEXT: &[u8] = b"],\"next\":\"";
const CLOSE: &[u8] = b"\"}";
const CLOSE_TIMEOUT: &[u8] = b"\",\"timeout\":true}";

/// Consecutive events of a session, and the position after them. It borrows from a mailbox, so an
/// event is copied once, into the buffer for the socket.
#[derive(Clone, Debug)]
pub struct Batch<I> {
    events: I,
    next: Seq,
    timeout: bool,
}

impl<'a, I: Iterator<Item = &'a Bytes> + Clone> Batch<I> {
    /// A batch of `events`, each a JSON object. `next` is the seq of the last of them.
    pub fn new(events: I, next: Seq) -> Self {
        Self { events, next, timeout: false }
    }

    /// The same batch with `"timeout":true`: the deadline passed without an event.
    #[must_use]
    pub fn timed_out(mut self) -> Self {
        self.timeout = true;
        self
    }

    /// The exact length of the document, in bytes.
    pub fn len(&self) -> usize {
        let (mut count, mut bytes) = (0usize, 0usize);
        for event in self.events.clone() {
            count += 1;
            bytes += event.len();
        }
        let digits = self.next.get().checked_ilog10().unwrap_or(0) as usize + 1;
        let commas = count.saturating_sub(1);
        OPEN.len() + bytes + commas + NEXT.len() + digits + self.close().len()
    }

    /// Whether there are no events. The document is valid all the same.
    pub fn is_empty(&self) -> bool {
        self.events.clone().next().is_none()
    }

    /// Appends the document to `out`: exactly [`len`](Self::len) bytes of JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start_len = out.len();
        out.extend_from_slice(OPEN);
        for (index, event) in self.events.clone().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(event);
        }
        out.extend_from_slice(NEXT);
        // Not `write!`: it costs more than the rest of a small batch.
        let mut digits = [0u8; 20];
        let mut start = digits.len();
        let mut rest = self.next.get();
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        out.extend_from_slice(&digits[start..]);
        out.extend_from_slice(self.close());
        debug_assert_eq!(out.len() - start_len, self.len(), "the length is announced before");
    }

    const fn close(&self) -> &'static [u8] {
        if self.timeout { CLOSE_TIMEOUT } else { CLOSE }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_batch_is_json_of_the_announced_length(
            values in proptest::collection::vec(".*", 0..5), next: u64, timeout: bool,
        ) {
            let events: Vec<Bytes> = values
                .iter()
                .map(|text| serde_json::json!({"type": text}).to_string().into())
                .collect();
            let mut batch = Batch::new(events.iter(), Seq::new(next));
            if timeout {
                batch = batch.timed_out();
            }
            let mut out = Vec::new();
            batch.write(&mut out);
            prop_assert_eq!(out.len(), batch.len());
            let json: serde_json::Value = serde_json::from_slice(&out).expect("is JSON");
            prop_assert_eq!(json["events"].as_array().expect("is a list").len(), values.len());
            let next = next.to_string();
            prop_assert_eq!(json["next"].as_str(), Some(next.as_str()));
            prop_assert_eq!(json.get("timeout").is_some(), timeout);
        }
    }
}
