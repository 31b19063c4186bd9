//! Hash slots of a Redis Cluster: the slot of a key, and the reply that lists the owner of each
//! slot (Redis Cluster specification, "Key distribution model"). Owns no connection.

use std::collections::HashMap;

use crc16::{State, XMODEM};
use redis::Value;

use super::error::CallError;
use super::url::Address;

const SLOTS: u16 = 16_384;

/// The owners of all slots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SlotOwners {
    /// The primaries.
    pub(super) addresses: Vec<Address>,
    /// For each slot the index of its primary in `addresses`.
    pub(super) slots: Vec<u16>,
}

/// The slot of a key: the hash of its hash tag, the part between the first braces.
pub(super) fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    State::<XMODEM>::calculate(tag.unwrap_or(key).as_bytes()) % SLOTS
}

/// Parses the reply of `host` to `CLUSTER SLOTS`: first slot, last slot, primary, replicas.
///
/// # Errors
/// [`CallError::UnexpectedReply`]; [`CallError::Connection`] if a slot has no owner, as while a
/// cluster is being repaired.
pub(super) fn parse_slots(host: &Address, ranges: &Value) -> Result<SlotOwners, CallError> {
    let unexpected = || CallError::UnexpectedReply(format!("to CLUSTER SLOTS: {ranges:?}"));
    let Value::Array(ranges) = ranges else {
        return Err(unexpected());
    };
    let mut indexes: HashMap<Address, u16> = HashMap::new();
    let mut owners = SlotOwners { addresses: Vec::new(), slots: vec![0; usize::from(SLOTS)] };
    let mut covered = 0;
    for range in ranges {
        let Value::Array(parts) = range else {
            return Err(unexpected());
        };
        let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &parts[..] else {
            return Err(unexpected());
        };
        let mut address = parse_address(primary).ok_or_else(unexpected)?;
        if address.host.is_empty() {
            // The server does not know its own name: it is the one that replied.
            address.host.clone_from(&host.host);
        }
        let index = match indexes.get(&address) {
            Some(index) => *index,
            None => {
                let index = u16::try_from(owners.addresses.len()).map_err(|_| unexpected())?;
                owners.addresses.push(address.clone());
                indexes.insert(address, index);
                index
            }
        };
        let range = usize::try_from(*first).ok().zip(usize::try_from(*last).ok());
        let slots = range.and_then(|(first, last)| owners.slots.get_mut(first..=last));
        let slots = slots.ok_or_else(unexpected)?;
        slots.fill(index);
        covered += slots.len();
    }
    if covered < usize::from(SLOTS) {
        let missing = usize::from(SLOTS) - covered;
        let reason = format!("{missing} slots of the Redis Cluster have no owner");
        return Err(CallError::Connection(reason));
    }
    Ok(owners)
}

/// A host and a port. The host is empty if the server does not know its own name.
pub(super) fn parse_address(parts: &[Value]) -> Option<Address> {
    let text = |part: &Value| match part {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    };
    let host = match parts.first()? {
        Value::Nil => String::new(),
        host => text(host)?,
    };
    Some(Address { host, port: text(parts.get(1)?)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_match_those_of_the_server() {
        // Values of CLUSTER KEYSLOT in Redis 7.0.
        for (key, slot) in [("foo", 12_182), ("123456789", 12_739), ("x:{foo}:y", 12_182)] {
            assert_eq!(slot_of(key), slot, "{key}");
        }
    }

    fn range(first: i64, last: i64, host: Option<&str>, port: i64) -> Value {
        let host = host.map_or(Value::Nil, |host| Value::BulkString(host.into()));
        let primary = Value::Array(vec![host, Value::Int(port)]);
        Value::Array(vec![Value::Int(first), Value::Int(last), primary])
    }

    #[test]
    fn every_slot_needs_an_owner() {
        let asked = Address { host: "asked".into(), port: 1 };
        let whole = Value::Array(vec![
            range(0, 99, Some("one"), 7),
            range(100, 8_191, None, 8),
            range(8_192, 16_383, Some("one"), 7),
        ]);
        let owners = parse_slots(&asked, &whole).expect("all slots have an owner");
        let address = |host: &str, port| Address { host: host.into(), port };
        assert_eq!(owners.addresses, [address("one", 7), address("asked", 8)]);
        assert_eq!([99, 100, 8_191, 8_192].map(|slot| owners.slots[slot]), [0, 1, 1, 0]);
        let hole = Value::Array(vec![range(0, 16_382, Some("one"), 7)]);
        assert!(matches!(parse_slots(&asked, &hole), Err(CallError::Connection(_))));
        let beyond = Value::Array(vec![range(0, 16_384, Some("one"), 7)]);
        assert!(matches!(parse_slots(&asked, &beyond), Err(CallError::UnexpectedReply(_))));
    }
}
