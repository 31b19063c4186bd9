//! Expiry of old send keys. Owns the compaction filter; the stage records send keys.
//!
//! A look-up compares ids and ignores an expired row of `sent`. The row is deleted when its table
//! is merged, which happens continuously while writing: no tombstones, no scans and no second
//! index, at the cost of comparing two numbers for each row. Expired rows remain in the memtable
//! and in the part of the lowest level that no merge has reached.

use std::sync::Arc;

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};

use super::positions::StoredPositions;
use crate::codec;

/// Deletes send keys that have left the window.
pub(super) struct ExpiredSendFilter(pub(super) Arc<StoredPositions>);

impl Factory for ExpiredSendFilter {
    fn name(&self) -> &str {
        "forget old sends"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl CompactionFilter for ExpiredSendFilter {
    fn filter_item(&mut self, row: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let first = codec::decode_id(&row.value()?);
        // An older row of the same key may become visible; it has expired too and is deleted the
        // same way. An undecodable row is kept, so that `pabal check` reports it.
        match first {
            Ok(first) if !self.0.still_known(first) => Ok(Verdict::Destroy),
            _ => Ok(Verdict::Keep),
        }
    }
}
