//! History on disk, without a server: pages of one channel among a million messages, and whether a cost grows
//! with the number of stored messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pabal_core::memory::SystemClock;
use pabal_core::model::{ChannelId, Message, MessageId, Partition, UserId};
use pabal_core::ports::{Clock, HistoryStore, PageFrom};
use pabal_lab::process;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;

use super::Setting;
use crate::Outcome;
use crate::node::{GROUP, Node, PARTITIONS, on_disk};
use crate::report::{Claim, Report, Target, figure};

/// Bytes of content of a stored message.
const CONTENT: usize = 200;
/// Messages of one append.
const BATCH: usize = 256;
/// The threads that merge tables.
const MERGING: &str = "fjall:worker";
/// Messages of a page.
const PAGE: usize = 50;

/// The channel with a number; 1 is the group of [`Node`].
fn channel(number: usize) -> ChannelId {
    ChannelId::new(GROUP.get() + 1 + number as u64)
}

/// Fills a history with messages of random channels.
async fn fill(history: &Arc<dyn HistoryStore>, messages: usize, channels: usize) -> Outcome<f64> {
    let mut random = StdRng::seed_from_u64(1);
    let content: Arc<str> = "x".repeat(CONTENT).into();
    // In the past, so that new messages have greater ids.
    let began = SystemClock.now().as_millis() - 86_400_000;
    let began = pabal_core::model::Timestamp::from_millis(began);
    let mut last: Vec<_> =
        Partition::all(PARTITIONS).map(|partition| MessageId::first_at(began, partition)).collect();
    let mut waiting: Vec<Vec<Message>> = vec![Vec::new(); usize::from(PARTITIONS)];
    let start = Instant::now();
    for number in 0..messages {
        let channel_id = channel(random.random_range(0..channels));
        let index = usize::from(Partition::of(channel_id, PARTITIONS).get());
        last[index] = last[index].successor();
        waiting[index].push(Message {
            message_id: last[index],
            channel_id,
            message_from: UserId::new(1 + number as u64 % 100),
            message_to: None,
            content: Arc::clone(&content),
            client_message_id: Some(format!("m{number}").into()),
        });
        let full = (number + 1) % (BATCH * usize::from(PARTITIONS)) == 0;
        if full || number + 1 == messages {
            // All partitions concurrently, as their owners append.
            let appends = Partition::all(PARTITIONS).zip(&mut waiting).map(|(partition, batch)| {
                let batch = std::mem::take(batch);
                async move {
                    if batch.is_empty() {
                        Ok(())
                    } else {
                        history.append(partition, batch).await.map(drop)
                    }
                }
            });
            futures::future::try_join_all(appends).await?;
            eprint!("\r  {} stored ", number + 1);
        }
    }
    Ok(messages as f64 / start.elapsed().as_secs_f64())
}

/// Waits until the background work of the history has ended.
async fn settle() -> Outcome<()> {
    for _ in 0..40 {
        let before = process::cpu(std::process::id())?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if process::cpu(std::process::id())? - before < Duration::from_millis(30) {
            break;
        }
    }
    Ok(())
}

/// How long the newest page of a random channel takes, in microseconds, sorted.
async fn pages(
    history: &Arc<dyn HistoryStore>,
    channels: usize,
    count: usize,
) -> Outcome<Vec<f64>> {
    let mut random = StdRng::seed_from_u64(2);
    let mut micros = Vec::with_capacity(count);
    for _ in 0..count {
        let channel_id = channel(random.random_range(0..channels));
        let start = Instant::now();
        let page = history.page(channel_id, PageFrom::Newest, PAGE.into()).await?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
        drop(page);
    }
    micros.sort_by(f64::total_cmp);
    Ok(micros)
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// The claim on pages.
///
/// # Errors
/// If the history cannot be written or read.
pub fn history(setting: &Setting, report: &mut Report) -> Outcome<()> {
    let (messages, channels) = if setting.quick { (200_000, 2_000) } else { (1_000_000, 10_000) };
    let folder = setting.folder()?;
    Runtime::new()?.block_on(async {
        let store = on_disk(folder.path())?;
        let rate = fill(&store, messages, channels).await?;
        settle().await?;
        drop(store);
        eprint!("\r");
        report.note(format!(
            "{messages} messages of {CONTENT} bytes in {channels} channels, durable batches of \
             {BATCH}: {} messages/s",
            figure(rate)
        ));
        // Opened again, so that memory holds only what reads have loaded.
        let store = on_disk(folder.path())?;
        pages(&store, channels, 2_000).await?;
        let micros = pages(&store, channels, 20_000).await?;
        report.note(format!(
            "last {PAGE} of a random channel: p50 {} p99 {} µs",
            figure(quantile(&micros, 0.5)),
            figure(quantile(&micros, 0.99))
        ));
        report.claim(Claim {
            cell: "history".into(),
            what: format!("last {PAGE} of one of {channels} channels, {messages} messages stored"),
            ours: quantile(&micros, 0.5),
            theirs: None,
            unit: "µs".into(),
            target: Target::AtMost(100.0),
        });
        Ok(())
    })
}

/// The cost of a message at a number of stored messages and channels.
struct Cost {
    cpu_us: f64,
    /// CPU of merging tables per message while the history was filled.
    merge_us: f64,
    page_us: f64,
}

/// The claim that costs do not grow with the history.
///
/// # Errors
/// If the history cannot be written or read.
pub fn flat(setting: &Setting, report: &mut Report) -> Outcome<()> {
    // Never fewer than a hundred messages a channel, so that every page is full.
    let most = if setting.quick { 100_000 } else { 1_000_000 };
    let by_messages: Vec<_> = [10_000, 100_000, 1_000_000]
        .into_iter()
        .filter(|&messages| messages <= most)
        .map(|messages| (messages, 100))
        .collect();
    let by_channels: Vec<_> = [100, 1_000, 10_000]
        .into_iter()
        .filter(|channels| channels * 100 <= most)
        .map(|channels| (most, channels))
        .collect();
    let mut grow = |what: &str, sizes: &[(usize, usize)]| -> Outcome<()> {
        let mut costs = Vec::new();
        for &(messages, channels) in sizes {
            let cost = cost(setting, messages, channels)?;
            report.note(format!(
                "{messages} stored, {channels} channels: {} µs of CPU a message, its page {} µs; \
                 tables merged while they were stored: {} µs of CPU a message",
                figure(cost.cpu_us),
                figure(cost.page_us),
                figure(cost.merge_us)
            ));
            costs.push(cost);
        }
        let [first, .., last] = &costs[..] else {
            return Err("two sizes at least".into());
        };
        for (figure, ours, theirs) in
            [("CPU of a message", last.cpu_us, first.cpu_us), ("page", last.page_us, first.page_us)]
        {
            report.claim(Claim {
                cell: "flat".into(),
                what: format!("{figure}, {what}"),
                ours,
                theirs: Some(theirs),
                unit: "µs".into(),
                target: Target::AtMost(1.5),
            });
        }
        Ok(())
    };
    grow(&format!("{most} to 10000 stored"), &by_messages)?;
    grow(&format!("{} to 100 channels", most / 100), &by_channels)
}

fn cost(setting: &Setting, messages: usize, channels: usize) -> Outcome<Cost> {
    /// Measured sends, and concurrent ones.
    const SENDS: usize = 40_000;
    const AT_ONCE: usize = 64;
    let folder = setting.folder()?;
    Runtime::new()?.block_on(async {
        let history = on_disk(folder.path())?;
        fill(&history, messages, channels).await?;
        eprint!("\r");
        settle().await?;
        let merge = process::cpu_of_threads(MERGING)?;
        let node = Node::start(Arc::clone(&history), 2).await?;
        for number in 0..channels {
            node.group(channel(number), 0..2).await?;
        }
        let sessions = [node.session(0).await?, node.session(1).await?];
        settle().await?;
        let content = "x".repeat(CONTENT);
        let send = |seed: u64, sends: usize| {
            let (node, content) = (node.clone(), content.clone());
            async move {
                let mut random = StdRng::seed_from_u64(seed);
                for _ in 0..sends {
                    let to = channel(random.random_range(0..channels));
                    node.send(0, to, &content).await?;
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            }
        };
        // Fill the cache of memberships before the measurement.
        send(0, channels.min(1_000)).await?;
        // Merging the tables of the fill may happen at any moment and is counted separately.
        let cpu = || -> Outcome<_> {
            Ok(process::cpu(std::process::id())?.saturating_sub(process::cpu_of_threads(MERGING)?))
        };
        let before = cpu()?;
        let tasks: Vec<_> =
            (0..AT_ONCE as u64).map(|seed| tokio::spawn(send(seed + 1, SENDS / AT_ONCE))).collect();
        for task in tasks {
            task.await??;
        }
        let cpu = cpu()? - before;
        let micros = pages(&history, channels, 5_000).await?;
        drop(sessions);
        node.engine.shutdown().await;
        Ok(Cost {
            merge_us: merge.as_secs_f64() * 1e6 / messages as f64,
            cpu_us: cpu.as_secs_f64() * 1e6 / SENDS as f64,
            page_us: quantile(&micros, 0.5),
        })
    })
}
