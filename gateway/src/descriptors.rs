//! File descriptors: every connection needs one, and so do the stores. Connections must never take
//! those of the stores (invariant I7: everything is bounded).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is left to the stores, listeners and clients of the node itself.
const RESERVED: u64 = 512;

/// Raises the process's limit as far as it may itself, and answers how many connections, at most
/// `wanted`, leave the stores what they need.
pub(crate) fn for_connections(wanted: usize) -> usize {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, ..before };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            before.current
        }
    };
    let held = within(limit, wanted);
    if held < wanted {
        tracing::warn!(
            wanted,
            held,
            "the limit of open files allows fewer connections than server.max_connections"
        );
    }
    held
}

/// As many of `wanted` as fit below `limit`; half of it where it is too small to reserve from.
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
    fn the_stores_keep_theirs() {
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
