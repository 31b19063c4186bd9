//! The values under which history is stored: ids, buckets and write timestamps, and back.

use pabal_core::model::{ChannelId, Message, MessageId, Partition};
use pabal_core::ports::HistoryError;

use crate::codec;

/// The bucket of an id: a window of 2^28 ms. The milliseconds of an id are above its low 22 bits.
pub(super) fn bucket(message_id: MessageId) -> i32 {
    // At most 13 bits remain.
    (message_id.get() >> (22 + 28)) as i32
}

/// The time of an id in microseconds, used as its write timestamp. A later id has a later or equal
/// time; of two values with equal timestamps Cassandra keeps the greater.
pub(super) fn write_time(message_id: MessageId) -> i64 {
    let within_ms = ((message_id.get() & 0xfff) * 1_000) >> 12;
    stored(message_id.created_at().as_micros() + within_ms)
}

/// All numbers of the model are below 2^63.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn stored_id(message_id: MessageId) -> i64 {
    stored(message_id.get())
}

pub(super) fn stored_channel(channel_id: ChannelId) -> i64 {
    stored(channel_id.get())
}

pub(super) fn stored_partition(partition: Partition) -> i16 {
    // A partition number is below 1,024.
    i16::try_from(partition.get()).unwrap_or(i16::MAX)
}

pub(super) fn above(message_id: MessageId) -> i64 {
    stored_id(message_id).saturating_add(1)
}

pub(super) fn below(message_id: MessageId) -> i64 {
    stored_id(message_id) - 1
}

pub(super) fn message_id(raw: i64) -> Result<MessageId, HistoryError> {
    let id = u64::try_from(raw).map(MessageId::new);
    id.map_err(|_| HistoryError::Damaged(format!("the message id {raw} is negative")))
}

pub(super) fn decode(
    channel_id: ChannelId,
    message_id: MessageId,
    body: &[u8],
) -> Result<Message, HistoryError> {
    codec::decode_message(channel_id, message_id, body)
        .map_err(|error| damaged(channel_id, stored_id(message_id), &error))
}

pub(super) fn damaged(
    channel_id: ChannelId,
    message_id: i64,
    error: &codec::DecodeError,
) -> HistoryError {
    HistoryError::Damaged(format!("message {message_id} of channel {channel_id}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_times_rise_with_ids() {
        let mut id = MessageId::new((1 << 40) | 0xff0);
        for _ in 0..10_000 {
            let next = id.successor();
            assert!(write_time(next) >= write_time(id), "{id}");
            id = next;
        }
        assert_eq!(write_time(MessageId::new(5 << 22)) % 1_000, 0);
    }

    #[test]
    fn buckets_are_windows_of_the_ids_time() {
        let first = MessageId::new(1 << 50);
        assert_eq!((bucket(MessageId::new(first.get() - 1)), bucket(first)), (0, 1));
        assert_eq!(bucket(MessageId::new(i64::MAX as u64)), (1 << 13) - 1);
    }
}
