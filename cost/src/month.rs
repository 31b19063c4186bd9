//! What users cost in a month.

use crate::{Model, Pace, Transport, typical};

/// Seconds of a month of 30 days.
const MONTH: f64 = 30.0 * 86_400.0;

/// How users use it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Habit {
    /// For how many hours of a day they are connected.
    pub hours_per_day: f64,
    /// Messages that each hears in a minute of that time.
    pub per_minute: f64,
}

/// The bill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Month {
    /// Requests.
    pub requests: f64,
    /// Bytes that TCP carries, both ways, in 10⁹.
    pub gigabytes: f64,
    /// Cores that are busy while everybody is connected at once.
    pub cores: f64,
    /// Resident memory of the server while everybody is connected at once, in 10⁹ bytes.
    pub memory_gigabytes: f64,
}

/// A month of `users` users on one server and a transport, in groups of 50 over HTTP/1.1. Storing their
/// messages is in the cores.
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
