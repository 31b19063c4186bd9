//! Ids: 64-bit numbers, which are decimal strings on the wire.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

/// The text is not an id: a decimal number below 2⁶⁴. Do not retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: ids are decimal numbers")]
pub struct InvalidId;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident,)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The id with this number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number of this id.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.parse().map(Self).map_err(|_| InvalidId)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )+};
}

id! {
    /// A user.
    UserId,
    /// A device of a user. Every log-in creates one.
    DeviceId,
    /// A channel: a conversation of two users or of a group.
    ChannelId,
    /// A message. Within a channel, ids rise in the order of the messages. 41 bits are milliseconds since
    /// 2024-01-01 UTC, 10 bits the partition, 12 bits a sequence (the layout of Snowflake).
    MessageId,
}

impl MessageId {
    /// Smaller than the id of every message: the cursor of a device that holds none.
    pub const START: Self = Self(0);
}

/// The number of an event in its session: 1, 2, 3…; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seq(pub(crate) u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Seq {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decimal_strings_on_the_wire() {
        let id: ChannelId = serde_json::from_str("\"7219834113228800\"").unwrap();
        assert_eq!(id, ChannelId::new(7_219_834_113_228_800));
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"7219834113228800\"");
        assert_eq!("x".parse::<UserId>(), Err(InvalidId));
        assert!(serde_json::from_str::<ChannelId>("7").is_err());
    }
}
