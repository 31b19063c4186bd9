//! The look at a store before it is opened. fjall repairs a journal when it opens it, which after
//! bit rot removes both acknowledged messages and the evidence. This module decides from the journals
//! and the mark whether the store is whole, torn by a crash, or damaged; it changes nothing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::chain::ChainRow;
use super::database::what_to_do;
use super::error::OpenError;
use super::journal::{Batch, JournalReader, Next};

/// The most torn writes that are kept aside.
const KEPT_TORN_WRITES: usize = 8;

/// What the journals of a store hold.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The last whole batch with a chain.
    pub(super) last: Option<ChainRow>,
    /// The write that a crash has torn, after everything that was acknowledged.
    pub(super) torn: Option<Torn>,
}

/// The incomplete end of a journal.
#[derive(Debug)]
pub(super) struct Torn {
    pub(super) journal: PathBuf,
    /// The offset after the last whole batch.
    pub(super) at: u64,
    /// The bytes from there on, without zeros at the end.
    pub(super) bytes: Vec<u8>,
}

/// Why a store must not be opened.
#[derive(Debug)]
pub(super) enum LookError {
    /// The disk failed.
    Io(io::Error),
    /// Acknowledged batches are missing or unreadable.
    Damaged(Damage),
}

/// A damaged place.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) file: PathBuf,
    pub(super) at: u64,
    pub(super) what: String,
}

impl Damage {
    /// The error of the store in `folder`.
    pub(super) fn error(&self, folder: &Path) -> OpenError {
        let Self { file, at, what } = self;
        let reason = format!("{} at byte {at}: {what}; {}", file.display(), what_to_do(folder));
        OpenError::damaged(folder, reason)
    }
}

impl From<io::Error> for LookError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The journals of a database, oldest first.
pub(super) fn journals(database: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Looks at the journals in `database`, of a store whose acknowledged batches reach to `mark`; 0 if it
/// has no mark. What the tables hold is not looked at: if no journal has a batch, `last` is absent,
/// and the tables decide.
pub(super) fn look(database: &Path, secret: u64, mark: u64) -> Result<Look, LookError> {
    let mut walk = Walk { secret, mark, last: None, sequence: None, plain: false, broken: None };
    for path in journals(database)? {
        walk.journal(&path)?;
    }
    let Walk { last, broken, .. } = walk;
    if let Some(row) = last
        && row.counter < mark
    {
        let lost = mark - row.counter;
        let (file, at) = match broken {
            Some(torn) => (torn.journal, torn.at),
            None => walk_end(database)?,
        };
        let what = missing(lost);
        return Err(LookError::Damaged(Damage { file, at, what }));
    }
    Ok(Look { last, torn: broken })
}

fn missing(batches: u64) -> String {
    format!("{batches} acknowledged batches that were written after it are missing")
}

/// The end of what is written in the last journal.
fn walk_end(database: &Path) -> io::Result<(PathBuf, u64)> {
    let Some(path) = journals(database)?.pop() else { return Ok((database.to_owned(), 0)) };
    let mut reader = JournalReader::open(&path, 0)?;
    let bytes = reader.rest()?.len() as u64;
    Ok((path, bytes))
}

/// The walk through all journals.
struct Walk {
    secret: u64,
    mark: u64,
    last: Option<ChainRow>,
    sequence: Option<u64>,
    /// A batch without a chain was seen, of a release that wrote none.
    plain: bool,
    /// The incomplete end of the last journal that was read.
    broken: Option<Torn>,
}

impl Walk {
    fn journal(&mut self, path: &Path) -> Result<(), LookError> {
        let mut reader = JournalReader::open(path, self.secret)?;
        let mut first = true;
        loop {
            match reader.next()? {
                Next::Batch(batch) => {
                    self.follow(path, &batch)?;
                    if first {
                        // What was incomplete before it is followed by all that belongs there.
                        self.broken = None;
                        first = false;
                    }
                }
                Next::End => return Ok(()),
                Next::Broken => break,
            }
        }
        let later = reader.later_batches(self.last.is_some() || self.mark > 0)?;
        let next = self.last.map_or(0, |row| row.counter);
        let later = later.iter().filter(|it| it.chain.is_none_or(|row| row.counter > next)).count();
        let (file, at) = (path.to_owned(), reader.at());
        if later > 0 {
            let what = format!("what follows cannot be read, but {later} whole batches come later");
            return Err(LookError::Damaged(Damage { file, at, what }));
        }
        self.broken = Some(Torn { journal: file, at, bytes: reader.rest()? });
        Ok(())
    }

    /// Checks that `batch` is the next one.
    fn follow(&mut self, path: &Path, batch: &Batch) -> Result<(), LookError> {
        let wrong = |what: String| {
            let (file, at) = (path.to_owned(), batch.at);
            Err(LookError::Damaged(Damage { file, at, what }))
        };
        if self.sequence.is_some_and(|before| before >= batch.sequence) {
            return wrong("its sequence number is not above that of the batch before".into());
        }
        self.sequence = Some(batch.sequence);
        match (self.last, batch.chain) {
            (Some(before), Some(row)) => {
                let expected = before.counter + 1;
                if row.counter != expected || row.before != before.link {
                    let found = row.counter;
                    return wrong(format!("batch {expected} is missing: batch {found} is here"));
                }
            }
            (Some(_), None) => return wrong("the batch is not part of the chain".into()),
            (None, Some(row)) => {
                if self.plain && row.counter != 1 {
                    return wrong(format!("batches before batch {} are missing", row.counter));
                }
            }
            (None, None) => self.plain = true,
        }
        self.last = batch.chain.or(self.last);
        Ok(())
    }
}

impl Torn {
    /// The damage, if acknowledged batches are among what cannot be read.
    pub(super) fn damage(&self, lost: u64) -> Damage {
        Damage { file: self.journal.clone(), at: self.at, what: missing(lost) }
    }

    /// Keeps the bytes in `aside`, and ends the journal before them. fjall does the latter too, but
    /// refuses a batch that is complete and has a wrong checksum.
    pub(super) fn cut(&self, aside: &Path) -> io::Result<()> {
        fs::create_dir_all(aside)?;
        let name = self.journal.file_name().unwrap_or_default().display().to_string();
        let mut kept: Vec<PathBuf> =
            fs::read_dir(aside)?.map(|it| Ok(it?.path())).collect::<io::Result<_>>()?;
        kept.sort();
        for old in kept.iter().take((kept.len() + 1).saturating_sub(KEPT_TORN_WRITES)) {
            fs::remove_file(old)?;
        }
        let mut copy = File::create(aside.join(format!("{name}-{}", self.at)))?;
        copy.write_all(&self.bytes)?;
        copy.sync_all()?;
        let journal = File::options().write(true).open(&self.journal)?;
        journal.set_len(self.at)?;
        journal.sync_all()
    }
}
