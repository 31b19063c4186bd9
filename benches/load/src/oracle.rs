//! The oracle: compares what one client received of one channel with what was acknowledged there. It sees
//! the messages as they arrive, before any repair.

use std::collections::{BTreeSet, VecDeque};
use std::iter;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::counts::Verdict;

/// Runs of missing numbers that a client remembers. With more, the oldest counts as lost.
const MOST_GAPS: usize = 4_096;

/// What was sent to a channel: the numbers 1, 2, 3… each in one message.
#[derive(Debug)]
pub(crate) struct Channel {
    /// Its id.
    pub(crate) id: u64,
    said: AtomicU64,
    /// Numbers that were never acknowledged: the channel may hold them or not.
    doubtful: Mutex<BTreeSet<u64>>,
}

impl Channel {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, said: AtomicU64::new(0), doubtful: Mutex::default() }
    }

    /// The number of the next message.
    pub(crate) fn say(&self) -> u64 {
        self.said.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The highest number so far.
    pub(crate) fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }

    /// Marks a number as unacknowledged: whether it was stored remains unknown.
    pub(crate) fn doubt(&self, number: u64) {
        self.doubtful().insert(number);
    }

    fn doubtful(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one client received of a channel. Its size does not grow with the run: received numbers are one upper
/// bound, and missing numbers are runs.
#[derive(Clone, Debug)]
pub(crate) struct Hearing {
    /// One more than the highest number received.
    next: u64,
    /// The runs of numbers below `next` that are missing, ascending.
    missing: VecDeque<Range<u64>>,
    given_up: u64,
    last_id: u64,
    repeated: u64,
    reordered: u64,
}

impl Default for Hearing {
    fn default() -> Self {
        Self {
            next: 1,
            missing: VecDeque::new(),
            given_up: 0,
            last_id: 0,
            repeated: 0,
            reordered: 0,
        }
    }
}

/// How a message fits to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// New, after all earlier ones.
    InOrder,
    /// New, but received after a later one of the channel.
    Reordered,
    /// Received before.
    Repeated,
}

impl Hearing {
    /// Records a delivered message: its number and its message id. Ids define the order of a channel; a number
    /// may have a later id than its successors, because a failed send is repeated.
    pub(crate) fn hear(&mut self, number: u64, message_id: u64) -> Heard {
        if !self.fill(number) {
            self.repeated += 1;
            return Heard::Repeated;
        }
        if message_id <= self.last_id {
            self.reordered += 1;
            return Heard::Reordered;
        }
        self.last_id = message_id;
        Heard::InOrder
    }

    /// Records a message that was read from history, which may hold messages that were delivered before;
    /// returns whether it is new.
    pub(crate) fn fetch(&mut self, number: u64, message_id: u64) -> bool {
        self.last_id = self.last_id.max(message_id);
        self.fill(number)
    }

    /// The highest message id so far, which is the channel's cursor; 0 before the first.
    pub(crate) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// The count of missing numbers below the highest one.
    pub(crate) fn missing(&self) -> u64 {
        self.given_up + self.missing.iter().map(|gap| gap.end - gap.start).sum::<u64>()
    }

    /// The verdict if the numbers 1 to `said` were sent; `doubtful` ones may or may not have been stored.
    pub(crate) fn verdict(&self, said: u64, doubtful: &BTreeSet<u64>) -> Verdict {
        let gaps =
            self.missing.iter().cloned().chain(iter::once(self.next..self.next.max(said + 1)));
        let open: u64 =
            gaps.map(|gap| (gap.end - gap.start) - doubtful.range(gap).count() as u64).sum();
        let Self { given_up, repeated, reordered, .. } = *self;
        Verdict { lost: open + given_up, repeated, reordered }
    }

    pub(crate) fn of(&self, channel: &Channel) -> Verdict {
        self.verdict(channel.said(), &channel.doubtful())
    }

    /// Marks `number` as received; returns whether it was missing.
    fn fill(&mut self, number: u64) -> bool {
        if number >= self.next {
            if number > self.next {
                self.missing.push_back(self.next..number);
                if self.missing.len() > MOST_GAPS
                    && let Some(oldest) = self.missing.pop_front()
                {
                    self.given_up += oldest.end - oldest.start;
                }
            }
            self.next = number + 1;
            return true;
        }
        let at = self.missing.partition_point(|gap| gap.end <= number);
        let Some(gap) = self.missing.get_mut(at).filter(|gap| gap.start <= number) else {
            return false;
        };
        match (gap.start == number, gap.end == number + 1) {
            (true, true) => {
                self.missing.remove(at);
            }
            (true, false) => gap.start += 1,
            (false, true) => gap.end -= 1,
            (false, false) => {
                let rest = number + 1..gap.end;
                gap.end = number;
                self.missing.insert(at + 1, rest);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL_CERTAIN: BTreeSet<u64> = BTreeSet::new();

    fn verdict(lost: u64, repeated: u64, reordered: u64) -> Verdict {
        Verdict { lost, repeated, reordered }
    }

    /// What was heard, with ids that are ten times the numbers.
    fn heard(numbers: impl IntoIterator<Item = u64>) -> Hearing {
        let mut hearing = Hearing::default();
        for number in numbers {
            hearing.hear(number, number * 10);
        }
        hearing
    }

    #[test]
    fn each_fault_is_called_by_its_name() {
        assert_eq!(heard(1..=9).verdict(9, &ALL_CERTAIN), verdict(0, 0, 0));
        assert_eq!(heard([1, 2, 4]).verdict(4, &ALL_CERTAIN), verdict(1, 0, 0));
        assert_eq!(heard([1, 2]).verdict(4, &ALL_CERTAIN), verdict(2, 0, 0), "the last ones");
        assert_eq!(heard([1, 2, 2, 3, 1]).verdict(3, &ALL_CERTAIN), verdict(0, 2, 0));
        assert_eq!(heard([1, 3, 2, 4]).verdict(4, &ALL_CERTAIN), verdict(0, 0, 1), "two swapped");
        assert_eq!(heard([]).verdict(0, &ALL_CERTAIN), verdict(0, 0, 0), "silence");
    }

    #[test]
    fn a_send_that_was_repeated_behind_a_later_one_is_no_fault() {
        let mut hearing = Hearing::default();
        let order = [(1, 10), (3, 20), (2, 30), (4, 40)];
        assert!(order.into_iter().all(|(number, id)| hearing.hear(number, id) == Heard::InOrder));
        assert_eq!(hearing.verdict(4, &ALL_CERTAIN), verdict(0, 0, 0));
        // The same message stored twice is one, however: its number comes again under another id.
        assert_eq!(hearing.hear(3, 50), Heard::Repeated);
    }

    #[test]
    fn what_was_never_acknowledged_may_have_come_or_not() {
        let doubtful = BTreeSet::from([3, 5]);
        assert_eq!(heard([1, 2, 4]).verdict(5, &doubtful), verdict(0, 0, 0));
        assert_eq!(heard([1, 2, 3, 4, 5]).verdict(5, &doubtful), verdict(0, 0, 0));
        assert_eq!(heard([1, 4]).verdict(5, &doubtful), verdict(1, 0, 0), "2 was acknowledged");
    }

    #[test]
    fn history_fills_gaps_and_is_no_repetition() {
        let mut hearing = heard([1, 2]);
        assert!(!hearing.fetch(2, 20));
        assert!((3..=7).all(|number| hearing.fetch(number, number * 10)));
        assert_eq!(hearing.hear(8, 80), Heard::InOrder);
        assert_eq!(hearing.verdict(8, &ALL_CERTAIN), verdict(0, 0, 0));
    }

    #[test]
    fn it_stays_small_however_much_is_missing() {
        let hearing = heard((1..=1_000_000).step_by(2));
        assert_eq!(hearing.missing.len(), MOST_GAPS);
        assert_eq!(hearing.verdict(1_000_000, &ALL_CERTAIN), verdict(500_000, 0, 0));
        assert_eq!(heard(1..=1_000_000).missing.len(), 0);
    }

    /// The same, with everything remembered.
    #[derive(Default)]
    struct Naive {
        had: BTreeSet<u64>,
        ids: Vec<u64>,
        repeated: u64,
        reordered: u64,
    }

    impl Naive {
        fn hear(&mut self, number: u64, id: u64) {
            if !self.had.insert(number) {
                self.repeated += 1;
                return;
            }
            if self.ids.iter().any(|before| *before >= id) {
                self.reordered += 1;
            }
            self.ids.push(id);
        }

        fn fetch(&mut self, number: u64, id: u64) -> bool {
            self.ids.push(id);
            self.had.insert(number)
        }
    }

    proptest! {
        /// Whatever comes, in whatever order and by whatever way, the verdict is that of one who
        /// remembers everything.
        #[test]
        fn it_judges_like_one_who_remembers_everything(
            come in prop::collection::vec((1u64..60, 0u64..4, prop::bool::weighted(0.1)), 0..120),
            doubtful in prop::collection::btree_set(1u64..70, 0..10),
            said in 60u64..70,
        ) {
            let (mut hearing, mut naive) = (Hearing::default(), Naive::default());
            for (number, later, fetched) in come {
                // Ids mostly follow the numbers, and sometimes not.
                let id = number * 2 + later;
                if fetched {
                    prop_assert_eq!(hearing.fetch(number, id), naive.fetch(number, id));
                } else {
                    hearing.hear(number, id);
                    naive.hear(number, id);
                }
                let highest = naive.had.last().copied().unwrap_or(0);
                prop_assert_eq!(hearing.missing(), highest - naive.had.len() as u64);
            }
            let lost = (1..=said).filter(|it| !naive.had.contains(it) && !doubtful.contains(it));
            let expected = verdict(lost.count() as u64, naive.repeated, naive.reordered);
            prop_assert_eq!(hearing.verdict(said, &doubtful), expected);
        }
    }
}
