//! Parses the replies of `XREAD` and of scripts.

use std::time::Duration;

use redis::Value;

use super::error::CallError;

/// The longest read; callers take fewer entries at a time.
const MAX_ENTRIES: usize = 10_000;

/// A stream entry: its id, and its fields with their values.
pub(super) struct Entry {
    /// Both parts of the id.
    pub(super) id: (u64, u64),
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry with one field.
    #[cfg(test)]
    pub(super) fn new(id: (u64, u64), field: &str, value: Vec<u8>) -> Self {
        Self { id, fields: vec![(field.as_bytes().to_vec(), value)] }
    }

    /// Removes a field and returns its value.
    pub(super) fn take(&mut self, field: &str) -> Option<Vec<u8>> {
        let index = self.fields.iter().position(|(name, _)| name == field.as_bytes())?;
        Some(self.fields.swap_remove(index).1)
    }
}

/// A limit as `XREAD COUNT` takes it.
pub(super) fn limit(limit: usize) -> usize {
    limit.clamp(1, MAX_ENTRIES)
}

/// The entries of the stream that was read; empty if none arrived.
pub(super) fn entries(reply: Value) -> Result<Vec<Entry>, CallError> {
    let unexpected = || CallError::UnexpectedReply("to XREAD".into());
    let Value::Array(streams) = reply else {
        return if matches!(reply, Value::Nil) { Ok(Vec::new()) } else { Err(unexpected()) };
    };
    let stream = streams.into_iter().next().ok_or_else(unexpected)?;
    let Value::Array(mut name_and_entries) = stream else {
        return Err(unexpected());
    };
    let Some(Value::Array(entries)) = name_and_entries.pop() else {
        return Err(unexpected());
    };
    entries.into_iter().map(|value| entry(value).ok_or_else(unexpected)).collect()
}

fn entry(value: Value) -> Option<Entry> {
    let Value::Array(parts) = value else {
        return None;
    };
    let [Value::BulkString(id), Value::Array(fields)] = <[Value; 2]>::try_from(parts).ok()? else {
        return None;
    };
    let mut pairs = Vec::with_capacity(fields.len() / 2);
    let mut fields = fields.into_iter();
    while let Some(name) = fields.next() {
        match (name, fields.next()?) {
            (Value::BulkString(name), Value::BulkString(value)) => pairs.push((name, value)),
            _ => return None,
        }
    }
    Some(Entry { id: parse_id(&id)?, fields: pairs })
}

/// Both parts of `<milliseconds>-<sequence>`.
pub(super) fn parse_id(text: &[u8]) -> Option<(u64, u64)> {
    let (ms, sequence) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some((ms.parse().ok()?, sequence.parse().ok()?))
}

/// The integer that a script returns.
pub(super) fn number(reply: &Value) -> Result<i64, CallError> {
    match reply {
        Value::Int(number) => Ok(*number),
        other => Err(CallError::UnexpectedReply(format!("{other:?} instead of an integer"))),
    }
}

/// The array that a script returns.
pub(super) fn list(reply: Value) -> Result<Vec<Value>, CallError> {
    match reply {
        Value::Array(values) => Ok(values),
        other => Err(CallError::UnexpectedReply(format!("{other:?} instead of an array"))),
    }
}

/// The string that a script returns.
pub(super) fn text(reply: Value) -> Result<String, CallError> {
    let unexpected =
        |what: String| CallError::UnexpectedReply(format!("{what} instead of a string"));
    match reply {
        Value::BulkString(bytes) => {
            String::from_utf8(bytes).map_err(|error| unexpected(error.to_string()))
        }
        other => Err(unexpected(format!("{other:?}"))),
    }
}

/// A lease as the scripts take it: in milliseconds, at least 1 and at most ten years.
pub(super) fn lease_ms(lease: Duration) -> String {
    const TEN_YEARS_MS: u128 = 10 * 365 * 24 * 60 * 60 * 1_000;
    lease.as_millis().clamp(1, TEN_YEARS_MS).to_string()
}
