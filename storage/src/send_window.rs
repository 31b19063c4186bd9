//! The window within which a repeated send is recognised. Owns the rule only; send keys are stored by
//! the history adapters.

use pabal_core::model::MessageId;
use pabal_core::ports::SEND_KEY_WINDOW;

/// Whether a send stored as `first` makes a send with the id `later` a repeat. The times come from
/// the ids, so two owners and a replay decide the same, independent of their clocks.
pub(crate) fn within_window(first: MessageId, later: MessageId) -> bool {
    later.created_at().since(first.created_at()) <= SEND_KEY_WINDOW
}
