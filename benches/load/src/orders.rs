//! Orders to all clients of a crowd at once. Each client decides from its number whether an order
//! concerns it.

use std::time::Duration;

use tokio::sync::watch;

/// The current orders of a crowd.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Orders {
    pub(crate) phase: Phase,
    /// The number of disconnections so far, and the share of clients of the last one.
    pub(crate) cuts: u64,
    pub(crate) cut_share: f64,
    /// The number of pauses so far, and the share of clients and the length of the last one.
    pub(crate) pauses: u64,
    pub(crate) pause_share: f64,
    pub(crate) pause: Duration,
}

/// The phase of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Messages are being sent.
    #[default]
    Listen,
    /// All messages are sent; a client that has received every one reports it.
    Finish,
    /// The run is over, and each client returns its verdict.
    Judge,
}

/// One client's view of its orders.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    orders: watch::Receiver<Orders>,
    number: usize,
    cuts: u64,
    pauses: u64,
}

/// What an order asks of one client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Order {
    /// The order concerns other clients.
    Nothing,
    /// Drop the connection without a close frame.
    Cut,
    /// Stop reading for this long.
    Pause(Duration),
}

impl Inbox {
    pub(crate) fn new(orders: watch::Receiver<Orders>, number: usize) -> Self {
        let Orders { cuts, pauses, .. } = *orders.borrow();
        Self { orders, number, cuts, pauses }
    }

    /// The next order. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Order {
        if self.orders.changed().await.is_err() {
            // The crowd was dropped, and this task with it.
            std::future::pending::<()>().await;
        }
        let orders = *self.orders.borrow_and_update();
        if self.cuts != orders.cuts {
            self.cuts = orders.cuts;
            if meant(self.number, orders.cuts, orders.cut_share) {
                return Order::Cut;
            }
        }
        if self.pauses != orders.pauses {
            self.pauses = orders.pauses;
            if meant(self.number, orders.pauses + 7, orders.pause_share) {
                return Order::Pause(orders.pause);
            }
        }
        Order::Nothing
    }

    pub(crate) fn phase(&self) -> Phase {
        self.orders.borrow().phase
    }

    /// Waits for the end of the run.
    pub(crate) async fn judged(mut self) {
        // An error means that the crowd was dropped, which ends the run as well.
        let _ = self.orders.wait_for(|orders| orders.phase == Phase::Judge).await;
    }
}

/// Whether a client belongs to a share of all clients; each `time` selects other clients. The fractional parts
/// of multiples of the golden ratio are so evenly distributed that any run of consecutive clients has nearly
/// that share (a Kronecker sequence, of low discrepancy).
pub(crate) fn meant(number: usize, time: u64, share: f64) -> bool {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    const SHIFT: f64 = std::f64::consts::SQRT_2;
    (number as f64 * GOLDEN + time as f64 * SHIFT).fract() < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_clients_is_selected_and_each_time_another_one() {
        let drawn = |of, time, share| {
            (0..of).filter(|&number| meant(number, time, share)).collect::<Vec<_>>()
        };
        for time in 1..100 {
            assert!((48..=52).contains(&drawn(100, time, 0.5).len()), "{time}");
            assert!((2_990..=3_010).contains(&drawn(10_000, time, 0.3).len()), "{time}");
        }
        assert_ne!(drawn(100, 1, 0.3), drawn(100, 2, 0.3));
        assert_eq!(drawn(100, 3, 1.0).len(), 100);
        assert_eq!(drawn(100, 3, 0.0).len(), 0);
    }
}
