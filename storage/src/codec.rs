//! The binary encoding of messages, positions and send keys. Owns the bytes; existing ones stay
//! readable.
//!
//! All numbers are big-endian, so that keys sort like their numbers.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `messages` | channel_id 8, message_id 8 | a message, below |
//! | `positions` | partition 2 | message_id 8 |
//! | `sent` | first 16 of SHA-256 (message_from 8, channel_id 8, client_message_id) | message_id 8 |
//!
//! A message: version 1 (= 1), flags 1, message_from 8, then message_to 8 if flag 1, then
//! client_message_id (length 4, UTF-8) if flag 2, then the content as UTF-8 up to the end.

pub(crate) mod notification;
#[cfg(test)]
mod fuzz;

use std::sync::Arc;

use pabal_core::model::{ChannelId, Message, MessageId, Partition, SendKey, UserId};
use sha2::{Digest, Sha256};

const VERSION: u8 = 1;
const HAS_MESSAGE_TO: u8 = 1;
const HAS_CLIENT_MESSAGE_ID: u8 = 2;

pub(crate) type MessageKey = [u8; 16];
pub(crate) type SentKey = [u8; 16];

/// A stored value cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// A newer program wrote it, or it is not a value of this kind.
    #[error("its version is {0}, expected {VERSION}")]
    Version(u8),
    /// It has parts that this program does not know.
    #[error("its flags are {0:#04x}")]
    Flags(u8),
    /// It is incomplete.
    #[error("it ends too early")]
    Truncated,
    /// A text is not UTF-8.
    #[error("its text is not UTF-8")]
    Text,
    /// Its length is not that of its kind.
    #[error("it is {0} bytes long")]
    Length(usize),
}

pub(crate) fn message_key(channel_id: ChannelId, message_id: MessageId) -> MessageKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&channel_id.get().to_be_bytes());
    key[8..].copy_from_slice(&message_id.get().to_be_bytes());
    key
}

/// The message id in a message key.
pub(crate) fn id_in_key(key: &[u8]) -> Result<MessageId, DecodeError> {
    let id = key.get(8..).ok_or(DecodeError::Length(key.len()))?;
    decode_id(id)
}

pub(crate) fn position_key(partition: Partition) -> [u8; 2] {
    partition.get().to_be_bytes()
}

pub(crate) fn decode_position_key(key: &[u8]) -> Result<Partition, DecodeError> {
    let number = key.try_into().map(u16::from_be_bytes);
    number.ok().and_then(Partition::new).ok_or(DecodeError::Length(key.len()))
}

/// A key of fixed size for any client_message_id. It is a hash, so a client cannot cause a
/// collision with another user's send, and 128 bits rule out accidental ones.
pub(crate) fn sent_key(key: &SendKey) -> SentKey {
    let hash = Sha256::new()
        .chain_update(key.message_from.get().to_be_bytes())
        .chain_update(key.channel_id.get().to_be_bytes())
        .chain_update(key.client_message_id.as_bytes())
        .finalize();
    let mut sent_key = [0; 16];
    sent_key.copy_from_slice(&hash[..16]);
    sent_key
}

pub(crate) fn encode_id(message_id: MessageId) -> [u8; 8] {
    message_id.get().to_be_bytes()
}

pub(crate) fn decode_id(value: &[u8]) -> Result<MessageId, DecodeError> {
    let raw = value.try_into().map_err(|_| DecodeError::Length(value.len()))?;
    Ok(MessageId::new(u64::from_be_bytes(raw)))
}

/// Encodes everything of a message that its key does not contain.
pub(crate) fn encode_message(message: &Message, value: &mut Vec<u8>) {
    let client_message_id = message.client_message_id.as_deref();
    let mut flags = 0;
    if message.message_to.is_some() {
        flags |= HAS_MESSAGE_TO;
    }
    if client_message_id.is_some() {
        flags |= HAS_CLIENT_MESSAGE_ID;
    }
    value.reserve(22 + client_message_id.map_or(0, str::len) + message.content.len());
    value.extend([VERSION, flags]);
    value.extend(message.message_from.get().to_be_bytes());
    if let Some(message_to) = message.message_to {
        value.extend(message_to.get().to_be_bytes());
    }
    if let Some(name) = client_message_id {
        // A frame is at most 256 KiB, so the length fits.
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
        value.extend(length.to_be_bytes());
        value.extend(&name.as_bytes()[..length as usize]);
    }
    value.extend(message.content.as_bytes());
}

/// Decodes the message with this key and value.
pub(crate) fn decode_message(
    channel_id: ChannelId,
    message_id: MessageId,
    value: &[u8],
) -> Result<Message, DecodeError> {
    let (flags, mut rest) = header(value)?;
    let message_from = UserId::new(number(&mut rest)?);
    let message_to = match flags & HAS_MESSAGE_TO {
        0 => None,
        _ => Some(UserId::new(number(&mut rest)?)),
    };
    let client_message_id = match flags & HAS_CLIENT_MESSAGE_ID {
        0 => None,
        _ => {
            let length = u32::from_be_bytes(take(&mut rest)?);
            let (name, after) =
                rest.split_at_checked(length as usize).ok_or(DecodeError::Truncated)?;
            rest = after;
            Some(text(name)?)
        }
    };
    let content = text(rest)?;
    Ok(Message { message_id, channel_id, message_from, message_to, content, client_message_id })
}

/// Decodes only the sender of a message.
pub(crate) fn decode_message_from(value: &[u8]) -> Result<UserId, DecodeError> {
    let (_, mut rest) = header(value)?;
    Ok(UserId::new(number(&mut rest)?))
}

fn header(value: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    match *value {
        [VERSION, flags, ref rest @ ..] => {
            if flags & !(HAS_MESSAGE_TO | HAS_CLIENT_MESSAGE_ID) != 0 {
                return Err(DecodeError::Flags(flags));
            }
            Ok((flags, rest))
        }
        [] | [VERSION] => Err(DecodeError::Truncated),
        [version, ..] => Err(DecodeError::Version(version)),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (taken, after) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
    *rest = after;
    Ok(*taken)
}

fn number(rest: &mut &[u8]) -> Result<u64, DecodeError> {
    Ok(u64::from_be_bytes(take(rest)?))
}

fn text(bytes: &[u8]) -> Result<Arc<str>, DecodeError> {
    std::str::from_utf8(bytes).map(Arc::from).map_err(|_| DecodeError::Text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fuzz::any_message;
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn encoded(message: &Message) -> Vec<u8> {
        let mut value = Vec::new();
        encode_message(message, &mut value);
        value
    }

    fn plain() -> Message {
        Message {
            message_id: MessageId::new(0x0102_0304_0506_0708),
            channel_id: ChannelId::new(0x1112_1314_1516_1718),
            message_from: UserId::new(0x2122_2324_2526_2728),
            message_to: None,
            content: "파발".into(),
            client_message_id: None,
        }
    }

    /// Existing data folders hold these bytes; a change of this test requires a new version.
    #[test]
    fn bytes_on_disk_stay_the_same() {
        let full = Message {
            message_to: Some(UserId::new(0x31)),
            client_message_id: Some("c-1".into()),
            ..plain()
        };
        let key = message_key(full.channel_id, full.message_id);
        assert_eq!(hex(&key), "11121314151617180102030405060708");
        assert_eq!(hex(&encoded(&plain())), "01002122232425262728ed8c8cebb09c");
        assert_eq!(
            hex(&encoded(&full)),
            "010321222324252627280000000000000031\
             00000003632d31ed8c8cebb09c"
        );
        let partition = Partition::new(1_023).expect("in range");
        assert_eq!(hex(&position_key(partition)), "03ff");
        assert_eq!(hex(&encode_id(full.message_id)), "0102030405060708");
        let send_key = full.send_key().expect("named");
        assert_eq!(hex(&sent_key(&send_key)), "0b59b55c964889f61aae45b6d73f4788");
    }

    #[test]
    fn keys_are_decoded() {
        let key = message_key(ChannelId::new(5), MessageId::new(6));
        assert_eq!(id_in_key(&key), Ok(MessageId::new(6)));
        let partition = Partition::new(513).expect("in range");
        assert_eq!(decode_position_key(&position_key(partition)), Ok(partition));
    }

    #[test]
    fn invalid_bytes_are_refused() {
        let decode = |value: &[u8]| decode_message(ChannelId::new(1), MessageId::new(1), value);
        assert_eq!(decode(&[]), Err(DecodeError::Truncated));
        assert_eq!(decode(&[2, 0]), Err(DecodeError::Version(2)));
        assert_eq!(decode(&[1, 4]), Err(DecodeError::Flags(4)));
        assert_eq!(decode(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]), Err(DecodeError::Text));
        assert_eq!(decode_id(&[1, 2, 3]), Err(DecodeError::Length(3)));
        assert_eq!(id_in_key(&[1, 2, 3]), Err(DecodeError::Length(3)));
        assert_eq!(decode_position_key(&[0xff, 0xff]), Err(DecodeError::Length(2)));
    }

    proptest! {
        #[test]
        fn messages_are_decoded_unchanged(message in any_message()) {
            let value = encoded(&message);
            let back = decode_message(message.channel_id, message.message_id, &value);
            prop_assert_eq!(back, Ok(message.clone()));
            prop_assert_eq!(decode_message_from(&value), Ok(message.message_from));
        }

        #[test]
        fn keys_sort_by_channel_then_id(a: (u64, u64), b: (u64, u64)) {
            let key = |(channel, id)| message_key(ChannelId::new(channel), MessageId::new(id));
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        }

        #[test]
        fn a_truncated_header_is_an_error(message in any_message(), cut: prop::sample::Index) {
            let value = encoded(&message);
            let header = value.len() - message.content.len();
            let cut = &value[..cut.index(header)];
            let decoded = decode_message(message.channel_id, message.message_id, cut);
            prop_assert_eq!(decoded, Err(DecodeError::Truncated));
        }
    }
}
