//! Times: RFC 3339 in UTC on the wire, `SystemTime` in this crate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, Error as _};

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
    parse(&text).ok_or_else(|| D::Error::custom("not a time: RFC 3339 in UTC"))
}

/// Parses a `date-time` of RFC 3339 (section 5.6) in UTC, such as `2026-11-22T09:30:00.123Z`: fixed
/// numbers of digits, at most nine after the decimal point, and a day that its month has. Second 60 is
/// accepted, because a leap second may occur; times before 1970 are not.
fn parse(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix('Z')?;
    let (date, clock) = text.split_once('T')?;
    let (whole, nanos) = match clock.split_once('.') {
        Some((whole, fraction)) => (whole, nanos(fraction)?),
        None => (clock, 0),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(whole, ':', [2, 2, 2])?;
    let fits = (1..=days_of_month(year, month)?).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !fits {
        return None;
    }
    let seconds = days(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// Three decimal numbers of so many digits each.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut next = |digits: usize| {
        let part = parts.next()?;
        // `parse` alone would accept a sign.
        let fits = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        if fits { part.parse().ok() } else { None }
    };
    let three = [next(digits[0])?, next(digits[1])?, next(digits[2])?];
    parts.next().is_none().then_some(three)
}

/// The digits after the decimal point, as nanoseconds.
fn nanos(fraction: &str) -> Option<u32> {
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || !(1..=9).contains(&fraction.len()) {
        return None;
    }
    format!("{fraction:0<9}").parse().ok()
}

/// How many days a month of the Gregorian calendar has; `None` for a number that is not a month.
fn days_of_month(year: u64, month: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar; `None` before. The year is counted from March, so that
/// the leap day is its last day; five months from there have 153 days.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month > 2 { year } else { year.checked_sub(1)? };
    let from_march = (month + 9) % 12;
    let in_year = (153 * from_march + 2) / 5 + day - 1;
    let since_year_0 = year * 365 + year / 4 - year / 100 + year / 400 + in_year;
    since_year_0.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn invalid_times_are_rejected() {
        for text in [
            "",
            "xTyZ",
            "2024-01-01",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-02-31T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.0000000001Z",
            "2024-01-01T00:00:00+01:00",
            "2024-1-01T00:00:00Z",
            "2024-+1-01T00:00:00Z",
            "2024-01-01T0:00:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    /// The calendar as a table, independent of the code under test.
    fn is_in_calendar(year: u64, month: usize, day: u64) -> bool {
        const LENGTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let leap = match (year % 400, year % 100, year % 4) {
            (0, _, _) => true,
            (_, 0, _) => false,
            (_, _, rest) => rest == 0,
        };
        let leap_day = u64::from(leap && month == 2);
        (1..=12).contains(&month) && (1..=LENGTHS[month - 1] + leap_day).contains(&day)
    }

    #[test]
    fn every_day_is_one_later_than_the_day_before_and_other_dates_are_rejected() {
        let mut next = 0;
        for year in 1970..=2410 {
            for month in 0..=13 {
                for day in 0..=32 {
                    let text = format!("{year}-{month:02}-{day:02}T00:00:00Z");
                    let expected = is_in_calendar(year, month, day).then_some(next * 86_400_000);
                    assert_eq!(millis(&text), expected, "{text}");
                    next += u128::from(expected.is_some());
                }
            }
        }
        assert_eq!(next, 161_072, "days of 441 years, 107 of them leap years");
    }

    proptest! {
        #[test]
        fn dates_are_accepted_as_far_as_the_calendar_has_them(
            year in 1970u64..10_000, month in 0usize..15, day in 0u64..40,
        ) {
            let time = parse(&format!("{year}-{month:02}-{day:02}T23:59:60.5Z"));
            prop_assert_eq!(time.is_some(), is_in_calendar(year, month, day));
        }

        #[test]
        fn no_text_panics(text in "[0-9TZ:.+-]{0,40}|\\PC*") {
            let _ = parse(&text);
        }
    }
}
