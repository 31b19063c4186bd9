//! Identifiers. In JSON, 64-bit ids are decimal strings, because JavaScript numbers are exact up to
//! 2^53.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Timestamp;

/// The text is not an id of this kind. Do not retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidId(&'static str);

/// Ids are below 2^63, so that every database has an integer type for them.
const MAX_ID: u64 = i64::MAX as u64;

macro_rules! decimal {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a number, which must be below 2^63 to be storable.
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The number itself.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Digits only: no sign, no space, below 2^63.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                const EXPECTED: InvalidId = InvalidId("a decimal string below 2^63");
                if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(EXPECTED);
                }
                match text.parse::<u64>() {
                    Ok(raw) if raw <= MAX_ID => Ok(Self(raw)),
                    _ => Err(EXPECTED),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a decimal string below 2^63")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                from.deserialize_str(Text)
            }
        }
    };
}

decimal!(
    /// A person.
    UserId
);
decimal!(
    /// One phone or browser of a user.
    DeviceId
);
decimal!(
    /// A conversation.
    ChannelId
);
decimal!(
    /// The position of an event in a session: 1, 2, 3… without holes. 0 is before the first event.
    Seq
);
decimal!(
    /// The position of a message in its channel, in the layout of Twitter's Snowflake (2010): 41 bits of
    /// milliseconds since 2024-01-01T00:00:00Z, 10 bits of [`Partition`], 12 bits of sequence.
    ///
    /// Within a partition, and so within a channel, ids rise in the order in which messages were
    /// accepted. 0 is before every message.
    MessageId
);

/// Milliseconds from the Unix epoch to 2024-01-01T00:00:00Z.
const EPOCH_MS: u64 = 1_704_067_200_000;
const SEQUENCE_BITS: u32 = 12;
const PARTITION_BITS: u32 = 10;
const MAX_SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;
const MAX_MS: u64 = (1 << 41) - 1;
/// The last milliseconds of ids, of which none is assigned.
const LAST_MS: u64 = 60_000;

/// How many partitions a message id can name.
pub const MAX_PARTITIONS: u16 = 1 << PARTITION_BITS;

impl MessageId {
    /// The smallest id of `partition` at `moment`.
    ///
    /// A moment before 2024 counts as the start of 2024, one after 2093 as the last millisecond.
    pub fn first_at(moment: Timestamp, partition: Partition) -> Self {
        let ms = moment.as_millis().saturating_sub(EPOCH_MS).min(MAX_MS);
        Self::pack(ms, partition, 0)
    }

    /// The next id of the same partition: the next sequence number, with a carry into the millisecond.
    #[must_use]
    pub fn successor(self) -> Self {
        match self.sequence() {
            MAX_SEQUENCE => Self::pack(self.ms() + 1, self.partition(), 0),
            sequence => Self::pack(self.ms(), self.partition(), sequence + 1),
        }
    }

    /// The smallest id of `partition` above `self`, which may be of another partition.
    #[must_use]
    pub fn above_in(self, partition: Partition) -> Self {
        if self.partition() == partition {
            self.successor()
        } else {
            Self::pack(self.ms() + 1, partition, 0)
        }
    }

    /// When the message was accepted, to the millisecond. Within a channel this time never falls, even
    /// if the clock went back between two messages: the id is then ahead of the clock.
    pub const fn created_at(self) -> Timestamp {
        Timestamp::from_millis(self.ms() + EPOCH_MS)
    }

    /// Whether so few ids are left above this one that no further one may be assigned: it is in the
    /// last minute before 2^63. No batch in flight can use up the ids of that minute.
    pub const fn is_at_the_end(self) -> bool {
        self.ms() >= MAX_MS - LAST_MS
    }

    /// The partition that assigned this id.
    pub const fn partition(self) -> Partition {
        Partition((self.0 >> SEQUENCE_BITS) as u16 & (MAX_PARTITIONS - 1))
    }

    const fn ms(self) -> u64 {
        self.0 >> (SEQUENCE_BITS + PARTITION_BITS)
    }

    const fn sequence(self) -> u64 {
        self.0 & MAX_SEQUENCE
    }

    fn pack(ms: u64, partition: Partition, sequence: u64) -> Self {
        Self(
            ms << (SEQUENCE_BITS + PARTITION_BITS)
                | u64::from(partition.0) << SEQUENCE_BITS
                | sequence,
        )
    }
}

impl Seq {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// An id that sorts by age: 41 bits of milliseconds since 2024, 22 random bits. Two ids of one
/// millisecond may collide; the unique keys of the directory detect that.
fn random_at(moment: Timestamp) -> u64 {
    let ms = moment.as_millis().saturating_sub(EPOCH_MS).min(MAX_MS);
    ms << 22 | u64::from(rand::random::<u32>() >> 10)
}

macro_rules! generated {
    ($($name:ident)+) => {$(
        impl $name {
            /// A new id, generated at `moment`. In the rare case of a collision, the directory refuses it
            /// (`DirectoryError::IdTaken`): generate another one.
            pub fn generate(moment: Timestamp) -> Self {
                Self(random_at(moment))
            }
        }
    )+};
}
generated!(UserId DeviceId ChannelId);

/// A shard of channels: the unit of ordering and ownership. Below [`MAX_PARTITIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u16);

impl Partition {
    /// The partition with this number, if an id can name it.
    pub const fn new(number: u16) -> Option<Self> {
        if number < MAX_PARTITIONS { Some(Self(number)) } else { None }
    }

    /// The partition of `channel`, out of `partitions` (1 to [`MAX_PARTITIONS`]). The same on every
    /// node and in every version: ids of a channel rise because one partition assigns them all.
    pub fn of(channel: ChannelId, partitions: u16) -> Self {
        let partitions = u64::from(partitions.clamp(1, MAX_PARTITIONS));
        Self((mixed(channel.0) % partitions) as u16)
    }

    /// All partitions, from 0 to `partitions - 1`.
    pub fn all(partitions: u16) -> impl Iterator<Item = Self> {
        (0..partitions.min(MAX_PARTITIONS)).map(Self)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of `number` affects every bit of
/// the result. The same on every node and in every version.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut hash = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The name of a running gateway process: 1 to 32 characters of `a-z 0-9 -`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=32).contains(&text.len());
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if fits && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId("a node name: 1 to 32 of a-z, 0-9 and -"))
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for NodeId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The id of a session, `<16 hex digits>.<node>`. It names the node of the session, so any node can
/// forward a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionId {
    key: u64,
    node: NodeId,
}

impl SessionId {
    /// A new random session id on `node`.
    pub fn generate(node: NodeId) -> Self {
        Self { key: rand::random(), node }
    }

    /// The node of the session.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// The part that is unique on the node.
    pub fn key(&self) -> u64 {
        self.key
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.key, self.node)
    }
}

impl FromStr for SessionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        const EXPECTED: InvalidId = InvalidId("a session id");
        let (key, node) = text.split_once('.').ok_or(EXPECTED)?;
        if key.len() != 16 || !key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(EXPECTED);
        }
        let key = u64::from_str_radix(key, 16).map_err(|_| EXPECTED)?;
        Ok(Self { key, node: node.parse().map_err(|_| EXPECTED)? })
    }
}

impl serde::Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_message_id_returns_its_parts(ms in 0..MAX_MS, partition in 0..MAX_PARTITIONS) {
            let partition = Partition::new(partition).expect("is in range");
            let moment = Timestamp::from_millis(ms + EPOCH_MS);
            let id = MessageId::first_at(moment, partition);
            prop_assert_eq!(id.created_at(), moment);
            prop_assert_eq!(id.partition(), partition);
            prop_assert!(id.get() <= MAX_ID);
        }

        #[test]
        fn a_successor_is_larger_and_of_the_same_partition(raw in 0..MAX_ID / 2) {
            let id = MessageId::new(raw);
            prop_assert!(id.successor() > id);
            prop_assert_eq!(id.successor().partition(), id.partition());
        }

        #[test]
        fn the_id_above_one_of_another_partition_is_larger(raw in 0..MAX_ID / 2, p in 0..MAX_PARTITIONS) {
            let (id, partition) = (MessageId::new(raw), Partition::new(p).expect("is in range"));
            prop_assert!(id.above_in(partition) > id);
            prop_assert_eq!(id.above_in(partition).partition(), partition);
        }

        #[test]
        fn a_decimal_id_parses_from_its_text(raw in 0..=MAX_ID) {
            let text = serde_json::to_string(&ChannelId::new(raw)).expect("serialises");
            prop_assert_eq!(&text, &format!("\"{raw}\""));
            prop_assert_eq!(serde_json::from_str::<ChannelId>(&text).expect("parses").get(), raw);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<MessageId>();
            let _ = text.parse::<SessionId>();
            let _ = text.parse::<NodeId>();
        }

        #[test]
        fn every_channel_has_a_partition(raw: u64, partitions in 1..=MAX_PARTITIONS) {
            prop_assert!(Partition::of(ChannelId::new(raw), partitions).get() < partitions);
        }
    }

    #[test]
    fn a_text_that_is_not_a_decimal_id_is_refused() {
        for text in ["", "-1", "+1", " 1", "1 ", "0x1", "1e3", "9223372036854775808", "１"] {
            assert!(text.parse::<MessageId>().is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<MessageId>("7").is_err(), "ids are strings");
    }

    #[test]
    fn a_session_id_names_its_node() {
        let id = SessionId::generate("seoul-1".parse().expect("is a node name"));
        let back: SessionId = id.to_string().parse().expect("parses");
        assert_eq!(back, id);
        assert_eq!(back.node().as_str(), "seoul-1");
    }

    #[test]
    fn channels_are_spread_evenly_over_partitions() {
        let mut counts = [0u32; 64];
        for raw in 0..64_000 {
            counts[usize::from(Partition::of(ChannelId::new(raw), 64).get())] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
