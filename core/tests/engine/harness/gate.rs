//! A door in a port: calls stand in front of it while it is shut. Owns no port.

use tokio::sync::watch;

/// A door that is open until a test shuts it.
pub(crate) struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::channel(true).0)
    }
}

impl Gate {
    /// From now on calls wait here.
    pub(crate) fn shut(&self) {
        self.0.send_replace(false);
    }

    /// All that wait go on.
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    /// Goes through, at once or when the gate is opened.
    pub(crate) async fn pass(&self) {
        if !*self.0.borrow() {
            let mut state = self.0.subscribe();
            state.wait_for(|open| *open).await.expect("the gate is here");
        }
    }

    /// How many calls stand in front of it.
    pub(crate) fn waiting(&self) -> usize {
        self.0.receiver_count()
    }
}
