//! Damaged disks: on copies of one data folder, a bit flips, a file is cut, or a sector is zeroed.
//! Each trial ends in one of two ways: every answer is as before, or the damage is refused or
//! reported. Never is an acknowledged message or user missing without a word.
//!
//! Trial `n` of seed `s` is always the same. `PABAL_DAMAGE_TRIALS` is the number of trials, by default
//! 50; `PABAL_DAMAGE_SEED` is the seed.

use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pabal_core::model::{
    Channel, ChannelId, ChannelKind, Device, DeviceId, Message, MessageId, Partition, Timestamp,
    TokenHash, User, UserId,
};
use pabal_core::ports::{
    Access, Directory, HistoryStore, Notification, PageFrom, PushNotifier, PushPosition,
};
use pabal_storage::directory::SqliteDirectory;
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PARTITIONS: u16 = 4;
const CHANNELS: u64 = 5;
const USERS: u64 = 60;

fn config() -> EmbeddedConfig {
    EmbeddedConfig {
        partitions: PARTITIONS,
        message_memtable_bytes: 64 << 10,
        ..EmbeddedConfig::default()
    }
}

/// Numbers that depend on the seed only (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

fn message(channel: u64, number: u64) -> Message {
    let channel_id = ChannelId::new(channel);
    let moment = Timestamp::from_millis(1_790_000_000_000 + number);
    Message {
        message_id: MessageId::first_at(moment, Partition::of(channel_id, PARTITIONS)),
        channel_id,
        message_from: UserId::new(1 + number % USERS),
        message_to: None,
        content: format!("message {number} of channel {channel}, with some words").into(),
        client_message_id: Some(format!("send {number}").into()),
    }
}

async fn fill_history(folder: &Path) {
    let store = EmbeddedStore::open(folder, &config()).expect("opens");
    for round in 0..40 {
        for channel in 1..=CHANNELS {
            let messages: Vec<_> =
                (round * 5..round * 5 + 5).map(|number| message(channel, number)).collect();
            let partition = messages[0].message_id.partition();
            store.history.append(partition, messages).await.expect("an append");
        }
    }
    let notification = |number| Notification {
        user_id: UserId::new(2),
        message: message(1, number),
        queued_at: Timestamp::from_millis(1_790_000_000_000),
    };
    store.push.enqueue((0..3).map(notification).collect()).await.expect("a queue");
}

fn user(number: u64) -> User {
    User {
        user_id: UserId::new(number),
        username: format!("user{number}"),
        display_name: format!("User number {number}"),
        status_text: "some words about this user".into(),
        avatar_url: String::new(),
        created_at: Timestamp::from_millis(1_790_000_000_000),
    }
}

fn access(number: u64) -> Access {
    Access {
        token: token(number),
        device: Device {
            device_id: DeviceId::new(number),
            user_id: UserId::new(number),
            name: "a phone".into(),
        },
        expires_at: Timestamp::from_millis(1_900_000_000_000),
    }
}

fn token(number: u64) -> TokenHash {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    TokenHash::from_bytes(hash)
}

async fn fill_directory(directory: &SqliteDirectory) {
    for number in 1..=USERS {
        let hash = format!("a password hash {number}");
        directory.sign_up(user(number), hash, access(number)).await.expect("a user");
    }
    for channel in 1..=CHANNELS {
        let group = Channel {
            channel_id: ChannelId::new(channel),
            kind: ChannelKind::Group,
            name: Some(format!("group {channel}")),
            created_at: Timestamp::from_millis(1_790_000_000_000),
        };
        let members = (2..=10).map(UserId::new).collect();
        directory.create_group(group, UserId::new(1), members).await.expect("a group");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a copy");
        }
    }
}

/// Two data folders with the same content: one as a crash leaves it, with a log of the directory, and
/// one that was closed. In both, everything is in the marks.
async fn filled() -> [TempDir; 2] {
    let [crashed, closed] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    fill_history(&closed.path().join("history")).await;
    // Reopening shortens the journal to its content.
    drop(EmbeddedStore::open(&closed.path().join("history"), &config()).expect("opens"));
    copy(&closed.path().join("history"), &crashed.path().join("history"));
    let directory = SqliteDirectory::open(closed.path().join("directory.sqlite")).await;
    let directory = directory.expect("opens");
    fill_directory(&directory).await;
    for name in ["directory.sqlite", "directory.sqlite-wal"] {
        fs::copy(closed.path().join(name), crashed.path().join(name)).expect("a copy");
    }
    directory.close().await;
    drop(directory);
    fs::copy(closed.path().join("directory.mark"), crashed.path().join("directory.mark"))
        .expect("a copy");
    [crashed, closed]
}

/// Everything that clients can read from the data folder, or what is reported instead.
async fn answers(folder: &Path) -> Result<String, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let opened = EmbeddedStore::open(&folder.join("history"), &config());
    let store = opened.map_err(|error| text(&error))?;
    let directory = SqliteDirectory::open(folder.join("directory.sqlite")).await;
    let directory = directory.map_err(|error| text(&error))?;
    let answers = read(&store, &directory).await;
    directory.close().await;
    answers
}

async fn read(store: &EmbeddedStore, directory: &SqliteDirectory) -> Result<String, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut answers = String::new();
    for channel in 1..=CHANNELS {
        let channel_id = ChannelId::new(channel);
        let page = store.history.page(channel_id, PageFrom::After(MessageId::new(0)), 10_000).await;
        for message in page.map_err(|error| text(&error))?.messages {
            let key = message.send_key().expect("named");
            let sent = store.history.find_sent(key).await.map_err(|error| text(&error))?;
            writeln!(answers, "{message:?} {sent:?}").expect("a line");
        }
        let members = directory.members_after(channel_id, None, 1_000).await;
        writeln!(answers, "{:?}", members.map_err(|error| text(&error))?).expect("a line");
    }
    for partition in 0..PARTITIONS {
        let partition = Partition::new(partition).expect("a partition");
        let position = store.history.stored_position(partition).await;
        writeln!(answers, "{:?}", position.map_err(|error| text(&error))?).expect("a line");
    }
    let wait = Duration::from_secs(2);
    let pending = store.push.pending(PushPosition::default(), 1_000);
    match tokio::time::timeout(wait, pending).await {
        Ok(pending) => {
            writeln!(answers, "{:?}", pending.map_err(|error| text(&error))?).expect("a line")
        }
        Err(_) => answers.push_str("no notifications\n"),
    }
    for number in 1..=USERS {
        let credentials = directory.credentials(&format!("user{number}")).await;
        let access = directory.access(token(number)).await;
        let memberships = directory.memberships_after(UserId::new(number), None, 100).await;
        writeln!(
            answers,
            "{:?} {:?} {:?}",
            credentials.map_err(|error| text(&error))?,
            access.map_err(|error| text(&error))?,
            memberships.map_err(|error| text(&error))?,
        )
        .expect("a line");
    }
    Ok(answers)
}

fn files_under(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(files_under(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Damages one file of `folder`, and returns what was done.
fn damage(folder: &Path, dice: &mut Dice) -> String {
    let files: Vec<_> = files_under(folder)
        .into_iter()
        .filter(|file| file.metadata().is_ok_and(|it| it.len() > 0))
        .collect();
    let large = ["jnl", "sqlite", "sqlite-wal"];
    let is_large = |file: &&PathBuf| {
        file.extension().is_some_and(|extension| large.iter().any(|it| extension == *it))
    };
    let favoured: Vec<_> = files.iter().filter(is_large).collect();
    let file = if dice.below(10) < 6 { *dice.pick(&favoured) } else { dice.pick(&files) };
    let mut bytes = fs::read(file).expect("a file");
    let at = dice.below(bytes.len() as u64) as usize;
    let done = match dice.below(10) {
        0..7 => {
            let bit = dice.below(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        7..9 => {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
        _ => {
            let end = bytes.len().min(at + 512);
            bytes[at..end].fill(0);
            format!("bytes {at} to {end} zeroed")
        }
    };
    fs::write(file, bytes).expect("written");
    format!("{}: {done}", file.strip_prefix(folder).unwrap_or(file).display())
}

#[test]
fn no_damage_changes_an_answer_in_silence() {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(value) => value.parse().expect(name),
        Err(_) => default,
    };
    let trials = number("PABAL_DAMAGE_TRIALS", 50);
    let seed = number("PABAL_DAMAGE_SEED", 15);
    let runtime = Runtime::new().expect("a runtime");
    let folders = runtime.block_on(filled());
    let sound = runtime.block_on(answers(&copied(&folders[0]).0)).expect("a sound folder");
    let closed = runtime.block_on(answers(&copied(&folders[1]).0)).expect("a sound folder");
    assert_eq!(sound, closed);
    let (mut same, mut reported, mut silent) = (0, 0, Vec::new());
    for trial in 0..trials {
        let mut dice = Dice(seed.wrapping_mul(1_000_003).wrapping_add(trial));
        let (folder, _keep) = copied(dice.pick(&folders));
        let done = damage(&folder, &mut dice);
        // A panic ends the start with a message that names the part.
        let read = catch_unwind(AssertUnwindSafe(|| runtime.block_on(answers(&folder))));
        match read {
            Ok(Ok(answers)) if answers == sound => same += 1,
            Ok(Ok(_)) => silent.push(format!("trial {trial}: {done}")),
            Ok(Err(_)) => reported += 1,
            Err(_) => silent.push(format!("trial {trial}: {done}: a panic")),
        }
    }
    println!("{trials} trials: {same} as before, {reported} refused or reported");
    assert!(silent.is_empty(), "seed {seed}: {silent:#?}");
}

/// A copy of a folder, and what keeps it.
fn copied(folder: &TempDir) -> (PathBuf, TempDir) {
    let keep = tempfile::tempdir().expect("a temporary folder");
    let to = keep.path().join("data");
    copy(folder.path(), &to);
    (to, keep)
}

/// The directory of a crashed node, whose log has all changes.
fn crashed_directory(runtime: &Runtime) -> (TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("directory.sqlite");
    let aside = folder.path().join("aside");
    fs::create_dir(&aside).expect("a folder");
    runtime.block_on(async {
        let directory = SqliteDirectory::open(&path).await.expect("opens");
        fill_directory(&directory).await;
        for name in ["directory.sqlite", "directory.sqlite-wal"] {
            fs::copy(folder.path().join(name), aside.join(name)).expect("a copy");
        }
        directory.close().await;
    });
    fs::copy(folder.path().join("directory.mark"), aside.join("directory.mark")).expect("a copy");
    let log = fs::read(aside.join("directory.sqlite-wal")).expect("a log");
    (folder, aside.join("directory.sqlite"), log)
}

/// Opens a copy of the directory with this log, and returns the number of its users.
fn users_with_log(runtime: &Runtime, path: &Path, log: &[u8]) -> Result<usize, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join("directory.sqlite");
    fs::copy(path, &copy).expect("a copy");
    fs::copy(path.with_extension("mark"), copy.with_extension("mark")).expect("a copy");
    let copied_log = folder.path().join("directory.sqlite-wal");
    fs::write(&copied_log, log).expect("written");
    runtime.block_on(async {
        let directory = match SqliteDirectory::open(&copy).await {
            Ok(directory) => directory,
            Err(error) => {
                assert!(fs::read(&copied_log).expect("a log") == log, "the evidence stays");
                return Err(error.to_string());
            }
        };
        let users = directory.users_by_prefix("user", 1_000).await.expect("users").len();
        directory.close().await;
        Ok(users)
    })
}

#[test]
fn a_damaged_log_of_the_directory_is_refused_and_a_torn_change_is_not() {
    let runtime = Runtime::new().expect("a runtime");
    let (_folder, path, log) = crashed_directory(&runtime);
    let users = usize::try_from(USERS).expect("a number");
    assert_eq!(users_with_log(&runtime, &path, &log), Ok(users));
    // A bit of any frame.
    let frame = 24 + 4_096;
    for number in (0..(log.len() - 32) / frame).step_by(29) {
        let mut rotten = log.clone();
        rotten[32 + number * frame + 1_000] ^= 4;
        let refused = users_with_log(&runtime, &path, &rotten).expect_err("is refused");
        assert!(refused.contains("pabal repair --keep DIR"), "{refused}");
    }
    // The end is missing, or all of it.
    for length in [log.len() - 100, log.len() / 2, 32, 0] {
        let refused = users_with_log(&runtime, &path, &log[..length]).expect_err("is refused");
        assert!(refused.contains("was acknowledged"), "{refused}");
    }
    // The start of a change after the mark, as a crash leaves it.
    let mut torn = log.clone();
    torn.extend_from_slice(&log[log.len() - frame..]);
    let end = torn.len();
    torn[end - 1_000..].fill(0);
    assert_eq!(users_with_log(&runtime, &path, &torn), Ok(users));
}

#[test]
fn a_changed_letter_of_the_directory_is_refused() {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("directory.sqlite");
    let names = || {
        runtime.block_on(async {
            let directory =
                SqliteDirectory::open(&path).await.map_err(|error| error.to_string())?;
            let users = directory.users_by_prefix("user", 1_000).await.expect("users");
            let credentials = directory.credentials("user9").await.expect("credentials");
            let members = directory.members_after(ChannelId::new(1), None, 50).await;
            let answers = format!("{users:?} {credentials:?} {:?}", members.expect("members"));
            directory.close().await;
            Ok::<_, String>(answers)
        })
    };
    runtime.block_on(async {
        let directory = SqliteDirectory::open(&path).await.expect("opens");
        fill_directory(&directory).await;
        directory.close().await;
    });
    let (before, sound) = (names().expect("opens"), fs::read(&path).expect("a file"));
    for words in ["User number 7", "a password hash 9", "group 2", "owner"] {
        let places = sound.windows(words.len()).enumerate();
        let places = places.filter(|(_, bytes)| *bytes == words.as_bytes()).map(|(at, _)| at);
        let mut refused = 0;
        for at in places {
            let mut rotten = sound.clone();
            rotten[at + 2] ^= 1;
            fs::write(&path, rotten).expect("written");
            match names() {
                // The place is not in use any more.
                Ok(answers) => assert!(answers == before, "{words} at {at}"),
                Err(error) => {
                    assert!(error.contains("directory.sqlite is damaged"), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused >= 2, "{words}: {refused}, expected the row and its copy");
    }
    fs::write(&path, sound).expect("written");
    assert_eq!(names().as_ref(), Ok(&before));
}
