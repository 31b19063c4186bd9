//! The mark of a store: a small file that says how far writes were acknowledged. It lives apart from
//! the data, so that damage to the data cannot hide what the data held.
//!
//! A mark is written by a thread of its own and may trail the data by [`PAUSE`] and one sync, together
//! at most 100 ms on a disk that syncs within 50 ms. No acknowledgement waits for it. The file has two
//! slots, written in turn: a write that tears, or a bit that flips, leaves the other one.
//!
//! ```text
//! slot 0 at 0, slot 1 at 4096:  "pabal-mark 1\n" 13 · generation 8 · payload 64 · checksum 8
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

/// What a mark says; its meaning belongs to the store.
pub(crate) type Payload = [u8; 64];

/// The pause between two writes of a mark. Half of what the mark may trail; the other half is for the
/// sync.
const PAUSE: Duration = Duration::from_millis(50);

const HEAD: &[u8; 13] = b"pabal-mark 1\n";
const SLOT_BYTES: usize = HEAD.len() + 8 + size_of::<Payload>() + 8;
/// The distance of the slots: a sector that cannot be read takes one of them at most.
const SLOT_DISTANCE: u64 = 4_096;

/// The newest slot of the mark at `path`; absent if there is no such file.
///
/// # Errors
/// `InvalidData` if no slot is readable; those of the operating system.
pub(crate) fn read(path: &Path) -> io::Result<Option<Payload>> {
    match File::open(path) {
        Ok(file) => match newest(&file)? {
            Some((_, payload)) => Ok(Some(payload)),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "no part of it is readable")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates or replaces the mark at `path`, durably.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn create(path: &Path, payload: &Payload) -> io::Result<()> {
    let unfinished = path.with_extension("mark.new");
    let mut content = vec![0; SLOT_DISTANCE as usize + SLOT_BYTES];
    content[..SLOT_BYTES].copy_from_slice(&slot(0, payload));
    content[SLOT_DISTANCE as usize..].copy_from_slice(&slot(1, payload));
    let mut file = File::create(&unfinished)?;
    file.write_all(&content)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn slot(generation: u64, payload: &Payload) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let (body, checksum) = slot.split_at_mut(SLOT_BYTES - 8);
    let mut rest: &mut [u8] = body;
    for part in [HEAD.as_slice(), &generation.to_be_bytes(), payload] {
        let (into, after) = rest.split_at_mut(part.len());
        into.copy_from_slice(part);
        rest = after;
    }
    checksum.copy_from_slice(&xxh3_64(body).to_be_bytes());
    slot
}

fn parse(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Payload)> {
    let (body, checksum) = slot.split_last_chunk()?;
    if xxh3_64(body) != u64::from_be_bytes(*checksum) {
        return None;
    }
    let (generation, payload) = body.strip_prefix(HEAD)?.split_first_chunk()?;
    Some((u64::from_be_bytes(*generation), payload.try_into().ok()?))
}

/// The readable slot with the highest generation.
fn newest(file: &File) -> io::Result<Option<(u64, Payload)>> {
    let mut found: Option<(u64, Payload)> = None;
    for number in 0..2 {
        let mut bytes = [0; SLOT_BYTES];
        match file.read_exact_at(&mut bytes, number * SLOT_DISTANCE) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        }
        if let Some(slot) = parse(&bytes)
            && found.is_none_or(|(generation, _)| generation < slot.0)
        {
            found = Some(slot);
        }
    }
    Ok(found)
}

/// Writes the mark of an open store. Dropping it writes the last note and ends the thread.
#[derive(Debug)]
pub(crate) struct Marker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    latest: Payload,
    /// `latest` is not in the file yet.
    noted: bool,
    /// The thread pauses between two writes; a note need not wake it.
    pausing: bool,
    stopping: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marker {
    /// Keeps the mark at `path`, which exists.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn start(path: PathBuf) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(&path)?;
        let state = State { latest: [0; 64], noted: false, pausing: false, stopping: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let keeper = Keeper { shared: Arc::clone(&shared), file, path, failing: false };
        let thread = thread::Builder::new().name("pabal-mark".into()).spawn(|| keeper.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Notes what is acknowledged from now on. Never waits for the disk.
    pub(crate) fn note(&self, payload: Payload) {
        let mut state = self.shared.lock();
        state.latest = payload;
        state.noted = true;
        if !state.pausing {
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread leaves an older mark, which is valid.
            drop(thread.join());
        }
    }
}

/// The thread of a mark.
struct Keeper {
    shared: Arc<Shared>,
    file: File,
    path: PathBuf,
    failing: bool,
}

impl Keeper {
    fn run(mut self) {
        while let Some(payload) = self.next() {
            let written = self.write(&payload);
            match (&written, self.failing) {
                (Err(error), false) => tracing::error!(
                    %error, file = %self.path.display(),
                    "the mark of what was acknowledged cannot be written; trying again"
                ),
                (Ok(()), true) => tracing::info!(
                    file = %self.path.display(), "the mark is written again"
                ),
                _ => {}
            }
            self.failing = written.is_err();
            let mut state = self.shared.lock();
            state.noted |= self.failing;
            if self.failing && state.stopping {
                return;
            }
            state.pausing = true;
            let wait = self.shared.changed.wait_timeout_while(state, PAUSE, |it| !it.stopping);
            let (mut state, _) = wait.unwrap_or_else(PoisonError::into_inner);
            state.pausing = false;
        }
    }

    /// Waits for a note. Absent once the store is closed and the last note is written.
    fn next(&self) -> Option<Payload> {
        let state = self.shared.lock();
        let wait = self.shared.changed.wait_while(state, |it| !it.noted && !it.stopping);
        let mut state = wait.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.noted).then_some(state.latest)
    }

    /// Overwrites the older slot.
    fn write(&self, payload: &Payload) -> io::Result<()> {
        let generation = newest(&self.file)?.map_or(0, |(generation, _)| generation + 1);
        self.file.write_all_at(&slot(generation, payload), generation % 2 * SLOT_DISTANCE)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_is_in_the_file_once_the_marker_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mark");
        assert_eq!(read(&path).expect("reads"), None);
        create(&path, &[1; 64]).expect("creates");
        let marker = Marker::start(path.clone()).expect("starts");
        for number in 2..50 {
            marker.note([number; 64]);
        }
        drop(marker);
        assert_eq!(read(&path).expect("reads"), Some([49; 64]));
    }

    #[test]
    fn a_damaged_slot_leaves_the_other_and_two_are_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mark");
        create(&path, &[1; 64]).expect("creates");
        let marker = Marker::start(path.clone()).expect("starts");
        marker.note([2; 64]);
        drop(marker);
        // Generation 2 is in slot 0, generation 1 in slot 1.
        let sound = fs::read(&path).expect("a mark");
        for byte in 0..SLOT_BYTES {
            let mut damaged = sound.clone();
            damaged[byte] ^= 1 << (byte % 8);
            fs::write(&path, &damaged).expect("written");
            assert_eq!(read(&path).expect("reads"), Some([1; 64]), "byte {byte}");
            damaged[SLOT_DISTANCE as usize + byte] ^= 1;
            fs::write(&path, &damaged).expect("written");
            let error = read(&path).expect_err("no slot is readable");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        fs::write(&path, &sound[..20]).expect("written");
        assert!(read(&path).is_err(), "a mark that was cut");
    }
}
