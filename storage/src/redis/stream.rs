//! Entries of streams as `XREAD` answers them, and the answers of scripts.

use std::time::Duration;

use redis::Value;

use super::error::CallError;

/// The longest read; more than a caller ever takes at a time.
const AT_MOST: usize = 10_000;

/// An entry: its id, and its fields with their values.
pub(super) struct Entry {
    /// Both halves of the id.
    pub(super) id: (u64, u64),
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry with one field.
    #[cfg(test)]
    pub(super) fn new(id: (u64, u64), field: &str, value: Vec<u8>) -> Self {
        Self { id, fields: vec![(field.as_bytes().to_vec(), value)] }
    }

    /// Takes the value of a field out.
    pub(super) fn take(&mut self, field: &str) -> Option<Vec<u8>> {
        let place = self.fields.iter().position(|(name, _)| name == field.as_bytes())?;
        Some(self.fields.swap_remove(place).1)
    }
}

/// A limit as Redis takes it.
pub(super) fn limit(limit: usize) -> usize {
    limit.clamp(1, AT_MOST)
}

/// The entries of the one stream that was read; none if none came.
pub(super) fn entries(answer: Value) -> Result<Vec<Entry>, CallError> {
    let nonsense = || CallError::Nonsense("to XREAD".into());
    let Value::Array(streams) = answer else {
        return if matches!(answer, Value::Nil) { Ok(Vec::new()) } else { Err(nonsense()) };
    };
    let stream = streams.into_iter().next().ok_or_else(nonsense)?;
    let Value::Array(mut name_and_entries) = stream else {
        return Err(nonsense());
    };
    let Some(Value::Array(entries)) = name_and_entries.pop() else {
        return Err(nonsense());
    };
    entries.into_iter().map(|value| entry(value).ok_or_else(nonsense)).collect()
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

/// Both halves of `<milliseconds>-<sequence>`.
pub(super) fn parse_id(text: &[u8]) -> Option<(u64, u64)> {
    let (ms, sequence) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some((ms.parse().ok()?, sequence.parse().ok()?))
}

/// The number that a script answers.
pub(super) fn number(answer: &Value) -> Result<i64, CallError> {
    match answer {
        Value::Int(number) => Ok(*number),
        other => Err(CallError::Nonsense(format!("{other:?} instead of a number"))),
    }
}

/// The list that a script answers.
pub(super) fn list(answer: Value) -> Result<Vec<Value>, CallError> {
    match answer {
        Value::Array(values) => Ok(values),
        other => Err(CallError::Nonsense(format!("{other:?} instead of a list"))),
    }
}

/// The text that a script answers.
pub(super) fn text(answer: Value) -> Result<String, CallError> {
    let nonsense = |what: String| CallError::Nonsense(format!("{what} instead of text"));
    match answer {
        Value::BulkString(bytes) => {
            String::from_utf8(bytes).map_err(|error| nonsense(error.to_string()))
        }
        other => Err(nonsense(format!("{other:?}"))),
    }
}

/// A lease as the scripts take it: in milliseconds, at least 1 and at most ten years.
pub(super) fn lease_ms(lease: Duration) -> String {
    const TEN_YEARS_MS: u128 = 10 * 365 * 24 * 60 * 60 * 1_000;
    lease.as_millis().clamp(1, TEN_YEARS_MS).to_string()
}
