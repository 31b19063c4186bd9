//! Fuzz targets of stored messages, positions, keys and notifications, valid and mutated.

use pabal_contract::fuzz::{mutated, run_for_budget};
use pabal_core::model::{ChannelId, Message, MessageId, Timestamp, UserId};
use pabal_core::ports::Notification;
use proptest::prelude::*;

use super::*;

/// Versions, flags, lengths and text, for insertion at any offset.
const TOKENS: &[&[u8]] = &[
    b"\x00",
    b"\x01",
    b"\x02",
    b"\x03",
    b"\x04",
    b"\xff",
    b"\x01\x03",
    b"\x00\x00\x00\x00",
    b"\x00\x00\x00\x01",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    "파발".as_bytes(),
    b"\xed\xa0\x80",
    b"\xc0\xaf",
];

prop_compose! {
    pub(super) fn any_message()(
        ids in any::<(u64, u64, u64)>(),
        message_to in any::<Option<u64>>(),
        content in any::<String>(),
        client_message_id in any::<Option<String>>(),
    ) -> Message {
        Message {
            message_id: MessageId::new(ids.0),
            channel_id: ChannelId::new(ids.1),
            message_from: UserId::new(ids.2),
            message_to: message_to.map(UserId::new),
            content: content.into(),
            client_message_id: client_message_id.map(Into::into),
        }
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut value = Vec::new();
    encode_message(message, &mut value);
    value
}

/// The expected error of a value, derived from the table in [`codec`](super).
fn wrong(value: &[u8]) -> Option<DecodeError> {
    match *value {
        [version, ..] if version != 1 => return Some(DecodeError::Version(version)),
        [_, flags, ..] if flags > 3 => return Some(DecodeError::Flags(flags)),
        [] | [_] => return Some(DecodeError::Truncated),
        _ => {}
    }
    let mut texts = 10 + if value[1] & 1 == 0 { 0 } else { 8 };
    let mut name = 0..0;
    if value[1] & 2 != 0 {
        let Some(length) = value.get(texts..texts + 4) else {
            return Some(DecodeError::Truncated);
        };
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        name = texts + 4..texts + 4 + length;
        texts = name.end;
    }
    if value.len() < texts {
        return Some(DecodeError::Truncated);
    }
    let is_text = |bytes| std::str::from_utf8(bytes).is_ok();
    (!is_text(&value[name]) || !is_text(&value[texts..])).then_some(DecodeError::Text)
}

#[test]
fn stored_messages() {
    let value = any_message().prop_map(|message| encoded(&message));
    run_for_budget(file!(), mutated(value, TOKENS), |value| {
        let (channel_id, message_id) = (ChannelId::new(7), MessageId::new(9));
        match decode_message(channel_id, message_id, &value) {
            Ok(message) => {
                prop_assert_eq!(wrong(&value), None);
                prop_assert_eq!(decode_message_from(&value), Ok(message.message_from));
                // A message has exactly one encoding, so the whole value was decoded, and no
                // claimed length was trusted beyond the bytes present.
                prop_assert!(encoded(&message) == value);
            }
            Err(error) => prop_assert_eq!(Some(error), wrong(&value)),
        }
        Ok(())
    });
}

#[test]
fn stored_keys() {
    let key = any::<(u64, u64)>().prop_map(|(channel, id)| {
        message_key(ChannelId::new(channel), MessageId::new(id)).to_vec()
    });
    run_for_budget(file!(), mutated(key, TOKENS), |key| {
        let number =
            |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        match decode_id(&key) {
            Ok(id) => prop_assert!(encode_id(id)[..] == key),
            Err(error) => prop_assert_eq!(error, DecodeError::Length(key.len())),
        }
        match id_in_key(&key) {
            Ok(id) => prop_assert!(key.len() == 16 && id.get() == number(&key[8..])),
            Err(_) => prop_assert_ne!(key.len(), 16),
        }
        match decode_position_key(&key) {
            Ok(partition) => prop_assert!(position_key(partition)[..] == key),
            Err(_) => prop_assert!(key.len() != 2 || number(&key) >= 1_024),
        }
        Ok(())
    });
}

#[test]
fn stored_notifications() {
    let value = (any_message(), any::<(u64, u64)>()).prop_map(|(message, (user_id, queued_at))| {
        let (user_id, queued_at) = (UserId::new(user_id), Timestamp::from_micros(queued_at));
        notification::encode(&Notification { user_id, message, queued_at })
    });
    run_for_budget(file!(), mutated(value, TOKENS), |value| {
        match notification::decode(&value) {
            Ok(notification) => prop_assert!(notification::encode(&notification) == value),
            Err(error) => {
                let expected = match (value.first(), value.get(33..)) {
                    (Some(&version), _) if version != 1 => DecodeError::Version(version),
                    (_, None) => DecodeError::Truncated,
                    (_, Some(message)) => {
                        let ids = (ChannelId::new(0), MessageId::new(0));
                        decode_message(ids.0, ids.1, message).expect_err("nothing else is wrong")
                    }
                };
                prop_assert_eq!(error, expected);
            }
        }
        match notification::decode_position(&value) {
            Ok(position) => prop_assert!(position.to_be_bytes()[..] == value),
            Err(error) => prop_assert_eq!(error, DecodeError::Length(value.len())),
        }
        Ok(())
    });
}
