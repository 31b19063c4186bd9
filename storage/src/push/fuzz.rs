//! Fuzz target of stored notifications, valid and mutated.

use pabal_contract::fuzz::{for_a_while, spoiled};
use pabal_core::model::{ChannelId, MessageId, Timestamp, UserId};
use pabal_core::ports::Notification;
use proptest::prelude::*;

use super::codec::{decode, decode_position, encode};
use crate::history::fuzz::{TOKENS, any_message};
use crate::history::{DecodeError, decode_message};

#[test]
fn stored_notifications() {
    let value = (any_message(), any::<(u64, u64)>()).prop_map(|(message, (user_id, queued_at))| {
        let (user_id, queued_at) = (UserId::new(user_id), Timestamp::from_micros(queued_at));
        encode(&Notification { user_id, message, queued_at })
    });
    for_a_while(file!(), spoiled(value, TOKENS), |value| {
        match decode(&value) {
            Ok(notification) => prop_assert!(encode(&notification) == value),
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
        match decode_position(&value) {
            Ok(position) => prop_assert!(position.to_be_bytes()[..] == value),
            Err(error) => prop_assert_eq!(error, DecodeError::Length(value.len())),
        }
        Ok(())
    });
}
