//! Points in time: RFC 3339 in UTC on the wire, `SystemTime` here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, Error as _};

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
    parse(&text).ok_or_else(|| D::Error::custom("not a time: RFC 3339 in UTC"))
}

/// Reads `2026-11-22T09:30:00.123Z`, with any number of digits behind the seconds.
fn parse(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix('Z')?;
    let (date, clock) = text.split_once('T')?;
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(whole, ':')?;
    let fits = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !fits || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    let seconds = days(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let mut parts = text.split(between).map(|part| part.parse().ok());
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// Days since 1970-01-01 in the Gregorian calendar. The year is taken to begin in March, which puts
/// the leap day at its end; months from there are 153 days every five.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month > 2 { year } else { year.checked_sub(1)? };
    let from_march = (month + 9) % 12;
    let in_year = (153 * from_march + 2) / 5 + day - 1;
    let since_year_0 = year * 365 + year / 4 - year / 100 + year / 400 + in_year;
    since_year_0.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<u128> {
        Some(parse(text)?.duration_since(UNIX_EPOCH).unwrap().as_millis())
    }

    #[test]
    fn known_times_are_read() {
        assert_eq!(millis("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(millis("2024-01-01T00:00:00.042Z"), Some(1_704_067_200_042));
        assert_eq!(millis("2000-02-29T23:59:59.5Z"), Some(951_868_799_500));
        assert_eq!(millis("2100-03-01T00:00:00Z"), Some(4_107_542_400_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "2024-01-01", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00+01:00", "xTyZ"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
