//! A look at fjall's journals with eyes of our own. fjall takes the first byte that makes no sense for
//! the end of a journal and cuts the rest off: after a crash that is right, after bit rot it silently
//! loses what follows. The two differ in that whole batches stand behind the damage.
//!
//! A journal is a row of batches: start (tag 1, item count 4, sequence number 8), items (tag 2, type
//! 1, compression 1, keyspace 8, lengths of key 2, value 4 and stored value 4, key, stored value) or
//! clears (tag 4, keyspace 8), end (tag 3, checksum 8, trailer). Behind them are zeroes. That of
//! fjall 3; a test writes one with it. Checksums are fjall's business: it refuses to open where one
//! is wrong.

/// What ends every batch.
const TRAILER: &[u8; 4] = b"FJL\x03";

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Behind the last batch there is nothing.
    Clean,
    /// Behind it is the beginning of another, as a crash leaves it: nobody was answered.
    Torn {
        /// Where it begins.
        at: usize,
    },
    /// Behind something that makes no sense there are whole batches, which fjall would not read.
    Broken {
        /// Where the first batch begins that is not read.
        at: usize,
    },
}

/// Looks at the bytes of a journal.
pub(super) fn look(journal: &[u8]) -> End {
    let (mut at, mut whole) = (0, 0);
    while let Some((next, ends)) = entry(journal, at) {
        at = next;
        if ends {
            whole = next;
        }
    }
    let rest = &journal[whole..];
    if rest.iter().all(|&byte| byte == 0) {
        return End::Clean;
    }
    // The end of a batch: its tag, eight bytes of checksum, the trailer.
    let is_end = |bytes: &[u8]| bytes[0] == 3 && bytes.ends_with(TRAILER);
    // A batch whose very end was damaged has its trailer, or its tag, and a start behind it.
    let goes_on = rest.windows(13).any(is_end) || rest.windows(4).any(|bytes| bytes == TRAILER);
    if goes_on { End::Broken { at: whole } } else { End::Torn { at: whole } }
}

/// Where the entry at `at` ends, and whether it ends a batch; nothing if it makes no sense.
fn entry(journal: &[u8], at: usize) -> Option<(usize, bool)> {
    let bytes = journal.get(at..)?;
    let number = |from: usize, length: usize| {
        let bytes = bytes.get(from..from + length)?;
        Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    };
    let (length, ends) = match bytes.first()? {
        1 => (13, false),
        2 => (21 + number(11, 2)? + number(17, 4)?, false),
        3 => {
            if bytes.get(9..13)? != TRAILER {
                return None;
            }
            (13, true)
        }
        4 => (9, false),
        _ => return None,
    };
    (length <= bytes.len()).then_some((at + length, ends))
}
