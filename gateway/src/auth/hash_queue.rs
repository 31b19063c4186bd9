//! Which call computes a password hash next. Log-ins and sign-ups wait in queues of their own, which take turns;
//! within a queue the addresses take turns. So neither sign-ups nor one busy address keep others waiting
//! for longer than their share.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pabal_transports::network;
use tokio::sync::oneshot;

/// What a hash is computed for; each purpose has a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To check a password.
    LogIn,
    /// To store a password.
    SignUp,
}

/// A bounded number of turns at a time, and bounded queues for them. Cloning is cheap; clones share both.
#[derive(Clone, Debug)]
pub(super) struct HashQueue(Arc<Mutex<Waiting>>);

/// The queue of a call is full, or a call of an address with fewer of them took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// The right to compute one hash. Dropping it passes it on.
#[derive(Debug)]
pub(super) struct Turn(Option<HashQueue>);

#[derive(Debug)]
struct Waiting {
    /// How many turns are not taken; none while a call waits.
    free: usize,
    /// The most calls in a queue.
    limit: usize,
    queues: [Queue; 2],
    /// The queue that is next, if it has a call.
    next: usize,
}

#[derive(Debug, Default)]
struct Queue {
    /// The addresses with waiting calls, the next one first.
    turns: VecDeque<IpAddr>,
    calls: HashMap<IpAddr, VecDeque<oneshot::Sender<Turn>>>,
    count: usize,
}

impl HashQueue {
    /// Gives `turns` at a time, while up to `limit` calls wait for each purpose.
    pub(super) fn new(turns: usize, limit: usize) -> Self {
        let queues = [Queue::default(), Queue::default()];
        Self(Arc::new(Mutex::new(Waiting { free: turns, limit, queues, next: 0 })))
    }

    /// Waits for a turn. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`Busy`]; a retry may succeed later.
    pub(super) async fn turn(&self, purpose: Purpose, address: IpAddr) -> Result<Turn, Busy> {
        let turn = {
            let mut waiting = self.lock();
            if waiting.free > 0 {
                waiting.free -= 1;
                return Ok(Turn(Some(self.clone())));
            }
            let limit = waiting.limit;
            waiting.queues[purpose as usize].push(network(address), limit)?
        };
        // The sender is dropped if the call loses its place.
        turn.await.map_err(|_| Busy)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(queue) = self.0.take() else { return };
        loop {
            let call = queue.lock().next_or_free();
            let Some(call) = call else { return };
            // Without the lock: a call that left meanwhile returns the turn.
            match call.send(Self(Some(queue.clone()))) {
                Ok(()) => return,
                Err(mut unused) => unused.0 = None,
            }
        }
    }
}

impl Waiting {
    /// Takes the next call from the queues; without one, the turn is free.
    fn next_or_free(&mut self) -> Option<oneshot::Sender<Turn>> {
        for queue in [self.next, 1 - self.next] {
            if let Some(call) = self.queues[queue].pop() {
                self.next = 1 - queue;
                return Some(call);
            }
        }
        self.free += 1;
        None
    }
}

impl Queue {
    fn push(&mut self, address: IpAddr, limit: usize) -> Result<oneshot::Receiver<Turn>, Busy> {
        if self.count >= limit {
            self.forget_left_calls();
        }
        if self.count >= limit {
            self.make_room(address)?;
        }
        let (call, turn) = oneshot::channel();
        let calls = self.calls.entry(address).or_default();
        if calls.is_empty() {
            self.turns.push_back(address);
        }
        calls.push_back(call);
        self.count += 1;
        Ok(turn)
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        let address = self.turns.pop_front()?;
        let calls = self.calls.get_mut(&address)?;
        let call = calls.pop_front();
        if calls.is_empty() {
            self.calls.remove(&address);
        } else {
            self.turns.push_back(address);
        }
        self.count -= 1;
        debug_assert!(call.is_some(), "an address has a turn while it has calls");
        call
    }

    fn forget_left_calls(&mut self) {
        self.calls.retain(|_, calls| {
            calls.retain(|call| !call.is_closed());
            !calls.is_empty()
        });
        self.turns.retain(|address| self.calls.contains_key(address));
        self.count = self.calls.values().map(VecDeque::len).sum();
    }

    /// Takes the place of the last call of the address that has the most, if that has at least two more
    /// than `address`.
    fn make_room(&mut self, address: IpAddr) -> Result<(), Busy> {
        let own = self.calls.get(&address).map_or(0, VecDeque::len);
        let most = self.calls.values_mut().max_by_key(|calls| calls.len());
        let most = most.filter(|calls| calls.len() > own + 1).ok_or(Busy)?;
        most.pop_back();
        self.count -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::{BoxFuture, join_all};

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// A call that waits.
    fn wait(
        queue: &HashQueue,
        purpose: Purpose,
        last: u8,
    ) -> BoxFuture<'static, Result<Turn, Busy>> {
        let queue = queue.clone();
        let mut call = async move { queue.turn(purpose, address(last)).await }.boxed();
        assert!((&mut call).now_or_never().is_none(), "waits");
        call
    }

    /// Whose turn it is: the index of the one call that is ready.
    fn served(calls: &mut Vec<BoxFuture<'static, Result<Turn, Busy>>>) -> (usize, Turn) {
        let ready = calls.iter_mut().enumerate().find_map(|(index, call)| {
            call.now_or_never().map(|turn| (index, turn.expect("a turn")))
        });
        let (index, turn) = ready.expect("a call is ready");
        calls[index] = std::future::pending().boxed();
        (index, turn)
    }

    /// The order in which waiting calls are served.
    fn order(turn: Turn, mut calls: Vec<BoxFuture<'static, Result<Turn, Busy>>>) -> Vec<usize> {
        let (mut order, mut turn) = (Vec::new(), turn);
        for _ in 0..calls.len() {
            drop(turn);
            let (index, next) = served(&mut calls);
            order.push(index);
            turn = next;
        }
        order
    }

    #[tokio::test]
    async fn purposes_and_addresses_take_turns() {
        let queue = HashQueue::new(1, 8);
        let turn = queue.turn(Purpose::LogIn, address(1)).await.expect("free");
        let calls = [
            (Purpose::SignUp, 1),
            (Purpose::SignUp, 1),
            (Purpose::SignUp, 1),
            (Purpose::SignUp, 2),
            (Purpose::LogIn, 3),
            (Purpose::LogIn, 3),
            (Purpose::LogIn, 4),
        ];
        let calls = calls.map(|(purpose, last)| wait(&queue, purpose, last));
        assert_eq!(order(turn, calls.into()), [4, 0, 6, 3, 5, 1, 2]);
        assert!(queue.turn(Purpose::SignUp, address(9)).await.is_ok(), "the turn came back");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_the_address_that_fills_it_and_not_another() {
        let queue = HashQueue::new(1, 3);
        let turn = queue.turn(Purpose::SignUp, address(1)).await.expect("free");
        let mut calls: Vec<_> = (0..3).map(|_| wait(&queue, Purpose::SignUp, 1)).collect();
        let refused = queue.turn(Purpose::SignUp, address(1)).now_or_never();
        assert!(matches!(refused, Some(Err(Busy))));
        calls.push(wait(&queue, Purpose::SignUp, 2));
        assert!(matches!((&mut calls[2]).now_or_never(), Some(Err(Busy))), "lost its place");
        drop(calls.remove(2));
        // The other queue has places of its own.
        calls.extend((0..3).map(|_| wait(&queue, Purpose::LogIn, 1)));
        let third = queue.turn(Purpose::SignUp, address(2)).now_or_never();
        assert!(matches!(third, Some(Err(Busy))), "no address has many more");
        assert_eq!(order(turn, calls).len(), 6);
    }

    #[tokio::test]
    async fn calls_that_left_hold_neither_places_nor_turns() {
        let queue = HashQueue::new(1, 2);
        let turn = queue.turn(Purpose::LogIn, address(1)).await.expect("free");
        for last in 0..100 {
            drop(wait(&queue, Purpose::LogIn, last));
        }
        let stays = wait(&queue, Purpose::LogIn, 100);
        drop(turn);
        drop(stays.await.expect("a turn"));
        assert!(queue.turn(Purpose::LogIn, address(1)).await.is_ok());
    }

    #[tokio::test]
    async fn as_many_turns_as_there_are_run_at_a_time() {
        let queue = HashQueue::new(2, 8);
        let turns = join_all((0..2).map(|_| queue.turn(Purpose::LogIn, address(1)))).await;
        let third = wait(&queue, Purpose::LogIn, 1);
        drop(turns);
        assert!(third.await.is_ok());
    }
}
