//! The bounds of a plan that this generator can carry out.

use pabal_cost::{Plan, Transport};

use crate::error::LoadError;
use crate::wire::STAMP_BYTES;

/// The longest content that a server takes.
const MOST_BYTES: usize = 16 * 1024;
/// As many sessions as a channel's users may have: 10,000 members, one of them the sender.
const LARGEST_GROUP: usize = 16 * 9_999;

/// Checks that the generator can carry out `plan`.
///
/// # Errors
/// [`LoadError::Plan`], with what to change. Do not retry.
pub(crate) fn check(plan: &Plan) -> Result<(), LoadError> {
    let wrong = |what: String| Err(LoadError::Plan(what));
    if plan.clients == 0 {
        return wrong("there must be at least one client of each transport".into());
    }
    if !(1..=LARGEST_GROUP).contains(&plan.group) {
        return wrong(format!("a channel has 1 to {LARGEST_GROUP} listeners"));
    }
    if !(STAMP_BYTES..=MOST_BYTES).contains(&plan.content_bytes) {
        return wrong(format!("a message has {STAMP_BYTES} to {MOST_BYTES} bytes"));
    }
    if !plan.per_minute.is_finite() || plan.per_minute < 0.0 {
        return wrong("the rate must be a number, 0 or more".into());
    }
    if let Transport::ShortPolling { every_ms: 0 } = plan.transport {
        return wrong("short polling needs an interval".into());
    }
    Ok(())
}
