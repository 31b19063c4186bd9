//! The cost of the embedded history on the disk of a folder, next to the speed of that disk: `cargo
//! run --release -p pabal-storage --example history_cost [folder]`.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pabal_core::model::{ChannelId, Message, MessageId, Partition, Timestamp, UserId};
use pabal_core::ports::{HistoryStore, PageFrom};
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};
use pabal_storage::history::FjallHistoryStore;

const CHANNELS: u64 = 10_000;
const MESSAGES: u64 = 1_000_000;
const PARTITIONS: u16 = 64;

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("history-cost-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let sync = bare_sync(&folder, false);
    println!("fdatasync of 200 bytes written in place   {}", show(&sync));
    println!("fdatasync of 200 bytes appended           {}", show(&bare_sync(&folder, true)));
    let store = EmbeddedStore::open(&folder.join("store"), &EmbeddedConfig::default());
    let store = store.expect("the store opens");
    single(&store.history).await;
    together(&store.history, 64).await;
    println!("fdatasync of 200 bytes written in place   {}", show(&bare_sync(&folder, false)));
    println!("fdatasync of 200 bytes appended           {}", show(&bare_sync(&folder, true)));
    println!("memory before the load                    {} MiB", resident_mib());
    load(&store.history).await;
    println!("memory after the load                     {} MiB", resident_mib());
    read(&store.history, "after the load").await;
    drop(store);
    let started = Instant::now();
    let store = EmbeddedStore::open(&folder.join("store"), &EmbeddedConfig::default());
    let store = store.expect("the store opens again");
    println!("opened again in                           {:?}", started.elapsed());
    read(&store.history, "opened again").await;
    println!("memory at the end                         {} MiB", resident_mib());
    drop(store);
    fs::remove_dir_all(&folder).expect("removed");
}

fn message(channel: u64, message_id: MessageId) -> Message {
    Message {
        message_id,
        channel_id: ChannelId::new(channel),
        message_from: UserId::new(channel % 7),
        message_to: None,
        content: "x".repeat(200).into(),
        client_message_id: Some(format!("{message_id:0>32}").into()),
    }
}

/// An id of a partition, `ms` after the base.
fn id(partition: Partition, ms: u64, sequence: u64) -> MessageId {
    let moment = Timestamp::from_millis(1_790_000_000_000 + ms);
    MessageId::new(MessageId::first_at(moment, partition).get() + sequence)
}

fn bare_sync(folder: &Path, append: bool) -> Vec<Duration> {
    let path = folder.join("bare");
    let mut file = File::create(&path).expect("a file");
    if !append {
        file.write_all(&vec![1; 1 << 20]).expect("written");
        file.sync_all().expect("synced");
    }
    let mut times = Vec::new();
    for round in 0..300_u64 {
        let started = Instant::now();
        if append {
            file.write_all(&[2; 200]).expect("written");
        } else {
            file.write_all_at(&[2; 200], round * 200).expect("written");
        }
        file.sync_data().expect("synced");
        times.push(started.elapsed());
    }
    fs::remove_file(path).expect("removed");
    times
}

async fn single(history: &FjallHistoryStore) {
    let partition = Partition::new(0).expect("a partition");
    let mut times = Vec::new();
    for ms in 0..500 {
        let one = vec![message(CHANNELS + 1, id(partition, ms, 0))];
        let started = Instant::now();
        history.append(partition, one).await.expect("an append");
        times.push(started.elapsed());
    }
    println!("one append at a time                      {}", show(&times));
}

async fn together(history: &Arc<FjallHistoryStore>, appenders: u16) {
    const ROUNDS: u64 = 300;
    let started = Instant::now();
    let tasks: Vec<_> = (0..appenders)
        .map(|number| {
            let history = Arc::clone(history);
            let partition = Partition::new(number % PARTITIONS).expect("a partition");
            tokio::spawn(async move {
                for ms in 0..ROUNDS {
                    let one = vec![message(u64::from(number), id(partition, 10_000 + ms, 0))];
                    history.append(partition, one).await.expect("an append");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("an appender");
    }
    let rate = f64::from(appenders) * ROUNDS as f64 / started.elapsed().as_secs_f64();
    println!("{appenders} appenders at once                     {rate:.0} appends/s");
}

/// A million messages in ten thousand channels, in batches of 64, all partitions concurrently.
async fn load(history: &Arc<FjallHistoryStore>) {
    const BATCH: u64 = 64;
    let started = Instant::now();
    let tasks: Vec<_> = Partition::all(PARTITIONS)
        .map(|partition| {
            let history = Arc::clone(history);
            let channels: Vec<_> = (0..CHANNELS)
                .filter(|c| Partition::of(ChannelId::new(*c), PARTITIONS) == partition)
                .collect();
            tokio::spawn(async move {
                let count = MESSAGES / u64::from(PARTITIONS);
                let mut turn = 0;
                for batch in 0..count / BATCH {
                    let messages = (0..BATCH)
                        .map(|sequence| {
                            turn += 1;
                            let channel = channels[turn % channels.len()];
                            message(channel, id(partition, 100_000 + batch, sequence))
                        })
                        .collect();
                    history.append(partition, messages).await.expect("an append");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a loader");
    }
    let rate = MESSAGES as f64 / started.elapsed().as_secs_f64();
    println!("a million messages, 64 to a batch         {rate:.0} messages/s");
}

async fn read(history: &FjallHistoryStore, when: &str) {
    let (mut pages, mut heads, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..3_000_u64 {
        let channel = ChannelId::new(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % CHANNELS);
        let started = Instant::now();
        let page = history.page(channel, PageFrom::Newest, 50.into()).await.expect("a page");
        pages.push(started.elapsed());
        assert_eq!(page.messages.len(), 50);
        let started = Instant::now();
        history.heads(&[channel]).await.expect("heads");
        heads.push(started.elapsed());
        let started = Instant::now();
        let after = page.messages[20].message_id;
        history.count_unread(channel, after, UserId::new(99), 100).await.expect("a count");
        unread.push(started.elapsed());
    }
    println!("last 50 of a channel, {when:<19} {}", show(&pages));
    println!("head of a channel, {when:<22} {}", show(&heads));
    println!("20 unread of a channel, {when:<17} {}", show(&unread));
    let mut there_and_back = Vec::new();
    for _ in 0..3_000 {
        let started = Instant::now();
        tokio::task::spawn_blocking(|| ()).await.expect("a blocking thread");
        there_and_back.push(started.elapsed());
    }
    println!("to a blocking thread and back             {}", show(&there_and_back));
}

fn show(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].as_micros();
    format!("p50 {} µs, p90 {} µs, p99 {} µs", at(0.5), at(0.9), at(0.99))
}

fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1_024
}
