//! The cost of users in a month.

use crate::{Model, Pace, Transport, typical};

/// Seconds of a month of 30 days.
const MONTH: f64 = 30.0 * 86_400.0;

/// How long users are connected and how much they receive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Habit {
    /// Hours a day in which a user is connected.
    pub hours_per_day: f64,
    /// Messages that a connected user receives in a minute.
    pub per_minute: f64,
}

/// What users cost in 30 days, and what the server needs for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Month {
    /// Requests in the month.
    pub requests: f64,
    /// Bytes in the month that TCP carries in both directions, in 10⁹.
    pub gigabytes: f64,
    /// Busy cores while all users are connected at once.
    pub cores: f64,
    /// Resident memory of the server while all users are connected at once, in 10⁹ bytes.
    pub memory_gigabytes: f64,
}

/// A month of `users` users on one server and one transport, in groups of 50 over HTTP/1.1
/// ([`typical`]). `cores` includes storing their messages.
pub fn month(model: &Model, transport: Transport, users: usize, habit: Habit) -> Month {
    let seconds = MONTH * habit.hours_per_day / 24.0;
    let mut cell = typical(transport, habit.per_minute);
    cell.plan.clients = users;
    let predicted = model.predict(&cell, Pace::DEFAULT);
    Month {
        requests: predicted.requests * seconds,
        gigabytes: predicted.bytes * seconds / 1e9,
        cores: predicted.cpu_us / 1e6,
        memory_gigabytes: users as f64 * model.memory_per_client(&cell) / 1e9,
    }
}
