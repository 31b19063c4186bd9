//! Requests of HTTP/1 whose client has closed its side of the connection. A client may do that behind a
//! whole request and still read the response (RFC 9112 section 9.6), or it is gone: TCP does not tell one
//! from the other. So a request that needs no events is finished and its response written, and one that
//! waits for events ends. Waiting for a client that is gone would hold a session's reader and memory, and
//! an event that it gets is not lost: reading consumes nothing.

use std::sync::atomic::{AtomicU8, Ordering};

/// A request is in progress, so the end of the client's side is not yet reported to the reader of the
/// connection.
const HIDES: u8 = 1;
/// The end was there, and not reported.
const HIDDEN: u8 = 1 << 1;
/// The request waits for events.
const WAITS: u8 = 1 << 2;
/// The whole response was handed over for writing.
const HANDED_OVER: u8 = 1 << 3;

/// What the reader of a connection, its stream and the request in progress know of the client's end.
///
/// All of them run in the task of the connection, one after the other.
#[derive(Debug, Default)]
pub struct HalfClose(AtomicU8);

impl HalfClose {
    /// A request begins. `hides`: the reader of the connection would drop the request when it reads the end
    /// of the client's side, so it must not see it before the response is written.
    pub fn begin(&self, hides: bool) {
        self.0.store(if hides { HIDES } else { 0 }, Ordering::Relaxed);
    }

    /// From now on the request waits for events, and ends with the client's side.
    pub fn wait(&self) {
        if !self.has(WAITS) {
            self.0.fetch_or(WAITS, Ordering::Relaxed);
        }
    }

    /// Whether the request in progress ends with the client's side.
    pub fn waits(&self) -> bool {
        self.has(WAITS)
    }

    /// Whether the end is there and was not reported.
    pub fn is_hidden(&self) -> bool {
        self.has(HIDDEN)
    }

    /// Whether the reader must read again, because the request began to wait after the end was hidden. True
    /// once.
    pub fn must_report(&self) -> bool {
        let waits = self.has(WAITS);
        waits && self.0.fetch_and(!HIDDEN, Ordering::Relaxed) & HIDDEN != 0
    }

    /// The whole response was handed over. The end is reported when it is written.
    pub fn hand_over(&self) {
        self.0.fetch_or(HANDED_OVER, Ordering::Relaxed);
    }

    /// The end of the client's side was read. Returns whether to hide it.
    pub(crate) fn ended(&self) -> bool {
        let hides = self.has(HIDES) && !self.has(WAITS);
        if hides {
            self.0.fetch_or(HIDDEN, Ordering::Relaxed);
        }
        hides
    }

    /// Everything was written. Returns whether the reader must read again, to see the end.
    pub(crate) fn written(&self) -> bool {
        self.has(HANDED_OVER) && self.0.swap(0, Ordering::Relaxed) & HIDDEN != 0
    }

    fn has(&self, bit: u8) -> bool {
        self.0.load(Ordering::Relaxed) & bit != 0
    }
}
