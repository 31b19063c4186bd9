//! The binary encoding of deliveries in a node's inbox. Owns the bytes. During a rolling upgrade
//! nodes of two versions read and write the same inbox, so the encoding of a version never changes.
//!
//! Version 1 (= 1), kind 1, then by kind. All numbers are big-endian; the figure after a field is
//! its length in bytes.
//! - 1 message: accepted_at 8 (µs since 1970), channel_id 8, message_id 8, the message as in
//!   [`codec`](crate::codec).
//! - 2 channel event: channel_id 8, then 0, or 1 and the excluded user 8, then the event.
//! - 3 user event: number of users 4, each user 8, the event.
//! - 4 membership: channel_id 8, user_id 8, 1 if joined.
//! - 5 channel ended: channel_id 8.
//! - 6 end sessions: user_id 8, then 0 for all of the user, or 1 and a token's hash 32; for all of a
//!   device also the device_id 8, which nodes that know only tokens do not read.
//! - 7 stored: message_id 8, first_id 8.

use bytes::Bytes;
use pabal_core::model::{ChannelId, DeviceId, MessageId, Timestamp, TokenHash, UserId};
use pabal_core::ports::{Audience, Delivery, Revoked, Trace};

use crate::codec::{DecodeError, decode_message, encode_message};

const VERSION: u8 = 1;

pub(super) fn encode(delivery: &Delivery) -> Vec<u8> {
    let mut value = vec![VERSION];
    match delivery {
        Delivery::Message { message, accepted_at, trace: _ } => {
            value.push(1);
            value.extend(accepted_at.as_micros().to_be_bytes());
            value.extend(message.channel_id.get().to_be_bytes());
            value.extend(message.message_id.get().to_be_bytes());
            encode_message(message, &mut value);
        }
        Delivery::Event { audience: Audience::Channel { channel_id, except }, event } => {
            value.push(2);
            value.extend(channel_id.get().to_be_bytes());
            option(&mut value, except.map(|user_id| user_id.get().to_be_bytes()));
            value.extend(event);
        }
        Delivery::Event { audience: Audience::Users(users), event } => {
            value.push(3);
            // No audience has that many users.
            value.extend(u32::try_from(users.len()).unwrap_or(u32::MAX).to_be_bytes());
            value.extend(users.iter().flat_map(|user_id| user_id.get().to_be_bytes()));
            value.extend(event);
        }
        Delivery::Membership { channel_id, user_id, joined } => {
            value.push(4);
            value.extend(channel_id.get().to_be_bytes());
            value.extend(user_id.get().to_be_bytes());
            value.push(u8::from(*joined));
        }
        Delivery::ChannelEnded { channel_id } => {
            value.push(5);
            value.extend(channel_id.get().to_be_bytes());
        }
        Delivery::EndSessions { user_id, revoked } => {
            value.push(6);
            value.extend(user_id.get().to_be_bytes());
            let (token, device_id) = match revoked {
                Revoked::All => (None, None),
                Revoked::Device { device_id, token } => (Some(token), Some(device_id)),
                Revoked::Token(token) => (Some(token), None),
            };
            option(&mut value, token.map(|token| *token.as_bytes()));
            value.extend(device_id.into_iter().flat_map(|it| it.get().to_be_bytes()));
        }
        Delivery::Stored { message_id, first_id } => {
            value.push(7);
            value.extend(message_id.get().to_be_bytes());
            value.extend(first_id.get().to_be_bytes());
        }
    }
    value
}

fn option<const N: usize>(value: &mut Vec<u8>, bytes: Option<[u8; N]>) {
    value.push(u8::from(bytes.is_some()));
    value.extend(bytes.into_iter().flatten());
}

pub(super) fn decode(value: &[u8]) -> Result<Delivery, DecodeError> {
    let mut rest = Rest(value);
    let [version, kind] = rest.take()?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    Ok(match kind {
        1 => {
            let accepted_at = Timestamp::from_micros(rest.number()?);
            let (channel_id, message_id) =
                (ChannelId::new(rest.number()?), MessageId::new(rest.number()?));
            let message = decode_message(channel_id, message_id, rest.0)?;
            Delivery::Message { message, accepted_at, trace: Trace::default() }
        }
        2 => {
            let channel_id = ChannelId::new(rest.number()?);
            let except = rest.option()?.map(|user| UserId::new(u64::from_be_bytes(user)));
            let audience = Audience::Channel { channel_id, except };
            Delivery::Event { audience, event: Bytes::copy_from_slice(rest.0) }
        }
        3 => {
            let count = u32::from_be_bytes(rest.take()?);
            let users =
                (0..count).map(|_| rest.number().map(UserId::new)).collect::<Result<_, _>>();
            let audience = Audience::Users(users?);
            Delivery::Event { audience, event: Bytes::copy_from_slice(rest.0) }
        }
        4 => Delivery::Membership {
            channel_id: ChannelId::new(rest.number()?),
            user_id: UserId::new(rest.number()?),
            joined: rest.take()? == [1],
        },
        5 => Delivery::ChannelEnded { channel_id: ChannelId::new(rest.number()?) },
        6 => {
            let user_id = UserId::new(rest.number()?);
            let revoked = match rest.option()?.map(TokenHash::from_bytes) {
                None => Revoked::All,
                Some(token) if rest.0.is_empty() => Revoked::Token(token),
                Some(token) => Revoked::Device { device_id: DeviceId::new(rest.number()?), token },
            };
            Delivery::EndSessions { user_id, revoked }
        }
        7 => Delivery::Stored {
            message_id: MessageId::new(rest.number()?),
            first_id: MessageId::new(rest.number()?),
        },
        kind => return Err(DecodeError::Flags(kind)),
    })
}

/// The part of a value that is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, after) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = after;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn option<const N: usize>(&mut self) -> Result<Option<[u8; N]>, DecodeError> {
        match self.take()? {
            [0] => Ok(None),
            [1] => Ok(Some(self.take()?)),
            [flag] => Err(DecodeError::Flags(flag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use pabal_core::model::Message;
    use proptest::prelude::*;

    use super::*;

    fn hex(delivery: &Delivery) -> String {
        encode(delivery).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The contract suite checks that deliveries are decoded unchanged.
    #[test]
    fn bytes_in_the_inbox_stay_the_same() {
        let (channel_id, user_id) = (ChannelId::new(2), UserId::new(1));
        let message = Message {
            message_id: MessageId::new(3),
            channel_id,
            message_from: user_id,
            message_to: None,
            content: "hi".into(),
            client_message_id: None,
        };
        let accepted_at = Timestamp::from_micros(5);
        let message = Delivery::Message { message, accepted_at, trace: Trace::default() };
        assert_eq!(
            hex(&message),
            "0101000000000000000500000000000000020000000000000003010000000000000000016869"
        );
        let event = Bytes::from_static(b"{}");
        let audience = Audience::Channel { channel_id, except: Some(user_id) };
        let of_channel = Delivery::Event { audience, event: event.clone() };
        assert_eq!(hex(&of_channel), "010200000000000000020100000000000000017b7d");
        let of_users = Delivery::Event { audience: Audience::Users(vec![user_id]), event };
        assert_eq!(hex(&of_users), "01030000000100000000000000017b7d");
        let membership = Delivery::Membership { channel_id, user_id, joined: true };
        assert_eq!(hex(&membership), "01040000000000000002000000000000000101");
        assert_eq!(hex(&Delivery::ChannelEnded { channel_id }), "01050000000000000002");
        let end = |revoked| hex(&Delivery::EndSessions { user_id, revoked });
        assert_eq!(end(Revoked::All), "0106000000000000000100");
        let token = TokenHash::from_bytes([7; 32]);
        let of_token = format!("0106000000000000000101{}", "07".repeat(32));
        assert_eq!(end(Revoked::Token(token)), of_token);
        let device = Revoked::Device { device_id: DeviceId::new(9), token };
        assert_eq!(end(device), of_token + "0000000000000009");
        for revoked in [Revoked::All, Revoked::Token(token), device] {
            let end = Delivery::EndSessions { user_id, revoked };
            assert_eq!(decode(&encode(&end)).expect("is read"), end);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut value: Vec<u8>, kind in 0u8..9) {
            if let [version, its_kind, ..] = &mut value[..] {
                (*version, *its_kind) = (VERSION, kind);
            }
            let _ = decode(&value);
        }
    }
}
