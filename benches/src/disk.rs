//! The sync rate of the disk: one small write and one `fdatasync` after the other.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Outcome;

/// The sync rate of a disk.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct BareSync {
    /// The median time of one write and sync.
    pub median_us: f64,
    /// Writes and syncs a second, one at a time.
    pub per_second: f64,
}

/// Appends `bytes` to a file in `folder` and makes them durable, repeatedly for `span`.
///
/// # Errors
/// If the file cannot be written.
pub fn bare_sync(folder: &Path, bytes: usize, span: Duration) -> Outcome<BareSync> {
    let path = folder.join("bare-sync");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let record = vec![b'x'; bytes];
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < span {
        let one = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        times.push(one.elapsed());
    }
    let per_second = times.len() as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    times.sort_unstable();
    let median_us = times[times.len() / 2].as_secs_f64() * 1e6;
    Ok(BareSync { median_us, per_second })
}
