//! The binary encoding of notifications. Owns the bytes; existing ones stay readable.
//!
//! Keyspace `push`: key position 8; value version 1 (= 1), user_id 8, queued_at 8 (µs since 1970),
//! channel_id 8, message_id 8, then the message as in [`codec`](super). Key 0, below
//! every position, holds the last position given, 8. All numbers are big-endian.

use pabal_core::model::{ChannelId, MessageId, Timestamp, UserId};
use pabal_core::ports::Notification;

use super::{DecodeError, decode_message, encode_message};

const VERSION: u8 = 1;

/// The key of the last position given.
pub(crate) const LAST_GIVEN: [u8; 8] = [0; 8];

pub(crate) fn encode(notification: &Notification) -> Vec<u8> {
    let message = &notification.message;
    let mut value = vec![VERSION];
    value.extend(notification.user_id.get().to_be_bytes());
    value.extend(notification.queued_at.as_micros().to_be_bytes());
    value.extend(message.channel_id.get().to_be_bytes());
    value.extend(message.message_id.get().to_be_bytes());
    encode_message(message, &mut value);
    value
}

pub(crate) fn decode(value: &[u8]) -> Result<Notification, DecodeError> {
    let (version, mut rest) = value.split_first().ok_or(DecodeError::Truncated)?;
    if *version != VERSION {
        return Err(DecodeError::Version(*version));
    }
    let mut number = || {
        let (number, after) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        rest = after;
        Ok(u64::from_be_bytes(*number))
    };
    let user_id = UserId::new(number()?);
    let queued_at = Timestamp::from_micros(number()?);
    let channel_id = ChannelId::new(number()?);
    let message_id = MessageId::new(number()?);
    let message = decode_message(channel_id, message_id, rest)?;
    Ok(Notification { user_id, message, queued_at })
}

/// A position, as key or as value.
pub(crate) fn decode_position(bytes: &[u8]) -> Result<u64, DecodeError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| DecodeError::Length(bytes.len()))
}

#[cfg(test)]
mod tests {
    use pabal_core::model::Message;

    use super::*;

    fn notification() -> Notification {
        Notification {
            user_id: UserId::new(0x0a0b),
            message: Message {
                message_id: MessageId::new(3),
                channel_id: ChannelId::new(2),
                message_from: UserId::new(1),
                message_to: Some(UserId::new(0x0a0b)),
                content: "hi".into(),
                client_message_id: None,
            },
            queued_at: Timestamp::from_micros(0x0102_0304),
        }
    }

    /// Existing data folders hold these bytes; a change of this test requires a new version.
    #[test]
    fn bytes_on_disk_stay_the_same() {
        let hex: String =
            encode(&notification()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "01\
             0000000000000a0b\
             0000000001020304\
             0000000000000002\
             0000000000000003\
             0101\
             0000000000000001\
             0000000000000a0b\
             6869"
        );
    }

    #[test]
    fn invalid_bytes_are_refused() {
        let value = encode(&notification());
        assert_eq!(decode(&value), Ok(notification()));
        for end in 0..value.len() - 2 {
            assert_eq!(decode(&value[..end]), Err(DecodeError::Truncated), "{end}");
        }
        assert_eq!(decode(&[7]), Err(DecodeError::Version(7)));
        assert_eq!(decode_position(&[1]), Err(DecodeError::Length(1)));
    }
}
