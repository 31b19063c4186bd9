//! Checks fjall's journals independently of fjall. fjall treats the first invalid byte as the end
//! of a journal and truncates the rest. After a crash that is correct; after bit rot it silently
//! loses valid batches. In the second case whole batches follow the invalid byte.
//! A journal is a row of batches: start (tag 1, item count 4, sequence number 8), items (tag 2, type
//! A journal is a sequence of batches: start (tag 1, item count 4, sequence number 8), items (tag
//! 2, type 1, compression 1, keyspace 8, lengths of key 2, value 4 and stored value 4, key, stored
//! value) or clears (tag 4, keyspace 8), end (tag 3, checksum 8, trailer), then zeros. This is the
//! format of fjall 3; a test writes a journal with fjall. Checksums are not checked here: fjall
//! refuses to open a journal with a wrong checksum.

/// The last bytes of every batch.
const TRAILER: &[u8; 4] = b"FJL\x03";

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JournalEnd {
    /// Nothing follows the last batch.
    Clean,
    /// The last batch is incomplete, as after a crash. Its requests were not acknowledged.
    Torn {
        /// The offset at which the incomplete batch begins.
        at: usize,
    },
    /// Whole batches follow an invalid part; fjall would not read them.
    Broken {
        /// The offset of the first batch that is not read.
        at: usize,
    },
}

/// Inspects the bytes of a journal.
pub(super) fn inspect(journal: &[u8]) -> JournalEnd {
    let (mut at, mut whole) = (0, 0);
    while let Some((next, ends_batch)) = entry(journal, at) {
        debug_assert!(next > at, "an entry has at least one byte");
        at = next;
        if ends_batch {
            whole = next;
        }
    }
    let rest = &journal[whole..];
    if rest.iter().all(|&byte| byte == 0) {
        return JournalEnd::Clean;
    }
    // The end of a batch: its tag, eight bytes of checksum, the trailer.
    let is_end = |bytes: &[u8]| bytes[0] == 3 && bytes.ends_with(TRAILER);
    // A batch with a damaged end still has its trailer or its tag, and a start follows it.
    let batches_follow =
        rest.windows(13).any(is_end) || rest.windows(4).any(|bytes| bytes == TRAILER);
    if batches_follow { JournalEnd::Broken { at: whole } } else { JournalEnd::Torn { at: whole } }
}

/// The offset after the entry at `at`, and whether the entry ends a batch; `None` if the entry is
/// invalid.
fn entry(journal: &[u8], at: usize) -> Option<(usize, bool)> {
    let bytes = journal.get(at..)?;
    let number = |from: usize, length: usize| {
        let bytes = bytes.get(from..from + length)?;
        Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    };
    let (length, ends_batch) = match bytes.first()? {
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
    (length <= bytes.len()).then_some((at + length, ends_batch))
}
