//! Looks at the file of a directory and its write-ahead log before SQLite opens them, and changes
//! nothing. SQLite takes the first invalid frame for the end of the log. After a crash that is
//! correct; after bit rot it silently loses the changes after it.
//!
//! The format is the one of <https://www.sqlite.org/fileformat2.html#walformat>: a header of 32 bytes,
//! then frames: page number 4, size of the database after a commit 4 (else 0), salts 8, checksums 8,
//! the page. A checksum continues that of the frame before. Frames with other salts are left over
//! from an earlier round of the log.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Where the header of a database, on its first page, has `user_version`.
const USER_VERSION: usize = 60;

/// What the file and its log hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WalLook {
    /// The number of the last change, from `user_version`; 0 in a new file.
    pub(super) change: u32,
    /// Where the log ends in the middle of a change, as after a crash.
    pub(super) torn_at: Option<u64>,
}

/// Changes that were committed cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WalDamage {
    /// The offset of the frame.
    pub(super) at: u64,
    /// How many whole frames of later changes follow.
    pub(super) later: usize,
}

/// The write-ahead log of the database at `path`.
pub(super) fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Looks at the database at `path`; absent if there is none.
pub(super) fn look(path: &Path) -> io::Result<Option<Result<WalLook, WalDamage>>> {
    let Some(change) = user_version(path)? else { return Ok(None) };
    let found = WalLook { change, torn_at: None };
    match File::open(log_of(path)) {
        Ok(file) => Walk::over(file, found).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Ok(found))),
        Err(error) => Err(error),
    }
}

/// `user_version` of the file without its log; absent if there is no file or it is empty.
fn user_version(path: &Path) -> io::Result<Option<u32>> {
    let mut field = [0; 4];
    let read = File::open(path).and_then(|file| match file.metadata()?.len() {
        0 => Ok(false),
        _ => file.read_exact_at(&mut field, USER_VERSION as u64).map(|()| true),
    });
    match read {
        Ok(true) => Ok(Some(u32::from_be_bytes(field))),
        Ok(false) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // SQLite says that this is no database.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
        Err(error) => Err(error),
    }
}

/// The checksum of the write-ahead log, over words in the byte order that its header names.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sum {
    one: u32,
    two: u32,
}

impl Sum {
    fn over(self, bytes: &[u8], big_endian: bool) -> Self {
        let word = |bytes: &[u8]| {
            let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
            if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let Self { mut one, mut two } = self;
        for pair in bytes.chunks_exact(8) {
            one = one.wrapping_add(word(&pair[..4])).wrapping_add(two);
            two = two.wrapping_add(word(&pair[4..])).wrapping_add(one);
        }
        Self { one, two }
    }

    fn stored(bytes: &[u8]) -> Self {
        Self { one: big_endian(&bytes[..4]), two: big_endian(&bytes[4..8]) }
    }
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

/// The walk over the frames of a log.
struct Walk {
    found: WalLook,
    /// `user_version` of the change that is being read.
    pending: Option<u32>,
    broken: Option<Broken>,
}

/// The first frame that SQLite does not read.
struct Broken {
    at: u64,
    /// Its change ends, with a frame that says so; whole frames from there on are of later changes.
    change_ended: bool,
    later: usize,
    torn: bool,
}

impl Walk {
    fn over(file: File, found: WalLook) -> io::Result<Result<WalLook, WalDamage>> {
        let mut log = BufReader::with_capacity(256 << 10, file);
        let mut header = [0; HEADER_BYTES];
        if !read_whole(&mut log, &mut header)? {
            return Ok(Ok(found));
        }
        let big = header[3] & 1 == 1;
        let mut sum = Sum { one: 0, two: 0 }.over(&header[..24], big);
        let page_bytes = big_endian(&header[8..12]) as usize;
        let valid = header[..3] == [0x37, 0x7f, 0x06]
            && header[3] & !1 == 0x82
            && sum == Sum::stored(&header[24..])
            && (512..=65_536).contains(&page_bytes);
        if !valid {
            // SQLite ignores the log. What it held is then behind the mark.
            return Ok(Ok(WalLook { torn_at: Some(0), ..found }));
        }
        let salts = &header[16..24];
        let mut walk = Self { found, pending: None, broken: None };
        let mut at = HEADER_BYTES as u64;
        let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
        while read_whole(&mut log, &mut frame)? {
            let expected = sum.over(&frame[..8], big).over(&frame[FRAME_HEADER_BYTES..], big);
            sum = Sum::stored(&frame[16..24]);
            let this_round = frame[8..16] == *salts;
            walk.frame(at, &frame, this_round, expected == sum);
            at += frame.len() as u64;
        }
        Ok(walk.end())
    }

    fn frame(&mut self, at: u64, frame: &[u8], this_round: bool, whole: bool) {
        let ends_change = big_endian(&frame[4..8]) != 0;
        let Some(broken) = &mut self.broken else {
            if !this_round || !whole {
                let torn = this_round;
                let change_ended = ends_change && this_round;
                self.broken = Some(Broken { at, change_ended, later: 0, torn });
                return;
            }
            if big_endian(&frame[..4]) == 1 {
                let at = FRAME_HEADER_BYTES + USER_VERSION;
                self.pending = Some(big_endian(&frame[at..at + 4]));
            }
            if ends_change {
                self.found.change = self.pending.take().unwrap_or(self.found.change);
            }
            return;
        };
        if this_round {
            broken.torn = true;
            if broken.change_ended && whole {
                broken.later += 1;
            }
            broken.change_ended |= ends_change;
        }
    }

    fn end(self) -> Result<WalLook, WalDamage> {
        match self.broken {
            // A later change is written only once the one before is durable.
            Some(Broken { at, later, .. }) if later > 0 => Err(WalDamage { at, later }),
            Some(Broken { at, torn: true, .. }) => Ok(WalLook { torn_at: Some(at), ..self.found }),
            _ => Ok(self.found),
        }
    }
}

/// Fills `bytes`; false at the end of the log.
fn read_whole(log: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
