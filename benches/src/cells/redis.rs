//! Appends through the log in Redis, in comparison with `redis-benchmark` on the same server.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pabal_core::memory::SystemClock;
use pabal_core::model::{ChannelId, Draft, MessageId, Partition, UserId};
use pabal_core::ports::{Clock, LogError, MessageLog, Origin, Trace};
use pabal_lab::process;
use pabal_servers::Redis;
use pabal_storage::redis::{RedisConfig, RedisStore};
use tokio::runtime::Runtime;

use super::Setting;
use super::scene::CONTENT;
use crate::Outcome;
use crate::report::{Claim, Report, Target, figure, median};

/// Concurrent callers, each with one pending append.
const CALLERS: u64 = 50;

/// The script of the comparison: the least that assigns an id and stores an entry.
const INCR_AND_XADD: &str =
    "redis.call('INCR', KEYS[1]) return redis.call('XADD', KEYS[2], '*', 'm', ARGV[1])";

/// The partitions of the callers' appends.
#[derive(Clone, Copy)]
struct Spread {
    partitions: u16,
    /// Whether appends have a `client_message_id`, as those of real clients; the log checks it for repeats.
    named: bool,
}

/// The claim about the log in Redis.
///
/// # Errors
/// If Redis is missing, or refuses an append.
pub fn run(setting: &Setting, report: &mut Report) -> Outcome<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    // Without the append-only file, which would measure the disk.
    let redis = runtime.block_on(Redis::start_with(&[("appendonly", "no")]))?;
    process::bind_other(redis.id(), process::SERVER_CORE)?;
    let benchmark = Benchmark::new(&runtime, &redis)?;
    let spreads = [
        Spread { partitions: 1, named: true },
        Spread { partitions: 1, named: false },
        Spread { partitions: 16, named: true },
    ];
    let mut theirs = Vec::new();
    let mut ours = [const { Vec::new() }; 3];
    for turn in 0..setting.turns() {
        eprint!("\r  turn {} of {} ", turn + 1, setting.turns());
        theirs.push(benchmark.run(&runtime, &redis, setting.span())?);
        for (spread, runs) in spreads.into_iter().zip(&mut ours) {
            runtime.block_on(redis.command(&["FLUSHALL"]));
            runs.push(runtime.block_on(append(&redis, spread, setting.span()))?);
        }
        theirs.push(benchmark.run(&runtime, &redis, setting.span())?);
    }
    eprint!("\r");
    let rate = |runs: &[Run]| median(runs.iter().map(|run| run.per_second));
    let cost = |runs: &[Run]| {
        let server = figure(median(runs.iter().map(|run| run.server_us)));
        let callers: Vec<_> = runs.iter().filter_map(|run| run.caller_us).collect();
        match &callers[..] {
            [] => format!("{server} µs of server CPU an append"),
            _ => {
                let caller = figure(median(callers));
                format!("{server} µs of server CPU and {caller} of the callers' an append")
            }
        }
    };
    report.note(format!(
        "redis-benchmark -c 50 -P 16, EVALSHA of INCR and XADD of {CONTENT} bytes, no AOF: {}/s, {}",
        figure(rate(&theirs)),
        cost(&theirs)
    ));
    for (Spread { partitions, named }, runs) in spreads.into_iter().zip(ours) {
        let what = format!(
            "{CALLERS} callers, {partitions} partition(s), {} client_message_id",
            if named { "with" } else { "without" }
        );
        report.note(format!("{what}: {}", cost(&runs)));
        report.claim(Claim {
            cell: "redis".into(),
            what: format!("appends, {what}, to redis-benchmark"),
            ours: rate(&runs),
            theirs: Some(rate(&theirs)),
            unit: "/s".into(),
            target: if partitions == 1 { Target::AtLeast(0.8) } else { Target::None },
        });
    }
    Ok(())
}

/// The cost of appends.
struct Run {
    per_second: f64,
    server_us: f64,
    /// CPU of this process; none for another program.
    caller_us: Option<f64>,
}

async fn append(redis: &Redis, spread: Spread, span: Duration) -> Outcome<Run> {
    let config = RedisConfig { call_within: Duration::from_secs(10), ..RedisConfig::default() };
    let store = RedisStore::connect(&redis.url().parse()?, &config).await?;
    // A large capacity, so that the log need not be trimmed: trimming costs what the history does.
    let log = Arc::new(store.message_log(Arc::new(SystemClock), 100_000_000));
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let content: Arc<str> = "x".repeat(CONTENT).into();
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let (log, stop, count) = (Arc::clone(&log), Arc::clone(&stop), Arc::clone(&count));
        let content = Arc::clone(&content);
        let partition = (caller % u64::from(spread.partitions)) as u16;
        let partition = Partition::new(partition).ok_or("a partition")?;
        callers.push(tokio::spawn(async move {
            let node: pabal_core::model::NodeId = "node-1".parse().expect("a name");
            let mut number = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let name = spread.named.then(|| format!("{caller}-{number}").into());
                let draft = Draft {
                    channel_id: ChannelId::new(u64::from(partition.get())),
                    message_from: UserId::new(caller),
                    message_to: None,
                    content: Arc::clone(&content),
                    client_message_id: name,
                };
                let (accepted_at, trace) = (SystemClock.now(), Trace::default());
                let origin = Origin { node: node.clone(), accepted_at, trace };
                log.append(partition, MessageId::new(0), draft, origin).await?;
                count.fetch_add(1, Ordering::Relaxed);
                number += 1;
            }
            Ok::<_, LogError>(())
        }));
    }
    // Scripts are loaded, connections are made.
    tokio::time::sleep(span / 8).await;
    let cpu = || Outcome::Ok([process::cpu(redis.id())?, process::cpu(std::process::id())?]);
    let (began, before, cpu_before) = (Instant::now(), count.load(Ordering::Relaxed), cpu()?);
    tokio::time::sleep(span).await;
    let (appends, took) = ((count.load(Ordering::Relaxed) - before) as f64, began.elapsed());
    let cpu = cpu()?;
    let us = |which: usize| (cpu[which] - cpu_before[which]).as_secs_f64() * 1e6 / appends;
    let per_second = appends / took.as_secs_f64();
    let run = Run { per_second, server_us: us(0), caller_us: Some(us(1)) };
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await??;
    }
    Ok(run)
}

/// `redis-benchmark` with its script.
struct Benchmark {
    hash: String,
    rate: f64,
}

impl Benchmark {
    fn new(runtime: &Runtime, redis: &Redis) -> Outcome<Self> {
        let hash = runtime.block_on(redis.command(&["SCRIPT", "LOAD", INCR_AND_XADD]));
        let mut benchmark = Self { hash, rate: 0.0 };
        benchmark.rate = benchmark.requests(runtime, redis, 50_000)?.per_second;
        Ok(benchmark)
    }

    /// Requests a second over about `span`.
    fn run(&self, runtime: &Runtime, redis: &Redis, span: Duration) -> Outcome<Run> {
        self.requests(runtime, redis, (self.rate * span.as_secs_f64()) as u64)
    }

    fn requests(&self, runtime: &Runtime, redis: &Redis, count: u64) -> Outcome<Run> {
        // FLUSHALL keeps scripts.
        runtime.block_on(redis.command(&["FLUSHALL"]));
        let payload = "x".repeat(CONTENT);
        let before = process::cpu(redis.id())?;
        let output = Command::new("taskset")
            .args(["-c", process::GENERATOR_CORE])
            .arg(pabal_servers::redis::benchmark()?)
            .args(["-p", &redis.port().to_string(), "-c", "50", "-P", "16", "--csv"])
            .args(["-n", &count.to_string()])
            .args(["EVALSHA", &self.hash, "2", "{x}last", "{x}log", &payload])
            .stderr(Stdio::inherit())
            .output()?;
        let server_us = (process::cpu(redis.id())? - before).as_secs_f64() * 1e6 / count as f64;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rate = text.lines().last().and_then(|line| {
            // "command","requests a second",…
            let rate = line.rsplit_once(&payload)?.1.split(',').nth(1)?;
            rate.trim_matches('"').parse().ok()
        });
        let kept = runtime.block_on(redis.command(&["XLEN", "{x}log"]));
        if kept.parse::<u64>().ok() < Some(count) {
            return Err(format!("redis-benchmark appended {kept} of {count}: {text}").into());
        }
        let per_second =
            rate.ok_or_else(|| format!("unexpected output of redis-benchmark: {text:?}"))?;
        Ok(Run { per_second, server_us, caller_us: None })
    }
}
