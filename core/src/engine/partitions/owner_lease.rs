//! For how long a node may go on as the owner of a partition.

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The owner's end of a lease.
#[derive(Clone, Debug)]
pub(in crate::engine) struct OwnerLease {
    /// By the monotonic clock of this process. The registry grants the lease for longer than that.
    ends: watch::Receiver<Instant>,
    handing_over: CancellationToken,
}

/// The other end: extends the lease, or ends it early.
#[derive(Debug)]
pub(super) struct LeaseControl {
    ends: watch::Sender<Instant>,
    handing_over: CancellationToken,
}

/// A lease that lasts until `ends`, unless it is extended.
pub(super) fn owner_lease(ends: Instant) -> (LeaseControl, OwnerLease) {
    let (sender, receiver) = watch::channel(ends);
    let handing_over = CancellationToken::new();
    let control = LeaseControl { ends: sender, handing_over: handing_over.clone() };
    (control, OwnerLease { ends: receiver, handing_over })
}

impl OwnerLease {
    /// Whether another node may own the partition by now.
    pub(in crate::engine) fn has_ended(&self) -> bool {
        Instant::now() >= *self.ends.borrow()
    }

    /// Completes when the partition goes to another node: the owner finishes its batch and takes no
    /// new one.
    pub(in crate::engine) async fn handing_over(&self) {
        self.handing_over.cancelled().await;
    }
}

impl LeaseControl {
    /// The registry extended the lease until `ends`.
    pub(super) fn extend(&self, ends: Instant) {
        debug_assert!(ends >= *self.ends.borrow(), "a renewal does not shorten a lease");
        self.ends.send_replace(ends);
    }

    /// The partition goes to another node.
    pub(super) fn hand_over(&self) {
        self.handing_over.cancel();
    }
}
