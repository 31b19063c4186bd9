//! The trace of one message: what follows it from task to task, for whoever watches where time goes.

use tracing::Span;

/// Goes with a message from acceptance to delivery, beside it: the parent of a span for each stage.
///
/// It is no part of what is said, so all traces are equal. If nobody collects spans of the target
/// [`TARGET`], it is nothing, and costs a look at a flag. An adapter whose entries leave the process
/// may let go of it: the stages behind then have no span.
///
/// Spans hold ids and nothing else, never what was said.
#[derive(Clone, Debug)]
pub struct Trace(Span);

/// The target of all spans of a message. They are of level `TRACE`.
pub const TARGET: &str = "pabal::message";

/// What happens to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// May it be said?
    Authorize,
    /// It gets its id and its place in the log.
    Sequence,
    /// It becomes durable.
    Store,
    /// It goes to the nodes that want it.
    Route,
    /// A node hands it to its sessions.
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

    /// Which message it is, once that is known.
    pub(crate) fn identify(&self, channel_id: impl std::fmt::Display, id: impl std::fmt::Display) {
        if !self.0.is_disabled() {
            self.0.record("channel_id", tracing::field::display(channel_id));
            self.0.record("message_id", tracing::field::display(id));
        }
    }

    /// The span of a stage. The stage lasts until it is dropped.
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

    /// The spans of a stage that many messages go through together; none if nobody collects them.
    pub fn stages<'a>(traces: impl Iterator<Item = &'a Self>, stage: Stage) -> Vec<Span> {
        let traced = traces.filter(|trace| !trace.0.is_disabled());
        traced.map(|trace| trace.stage(stage)).collect()
    }
}
