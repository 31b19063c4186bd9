//! How old sends are forgotten. Owns the rule; that a send is known at all, the stage sees to.
//!
//! A row of `sent` outlives its window by being nobody's business: a look-up that finds it compares
//! ids and takes it for gone. The row itself goes when its table is merged with others, which
//! writing does all the time: no tombstones, no scans, no second index, and the work is a
//! comparison of two numbers a row. What has expired and is still there is at most what the merges
//! have not come to: the memtable, and the part of the lowest level that nothing was merged into.

use std::sync::Arc;

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};

use super::{StoredPositions, codec};

/// Drops sends that have left the window.
pub(crate) struct ForgetOldSends(pub(crate) Arc<StoredPositions>);

impl Factory for ForgetOldSends {
    fn name(&self) -> &str {
        "forget old sends"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl CompactionFilter for ForgetOldSends {
    fn filter_item(&mut self, row: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let first = codec::decode_id(&row.value()?);
        // An older row of the same key may come to light: it has expired as well, and goes the same
        // way. What cannot be read stays, for `pabal check` to find.
        match first {
            Ok(first) if !self.0.still_known(first) => Ok(Verdict::Destroy),
            _ => Ok(Verdict::Keep),
        }
    }
}
