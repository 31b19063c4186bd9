//! The format of an entry in a partition's log: its id and its bytes. An entry holds the messages
//! that were appended together. Its id is that of its last message: milliseconds since 1970 and the
//! sequence number within the partition. The messages before it have the directly preceding ids. A
//! read after an id in the middle of an entry therefore returns that entry.
//!
//! Field `m`: version 1 (= 2), then for each message its length 4 and its value: 0, or 1 and the
//! send key 16 as in [`codec`](crate::codec); length of the node's name 1, the name;
//! accepted_at 8 (µs since 1970); channel_id 8; the message as in [`codec`](crate::codec). All
//! numbers are big-endian. Version 1 holds one message without its length. The Lua scripts read
//! only lengths and send keys.

use std::ops::Range;

use pabal_core::model::{ChannelId, Message, MessageId, Partition, Timestamp};
use pabal_core::ports::{LogEntry, LogError, Origin, Trace};

use super::append_batcher::MAX_BATCH;
use super::stream::Entry;
use crate::codec::{DecodeError, decode_message, encode_message, sent_key};

const VERSION: u8 = 2;
/// The version of an entry that holds one message.
const VERSION_OF_ONE: u8 = 1;
const SEND_KEY_BYTES: usize = 16;
/// The offset of the flag for a send key, after the length, and the range of the key itself.
const HAS_SEND_KEY: usize = 4;
const SEND_KEY: Range<usize> = 5..5 + SEND_KEY_BYTES;

/// The milliseconds since 1970 and the sequence number of an id.
pub(super) fn parts(id: MessageId) -> (u64, u64) {
    (id.created_at().as_millis(), id.get() & 0xfff)
}

/// The id in `partition` with these parts.
pub(super) fn message_id(partition: Partition, (ms, sequence): (u64, u64)) -> Option<MessageId> {
    let first = MessageId::first_at(Timestamp::from_millis(ms), partition);
    (sequence <= 0xfff).then(|| MessageId::new(first.get() | sequence))
}

/// The last stream position of `partition` that is not above `id`. `id` may belong to another
/// partition.
pub(super) fn stream_position(partition: Partition, id: MessageId) -> String {
    let (ms, sequence) = parts(id);
    match id.partition().cmp(&partition) {
        std::cmp::Ordering::Equal => format!("{ms}-{sequence}"),
        std::cmp::Ordering::Greater => format!("{ms}-{}", 0xfff),
        std::cmp::Ordering::Less => format!("{}-{}", ms - 1, 0xfff),
    }
}

/// The id that is `count` ids before `id` in its partition; `None` before the start of time.
fn before(id: (u64, u64), count: u64) -> Option<(u64, u64)> {
    let (ms, sequence) = id;
    if count <= sequence {
        return Some((ms, sequence - count));
    }
    // Each earlier millisecond provides 4,096 ids.
    let missing = count - sequence;
    let steps_ms = missing.div_ceil(0x1000);
    Some((ms.checked_sub(steps_ms)?, steps_ms * 0x1000 - missing))
}

/// A message as it is encoded in an entry, with its length.
pub(super) fn encode(message: &Message, origin: &Origin) -> Vec<u8> {
    let node = origin.node.as_str();
    let mut value = Vec::with_capacity(96 + node.len() + message.content.len());
    let key = message.send_key().map(|key| sent_key(&key));
    value.extend([0; 4]);
    value.push(u8::from(key.is_some()));
    value.extend(key.into_iter().flatten());
    // A node name is at most 32 bytes long.
    value.push(node.len() as u8);
    value.extend(node.as_bytes());
    value.extend(origin.accepted_at.as_micros().to_be_bytes());
    value.extend(message.channel_id.get().to_be_bytes());
    encode_message(message, &mut value);
    // A message is far shorter than 4 GiB.
    let length = (value.len() - 4) as u32;
    value[..4].copy_from_slice(&length.to_be_bytes());
    value
}

/// The send key of a message that [`encode`] produced.
pub(super) fn send_key(value: &[u8]) -> Option<&[u8]> {
    value.get(SEND_KEY).filter(|_| value[HAS_SEND_KEY] == 1)
}

/// The entry that holds these messages.
pub(super) fn join<'a>(values: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let mut entry = Vec::with_capacity(1 + values.clone().map(<[u8]>::len).sum::<usize>());
    entry.push(VERSION);
    values.for_each(|value| entry.extend_from_slice(value));
    entry
}

/// Up to `limit` messages above `after` from entries of `partition`'s log, and the total number of
/// messages in those entries.
pub(super) fn messages(
    partition: Partition,
    after: MessageId,
    limit: usize,
    entries: Vec<Entry>,
) -> Result<(Vec<LogEntry>, usize), LogError> {
    let (mut messages, mut held) = (Vec::new(), 0);
    for mut entry in entries {
        let (ms, sequence) = entry.id;
        let unreadable = |error: DecodeError| {
            let what = format!("entry {ms}-{sequence} of the log");
            LogError::Unavailable(format!("{what} cannot be read: {error}"))
        };
        let value = entry.take("m").ok_or_else(|| unreadable(DecodeError::Truncated))?;
        let values = split(&value).map_err(unreadable)?;
        held += values.len();
        for (later, value) in (0..values.len() as u64).rev().zip(values) {
            let id = before(entry.id, later).and_then(|id| message_id(partition, id));
            let id = id.ok_or_else(|| unreadable(DecodeError::Text))?;
            if id > after && messages.len() < limit {
                messages.push(decode(id, value).map_err(unreadable)?);
            }
        }
    }
    Ok((messages, held))
}

/// The messages of an entry.
fn split(value: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    let (version, mut rest) = value.split_first().ok_or(DecodeError::Truncated)?;
    match *version {
        VERSION_OF_ONE => return Ok(vec![rest]),
        VERSION => {}
        version => return Err(DecodeError::Version(version)),
    }
    let mut values = Vec::with_capacity(MAX_BATCH);
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        let length = u32::from_be_bytes(*length) as usize;
        let value;
        (value, rest) = after.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        values.push(value);
    }
    Ok(values)
}

fn decode(message_id: MessageId, value: &[u8]) -> Result<LogEntry, DecodeError> {
    let rest = match value.split_first().ok_or(DecodeError::Truncated)? {
        (0, rest) => rest,
        (1, rest) => rest.get(SEND_KEY_BYTES..).ok_or(DecodeError::Truncated)?,
        (flag, _) => return Err(DecodeError::Flags(*flag)),
    };
    let (length, rest) = rest.split_first().ok_or(DecodeError::Truncated)?;
    let (node, rest) = rest.split_at_checked(usize::from(*length)).ok_or(DecodeError::Truncated)?;
    let node = std::str::from_utf8(node).map_err(|_| DecodeError::Text)?;
    let node = node.parse().map_err(|_| DecodeError::Text)?;
    let (accepted_at, rest) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
    let accepted_at = Timestamp::from_micros(u64::from_be_bytes(*accepted_at));
    let (channel_id, rest) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
    let channel_id = ChannelId::new(u64::from_be_bytes(*channel_id));
    let message = decode_message(channel_id, message_id, rest)?;
    Ok(LogEntry { message, origin: Origin { node, accepted_at, trace: Trace::default() } })
}

#[cfg(test)]
mod tests {
    use pabal_core::model::{MAX_PARTITIONS, UserId};
    use proptest::prelude::*;

    use super::super::stream;
    use super::*;

    fn entry() -> LogEntry {
        let message = Message {
            message_id: MessageId::new(0x0102_0304_0506_0708),
            channel_id: ChannelId::new(2),
            message_from: UserId::new(1),
            message_to: None,
            content: "hi".into(),
            client_message_id: Some("c".into()),
        };
        let node = "a-1".parse().expect("a name");
        let accepted_at = Timestamp::from_micros(5);
        LogEntry { message, origin: Origin { node, accepted_at, trace: Trace::default() } }
    }

    const ENTRY: &str = "00000036\
                         01f7a3b136a9ed262efae239bad4d44c2c03612d31\
                         0000000000000005\
                         0000000000000002\
                         01020000000000000001\
                         00000001636869";

    /// A later version of the program reads entries that are already in the log.
    #[test]
    fn bytes_in_the_log_stay_the_same() {
        let LogEntry { message, origin } = entry();
        let value = encode(&message, &origin);
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, ENTRY);
    }

    #[test]
    fn an_entry_of_version_1_is_read() {
        let LogEntry { message, origin } = entry();
        let value = [&[VERSION_OF_ONE], &encode(&message, &origin)[4..]].concat();
        let values = split(&value).expect("is read");
        assert_eq!(values.len(), 1);
        assert_eq!(decode(message.message_id, values[0]), Ok(entry()));
    }

    proptest! {
        #[test]
        fn a_stream_position_is_the_highest_one_not_above_the_id(raw in 1u64 << 30..1 << 62, p in 0..MAX_PARTITIONS) {
            let (id, partition) = (MessageId::new(raw), Partition::new(p).expect("in range"));
            let position = stream_position(partition, id);
            let position = stream::parse_id(position.as_bytes()).expect("an id");
            let last = message_id(partition, position).expect("an id");
            prop_assert!(last <= id);
            prop_assert!(last.successor() > id);
        }

        /// The ids within an entry are consecutive, as `append` returned them.
        #[test]
        fn ids_within_an_entry_are_consecutive(raw in 1u64 << 30..1 << 62, count in 0u64..10_000) {
            let id = MessageId::new(raw);
            let mut reached = before(parts(id), count).and_then(|id_before| {
                message_id(id.partition(), id_before)
            }).expect("an id");
            for _ in 0..count {
                reached = reached.successor();
            }
            prop_assert_eq!(reached, id);
        }

        /// A read returns all messages after a position, up to the limit, however they are grouped
        /// into entries.
        #[test]
        fn messages_after_a_position_are_read(
            sizes in prop::collection::vec(1u64..6, 1..5),
            sequence in 0u64..0x1000,
            after in 0u64..30,
            limit in 1usize..30,
        ) {
            let p = Partition::new(3).expect("a partition");
            let LogEntry { message, origin } = entry();
            let start = message_id(p, (1_800_000_000_000, sequence)).expect("an id");
            let id = |number| (0..number).fold(start, |id: MessageId, _| id.successor());
            let (mut entries, mut all) = (Vec::new(), 0);
            for size in sizes {
                let value = join(vec![&encode(&message, &origin)[..]; size as usize].into_iter());
                all += size;
                // Numbers start at 1.
                entries.push(Entry::new(parts(id(all)), "m", value));
            }
            let (read, held) = messages(p, id(after), limit, entries).expect("is read");
            prop_assert_eq!(held as u64, all);
            let read: Vec<_> = read.into_iter().map(|entry| entry.message.message_id).collect();
            let expected: Vec<_> = (after + 1..=all).map(id).take(limit).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn no_bytes_panic(mut value: Vec<u8>, version in 0..3u8) {
            if let (1.., Some(first)) = (version, value.first_mut()) {
                *first = version;
            }
            for value in split(&value).into_iter().flatten() {
                let _ = decode(MessageId::new(1), value);
            }
            let _ = decode(MessageId::new(1), &value);
        }

        #[test]
        fn a_cut_entry_is_an_error(cut in 1usize..117) {
            let LogEntry { message, origin } = entry();
            let one = encode(&message, &origin);
            let value = join([&one[..], &one].into_iter());
            prop_assert_eq!(split(&value), Ok(vec![&one[4..]; 2]));
            // The remaining bytes may be a valid entry of fewer messages.
            let remaining = split(&value[..cut]).map(|values| values.len());
            let whole = (cut - 1) / one.len();
            let expected =
                if (cut - 1) % one.len() == 0 { Ok(whole) } else { Err(DecodeError::Truncated) };
            prop_assert_eq!(remaining, expected);
            // Only the length determines the size of the content.
            let cut = cut % 52;
            prop_assert!(decode(message.message_id, &one[4..4 + cut]).is_err());
            prop_assert_eq!(decode(message.message_id, &one[4..]), Ok(entry()));
        }
    }
}
