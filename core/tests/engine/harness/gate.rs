//! A gate in a port: calls wait at it while it is closed.

use tokio::sync::watch;

/// A gate that is open until a test closes it.
pub(crate) struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::channel(true).0)
    }
}

impl Gate {
    /// From now on calls wait here.
    pub(crate) fn close(&self) {
        self.0.send_replace(false);
    }

    /// The waiting calls continue.
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    /// Returns when the gate is open.
    pub(crate) async fn pass(&self) {
        if !*self.0.borrow() {
            let mut state = self.0.subscribe();
            state.wait_for(|open| *open).await.expect("the gate exists");
        }
    }

    /// How many calls wait at it.
    pub(crate) fn waiting(&self) -> usize {
        self.0.receiver_count()
    }
}
