//! Times in the time zone of the user.

use std::time::SystemTime;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// A time zone.
#[derive(Clone, Debug)]
pub(crate) struct Clock(TimeZone);

impl Clock {
    /// The time zone of the system.
    pub(crate) fn system() -> Self {
        Self(TimeZone::system())
    }

    /// UTC, for tests.
    #[cfg(test)]
    pub(crate) fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    fn at(&self, time: SystemTime) -> Zoned {
        let timestamp = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
        timestamp.to_zoned(self.0.clone())
    }

    /// `14:05`.
    pub(crate) fn time(&self, time: SystemTime) -> String {
        self.at(time).strftime("%H:%M").to_string()
    }

    /// `Sunday, 22 November 2026`.
    pub(crate) fn day(&self, time: SystemTime) -> String {
        self.at(time).strftime("%A, %-d %B %Y").to_string()
    }

    /// Whether both times are on the same day.
    pub(crate) fn same_day(&self, one: SystemTime, other: SystemTime) -> bool {
        self.at(one).date() == self.at(other).date()
    }
}
