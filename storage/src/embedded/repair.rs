//! Makes a new store from what is left of a damaged one. The damaged store stays as it is until the
//! new one is complete: its journals are copied without their unreadable parts, and every readable row
//! goes into a new store, which then takes the place of the old one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fjall::{Keyspace, PersistMode, Readable, Snapshot};
use pabal_core::model::{ChannelId, MessageId};

use super::chain::{self, ChainRow, Reached};
use super::config::EmbeddedConfig;
use super::database::{Database, ReadError};
use super::error::OpenError;
use super::findings::Findings;
use super::folder::{self, Recorded};
use super::journal::{Batch, JournalReader, Next};
use super::look::journals;
use super::mirror;
use super::verify::hold;
use crate::mark;

/// What a repair kept and what is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Messages in the new store.
    pub messages: u64,
    /// Acknowledged messages that are gone, as far as the chain tells.
    pub lost_messages: u64,
    /// What is gone, and where it was.
    pub findings: Findings,
}

/// Replaces the damaged store in `folder`, of which the caller has a copy, by one with every row that
/// can be read. `partitions` counts if the store does not say its number. Blocks on the disk.
///
/// # Errors
/// [`OpenError`]: the store is in use, the file system failed, or the tables cannot be opened at all:
/// restore a backup. The store is then as it was.
pub fn repair(folder: &Path, partitions: u16) -> Result<RepairReport, OpenError> {
    let unavailable = |error| OpenError::unavailable(folder, error);
    let _held = hold(folder)?;
    let mut report = RepairReport::default();
    let recorded = match folder::recorded(folder) {
        Ok(Some(recorded)) => recorded,
        Ok(None) | Err(OpenError::Damaged { .. }) => {
            report.findings.wrong("history: pabal-store cannot be read; a new one is written");
            Recorded { partitions, secret: None }
        }
        Err(error) => return Err(error),
    };
    let (scratch, new) = (folder.join("look"), folder.with_extension("new"));
    mirror::remove(&scratch).and_then(|()| mirror::remove(&new)).map_err(unavailable)?;
    fs::create_dir(&scratch)
        .and_then(|()| mirror::database(&folder::database_path(folder), &scratch, None))
        .and_then(|()| keep_whole_batches(folder, &scratch, recorded, &mut report))
        .map_err(unavailable)?;
    let config = EmbeddedConfig { partitions: recorded.partitions, ..EmbeddedConfig::default() };
    // The rows of the chain, if there are any, say how far what is left reaches.
    let recorded = Recorded { secret: recorded.secret, ..recorded };
    let copied =
        Database::open_at(&scratch, folder, &config, Some(recorded)).and_then(|database| {
            copy_rows(&database, folder, &new, &config, marked(folder, recorded), &mut report)
        });
    mirror::remove(&scratch).map_err(unavailable)?;
    if let Err(error) = copied {
        mirror::remove(&new).map_err(unavailable)?;
        return Err(error);
    }
    swap(folder, &new).map_err(unavailable)?;
    Ok(report)
}

/// Puts the new store in the place of the old one.
fn swap(folder: &Path, new: &Path) -> io::Result<()> {
    let old = folder.with_extension("old");
    mirror::remove(&old)?;
    fs::rename(folder, &old)?;
    fs::rename(new, folder)?;
    if let Some(parent) = folder.parent() {
        File::open(parent)?.sync_all()?;
    }
    mirror::remove(&old)
}

/// Rewrites the journals in `scratch` with the whole batches of those in `folder`.
fn keep_whole_batches(
    folder: &Path,
    scratch: &Path,
    recorded: Recorded,
    report: &mut RepairReport,
) -> io::Result<()> {
    let mut last: Option<ChainRow> = None;
    let mut sequence = None;
    for journal in journals(&folder::database_path(folder))? {
        let (batches, broken) = whole_batches(&journal, recorded)?;
        let name = journal.file_name().unwrap_or_default();
        let (from, mut to) = (File::open(&journal)?, File::create(scratch.join(name))?);
        for batch in batches {
            if sequence.is_some_and(|before| before >= batch.sequence) {
                let at = batch.at;
                report
                    .findings
                    .wrong(format!("{}: batch at {at} is out of order", journal.display()));
                continue;
            }
            sequence = Some(batch.sequence);
            let mut bytes = vec![0; (batch.end - batch.at) as usize];
            from.read_exact_at(&mut bytes, batch.at)?;
            to.write_all(&bytes)?;
            note_gap(last, batch.chain, batch.messages, report);
            last = batch.chain.or(last);
        }
        to.sync_all()?;
        if let Some((at, bytes)) = broken {
            let legible = legible_ids(&bytes);
            report.findings.wrong(format!(
                "{} at byte {at}: {} bytes cannot be read{}",
                journal.display(),
                bytes.len(),
                named(&legible)
            ));
        }
    }
    if let (Some(marked), Some(row)) = (marked(folder, recorded), last) {
        let lost = marked.messages.saturating_sub(row.messages);
        if marked.counter > row.counter {
            report.lost_messages += lost;
            report.findings.wrong(format!(
                "batches {} to {} are gone, with {lost} acknowledged messages",
                row.counter + 1,
                marked.counter
            ));
        }
    }
    Ok(())
}

/// What the mark of the damaged store says, if it can be read.
fn marked(folder: &Path, recorded: Recorded) -> Option<Reached> {
    recorded.secret?;
    mark::read(&folder::mark_path(folder)).ok()?.as_ref().map(Reached::decode)
}

/// The whole batches of a journal, and its first unreadable part.
type Whole = (Vec<Batch>, Option<(u64, Vec<u8>)>);

fn whole_batches(journal: &Path, recorded: Recorded) -> io::Result<Whole> {
    let mut reader = JournalReader::open(journal, recorded.secret.unwrap_or_default())?;
    let mut batches = Vec::new();
    loop {
        match reader.next()? {
            Next::Batch(batch) => batches.push(batch),
            Next::End => return Ok((batches, None)),
            Next::Broken => break,
        }
    }
    let later = reader.later_batches(recorded.secret.is_some())?;
    let mut unreadable = reader.rest()?;
    if let Some(next) = later.first() {
        unreadable.truncate((next.at - reader.at()) as usize);
    }
    batches.extend(later);
    Ok((batches, Some((reader.at(), unreadable))))
}

/// Reports the batches that are missing between two.
fn note_gap(
    before: Option<ChainRow>,
    after: Option<ChainRow>,
    own_messages: u64,
    report: &mut RepairReport,
) {
    let (Some(before), Some(after)) = (before, after) else { return };
    if after.counter <= before.counter + 1 {
        return;
    }
    let lost = after.messages.saturating_sub(own_messages).saturating_sub(before.messages);
    report.lost_messages += lost;
    report.findings.wrong(format!(
        "batches {} to {} are gone, with {lost} acknowledged messages",
        before.counter + 1,
        after.counter - 1
    ));
}

/// The keys of messages that can still be read among the bytes of a broken batch.
fn legible_ids(bytes: &[u8]) -> Vec<(ChannelId, MessageId)> {
    // An item: tag 2, kind 0, compression, keyspace 8, key length 16, lengths, channel, message.
    let is_message = |item: &[u8]| {
        item[..2] == [2, 0] && item[2] <= 1 && item[4..11] == [0; 7] && item[11..13] == [16, 0]
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    let keys = bytes.windows(37).filter(|item| is_message(item) && item[3] == 1);
    let ids = keys.map(|item| (number(&item[21..29]), number(&item[29..37])));
    let ids = ids.filter(|&(channel, id)| channel < 1 << 63 && id < 1 << 63);
    ids.map(|(channel, id)| (ChannelId::new(channel), MessageId::new(id))).collect()
}

fn named(ids: &[(ChannelId, MessageId)]) -> String {
    if ids.is_empty() {
        return String::new();
    }
    let shown: Vec<_> =
        ids.iter().take(20).map(|(channel, id)| format!("{id} of channel {channel}")).collect();
    let more = if ids.len() > 20 { format!(" and {} more", ids.len() - 20) } else { String::new() };
    format!("; among them are messages {}{more}", shown.join(", "))
}

/// Copies every readable row into a new store in `to`.
fn copy_rows(
    from: &Database,
    folder: &Path,
    to: &Path,
    config: &EmbeddedConfig,
    marked: Option<Reached>,
    report: &mut RepairReport,
) -> Result<(), OpenError> {
    let damaged = |error: &dyn std::fmt::Display| OpenError::damaged(folder, error);
    let copy = Database::open(to, config)?;
    let durable = from.durable();
    let keyspaces = [
        (&from.messages, &copy.messages),
        (&from.positions, &copy.positions),
        (&from.sent, &copy.sent),
        (&from.push, &copy.push),
    ];
    for (from, to) in keyspaces {
        let rows = copy_keyspace(&durable, from, to, report).map_err(|error| damaged(&error))?;
        if from.name() == copy.messages.name() {
            report.messages = rows;
        }
    }
    copy.fjall.persist(PersistMode::SyncAll).map_err(|error| damaged(&error))?;
    copy.publish();
    let reached = Reached::of(&copy).map_err(|error| damaged(&error))?;
    drop(copy);
    // Exact in a store that had a chain from its first batch on; in an older one, which has more
    // messages than the chain counts, the gaps say it.
    let counted = marked.map_or(0, |marked| marked.messages).max(reached.messages);
    report.lost_messages = report.lost_messages.max(counted.saturating_sub(report.messages));
    mark::create(&folder::mark_path(to), &reached.encode())
        .and_then(|()| super::export::sync_folders(to))
        .map_err(|error| OpenError::unavailable(folder, error))
}

/// Copies the rows of a keyspace, and steps over those that cannot be read. Returns the number of
/// rows, without that of the chain.
fn copy_keyspace(
    durable: &Snapshot,
    from: &Keyspace,
    to: &Keyspace,
    report: &mut RepairReport,
) -> Result<u64, ReadError> {
    let (mut rows, mut tables) = (0, None);
    let mut start: Bound<Vec<u8>> = Bound::Unbounded;
    let mut step = 1_u128;
    'ranges: loop {
        let mut last: Option<Vec<u8>> = None;
        for row in durable.range::<Vec<u8>, _>(from, (start.clone(), Bound::Unbounded)) {
            let Ok((key, value)) = row.into_inner() else {
                let begin = match (&last, &start) {
                    (Some(last), _) => last.clone(),
                    (None, Bound::Included(from)) => from.clone(),
                    _ => vec![0; 16],
                };
                if step == 1 {
                    let name = from.name();
                    let what = format!("rows of {name} after {begin:02x?} cannot be read");
                    report.findings.wrong(what);
                }
                let Some(next) = above(&begin, step) else { break 'ranges };
                step = step.saturating_mul(2);
                start = Bound::Included(next);
                continue 'ranges;
            };
            let tables = match &mut tables {
                Some(tables) => tables,
                none => none.insert(to.start_ingestion()?),
            };
            rows += u64::from(*key != chain::KEY);
            last = Some(key.to_vec());
            step = 1;
            tables.write(key, value)?;
        }
        break;
    }
    if let Some(tables) = tables {
        tables.finish()?;
    }
    Ok(rows)
}

/// The key that lies `step` above `key`, as a number of the same length.
fn above(key: &[u8], step: u128) -> Option<Vec<u8>> {
    let bytes = key.len().min(16);
    let number = key[..bytes].iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let next = number.checked_add(step)?;
    if bytes < 16 && next >> (8 * bytes) != 0 {
        return None;
    }
    Some(next.to_be_bytes()[16 - bytes..].to_vec())
}
