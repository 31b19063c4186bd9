//! The trace of one message: its spans, from task to task, for a collector that shows where time goes.

use tracing::Span;

/// The parent span of a message. It accompanies the message from acceptance to delivery, and each
/// stage begins a span below it.
///
/// A trace is no part of the message, so all traces are equal. Without a collector for the target
/// [`TARGET`] it is empty, and costs one check of a flag. An adapter whose entries leave the process
/// may drop it: the later stages then have no span.
///
/// Spans hold ids only, never content.
#[derive(Clone, Debug)]
pub struct Trace(Span);

/// The target of all spans of a message. Their level is `TRACE`.
pub const TARGET: &str = "pabal::message";

/// A stage on the way of a message, as traces name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Checks whether the user may send the message.
    Authorize,
    /// Assigns the id and appends to the log.
    Sequence,
    /// Makes the message durable.
    Store,
    /// Sends the message to the interested nodes.
    Route,
    /// Appends the message to the mailboxes of a node.
    Deliver,
}

impl Default for Trace {
    fn default() -> Self {
        Self(Span::none())
    }
}

impl PartialEq for Trace {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Trace {}

impl Trace {
    /// Begins the trace of a message. It ends when its last clone is dropped.
    pub fn begin() -> Self {
        Self(tracing::trace_span!(
            target: TARGET,
            parent: None,
            "message",
            channel_id = tracing::field::Empty,
            message_id = tracing::field::Empty,
        ))
    }

    /// Records the ids of the message, once they are known.
    pub(crate) fn identify(&self, channel_id: impl std::fmt::Display, id: impl std::fmt::Display) {
        if !self.0.is_disabled() {
            self.0.record("channel_id", tracing::field::display(channel_id));
            self.0.record("message_id", tracing::field::display(id));
        }
    }

    /// The span of a stage. The stage lasts until the span is dropped.
    pub fn stage(&self, stage: Stage) -> Span {
        if self.0.is_disabled() {
            return Span::none();
        }
        let parent = &self.0;
        match stage {
            Stage::Authorize => tracing::trace_span!(target: TARGET, parent: parent, "authorize"),
            Stage::Sequence => tracing::trace_span!(target: TARGET, parent: parent, "sequence"),
            Stage::Store => tracing::trace_span!(target: TARGET, parent: parent, "store"),
            Stage::Route => tracing::trace_span!(target: TARGET, parent: parent, "route"),
            Stage::Deliver => tracing::trace_span!(target: TARGET, parent: parent, "deliver"),
        }
    }

    /// The spans of a stage for messages that pass it together. Empty without a collector.
    pub fn stages<'a>(traces: impl Iterator<Item = &'a Self>, stage: Stage) -> Vec<Span> {
        let traced = traces.filter(|trace| !trace.0.is_disabled());
        traced.map(|trace| trace.stage(stage)).collect()
    }
}
