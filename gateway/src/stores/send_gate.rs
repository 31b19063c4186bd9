//! Refuses sends while they cannot be kept safely: the files of the data folder are gone, the disk is
//! nearly full, or the clock has jumped. A refused send is `unavailable`, and nothing of it is written.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pabal_core::model::{Draft, MessageId, Partition};
use pabal_core::ports::{BoxFuture, LogEntry, LogError, MessageLog, Origin, Sequenced};

use super::clock_guard::ClockGuard;

/// Why sends are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The files of the data folder are gone or replaced.
    Folder,
    /// Too little space is left.
    Space,
    /// The clock has jumped.
    Clock,
}

impl Cause {
    const ALL: [Self; 3] = [Self::Folder, Self::Space, Self::Clock];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Whether sends are accepted. Open at first; clones share the state. A look at an open gate costs one
/// load.
#[derive(Clone, Debug, Default)]
pub struct SendGate(Arc<State>);

#[derive(Debug, Default)]
struct State {
    closed: AtomicU8,
    reasons: Mutex<[String; 3]>,
}

impl SendGate {
    /// Records whether `cause` prevents sends, and logs it when that changes.
    pub(crate) fn set(&self, cause: Cause, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                if self.0.closed.load(Ordering::Acquire) & cause.bit() == 0 {
                    return;
                }
                let before = self.0.closed.fetch_and(!cause.bit(), Ordering::AcqRel);
                if before & cause.bit() != 0 {
                    tracing::info!(?cause, "the cause for refusing sends is gone");
                }
            }
            Err(reason) => {
                let mut reasons = self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner);
                let before = self.0.closed.fetch_or(cause.bit(), Ordering::AcqRel);
                if before & cause.bit() == 0 {
                    tracing::error!(%reason, "sends are refused; reading goes on");
                }
                reasons[cause as usize] = reason;
            }
        }
    }

    /// Why sends are refused because of `cause`, if they are.
    pub(crate) fn closed_by(&self, cause: Cause) -> Option<String> {
        if self.0.closed.load(Ordering::Acquire) & cause.bit() == 0 {
            return None;
        }
        let reasons = self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        Some(reasons[cause as usize].clone())
    }

    /// Why the node cannot change anything: the files of its data folder are gone.
    pub(crate) fn folder_gone(&self) -> Option<String> {
        self.closed_by(Cause::Folder)
    }

    fn check(&self) -> Result<(), LogError> {
        if self.0.closed.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        match Cause::ALL.into_iter().find_map(|cause| self.closed_by(cause)) {
            Some(reason) => Err(LogError::Unavailable(reason)),
            None => Ok(()),
        }
    }
}

/// A log that accepts nothing while the gate is closed. Everything else passes.
pub(crate) struct GatedLog {
    pub(crate) log: Arc<dyn MessageLog>,
    pub(crate) gate: SendGate,
    pub(crate) clock: ClockGuard,
}

impl MessageLog for GatedLog {
    fn append(
        &self,
        partition: Partition,
        floor: MessageId,
        draft: Draft,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Sequenced, LogError>> {
        // Right before the id is assigned: a look every second would let ids of a wrong time pass.
        self.clock.check();
        match self.gate.check() {
            Ok(()) => self.log.append(partition, floor, draft, origin),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn read(
        &self,
        partition: Partition,
        after: MessageId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        self.log.read(partition, after, limit)
    }

    fn raise(
        &self,
        partition: Partition,
        stored: MessageId,
    ) -> BoxFuture<'_, Result<(), LogError>> {
        self.log.raise(partition, stored)
    }

    fn trim(&self, partition: Partition, stored: MessageId) -> BoxFuture<'_, Result<(), LogError>> {
        self.log.trim(partition, stored)
    }
}
