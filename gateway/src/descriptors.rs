//! File descriptors: connections and stores both use them. Connections must leave enough for the
//! stores (invariant I7: everything is bounded).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors reserved for the stores, listeners and outgoing connections of the node.
const RESERVED: u64 = 512;

/// Raises the soft limit of open files to the hard limit, and returns how many connections fit
/// beside the reserved descriptors, at most `wanted`.
pub(crate) fn for_connections(wanted: usize) -> usize {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, ..before };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit of open files");
            before.current
        }
    };
    let allowed = within(limit, wanted);
    if allowed < wanted {
        tracing::warn!(
            wanted,
            allowed,
            "the limit of open files allows fewer connections than server.max_connections"
        );
    }
    allowed
}

/// The part of `wanted` that fits below `limit` beside the reserved descriptors; at least half of a
/// small limit.
fn within(limit: Option<u64>, wanted: usize) -> usize {
    let Some(limit) = limit else {
        return wanted;
    };
    let free = limit.saturating_sub(RESERVED).max(limit / 2);
    wanted.min(usize::try_from(free).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_stores() {
        assert_eq!(within(None, 100_000), 100_000);
        assert_eq!(within(Some(20_000), 100_000), 19_488);
        assert_eq!(within(Some(1 << 20), 100_000), 100_000);
        assert_eq!(within(Some(256), 100_000), 128);
    }

    #[test]
    fn the_limit_is_raised_and_never_lowered() {
        let before = getrlimit(Resource::Nofile);
        assert!(for_connections(10) <= 10);
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.maximum, before.maximum);
        assert!(after.current >= before.current || after.current.is_none());
    }
}
