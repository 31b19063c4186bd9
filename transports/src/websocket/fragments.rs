//! What tungstenite does not report of a client's frames: the fragments of a message that is not complete.
//! It reads until it has a whole message, so that a client could send millions of empty fragments, none of
//! which any limit would see, or hold a message open for ever while its pongs keep the connection alive.
//!
//! The bytes are looked at below tungstenite, as they are read. What they mean is its business.

/// The bits of a frame's first byte (RFC 6455 section 5.2).
const FINAL: u8 = 0x80;
const CONTROL: u8 = 0x08;

/// Follows the frames of a client.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    /// How many bytes are left of a frame.
    skip: u64,
    /// A frame without its mask and payload.
    header: [u8; 10],
    /// How many bytes of the header are there.
    have: u8,
    /// A message began with a fragment, and its last frame has not come.
    open: bool,
    /// The message was open at the last tick already.
    old: bool,
    /// Fragments that were not taken.
    count: u32,
}

impl Fragments {
    /// Looks at bytes that were read.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((&byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.header[usize::from(self.have)] = byte;
            self.have += 1;
            if let Some(length) = self.length() {
                self.frame(length);
            }
        }
    }

    /// How many fragments came since the last call.
    pub(super) fn take(&mut self) -> u32 {
        std::mem::take(&mut self.count)
    }

    /// How many fragments wait to be taken.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Returns whether the message that is open now was open at the last tick.
    pub(super) fn tick(&mut self) -> bool {
        std::mem::replace(&mut self.old, self.open) && self.open
    }

    /// The length of mask and payload, if the header is complete.
    fn length(&self) -> Option<u64> {
        let header = &self.header[..usize::from(self.have)];
        let (&length, extended) = header.get(1..)?.split_first()?;
        let payload = match length & 0x7f {
            126 => u64::from(u16::from_be_bytes(*extended.first_chunk()?)),
            127 => u64::from_be_bytes(*extended.first_chunk()?),
            length => u64::from(length),
        };
        let mask = if length & 0x80 == 0 { 0 } else { 4 };
        Some(payload.saturating_add(mask))
    }

    fn frame(&mut self, length: u64) {
        let first = self.header[0];
        (self.skip, self.have) = (length, 0);
        if first & FINAL == 0 {
            self.count = self.count.saturating_add(1);
        }
        if first & CONTROL == 0 {
            self.open = first & FINAL == 0;
            self.old &= self.open;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame with a payload of zeros.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(0x80 | length as u8),
            126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + 4 + length, 0);
        frame
    }

    #[test]
    fn fragments_are_counted_however_the_stream_is_cut() {
        let (text, more, last, ping) = (0x01, 0x00, 0x80, 0x89);
        let stream = [
            frame(0x81, 5),
            frame(text, 70_000),
            frame(more, 0),
            frame(ping, 3),
            frame(more, 200),
            frame(last, 1),
            frame(0x81, 0),
        ]
        .concat();
        for piece in [1, 2, 3, 11, 1_000, stream.len()] {
            let mut fragments = Fragments::default();
            for piece in stream.chunks(piece) {
                fragments.read(piece);
            }
            assert_eq!((fragments.take(), fragments.take()), (3, 0), "pieces of {piece}");
            assert!(!fragments.open);
        }
    }

    #[test]
    fn a_message_is_old_when_it_was_open_at_the_tick_before() {
        let mut fragments = Fragments::default();
        fragments.read(&frame(0x01, 1));
        assert!(!fragments.tick());
        fragments.read(&[frame(0x8a, 0), frame(0x00, 0)].concat());
        assert!(fragments.tick(), "pongs and fragments do not renew it");
        fragments.read(&frame(0x80, 0));
        assert!(!fragments.tick(), "it is complete");
        fragments.read(&frame(0x01, 1));
        assert!(!fragments.tick());
        fragments.read(&[frame(0x80, 1), frame(0x01, 1)].concat());
        assert!(!fragments.tick(), "this one is another");
        assert!(fragments.tick());
    }
}
