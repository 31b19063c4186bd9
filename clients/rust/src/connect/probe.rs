//! Trying better transports while another one delivers the events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;

use super::line::{Line, Reader};
use super::options::Transport;
use super::session::Session;
use crate::ids::Seq;

/// The number of the last event that was taken from the session. The driver advances it; a probe begins
/// there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Position(Arc<AtomicU64>);

impl Position {
    pub(crate) fn get(&self) -> Seq {
        Seq(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, seq: Seq) {
        self.0.store(seq.0, Ordering::Relaxed);
    }
}

/// An attempt with better transports: the first line that was established, if any.
pub(crate) type Probe = BoxFuture<'static, Option<(Transport, Line)>>;

/// Tries `transports` one after another until one of them is established.
pub(crate) fn probe(
    reader: Reader,
    session: Arc<Session>,
    transports: Vec<Transport>,
    position: Position,
) -> Probe {
    Box::pin(async move {
        for transport in transports {
            if let Ok(line) = Line::open(&reader, &session, transport, position.get()).await {
                return Some((transport, line));
            }
        }
        None
    })
}
