//! A cluster under load meets one fault after another. In the end acknowledgements, history and the journals of
//! all devices must agree. The order of the faults, their victims and their lengths follow from a seed; the
//! timing of the machine does not.
//!
//! A run has two acts, each on a cluster of its own: one whose nodes reach Redis through proxies, and one whose
//! Redis fails over.

mod kind;
mod load;
mod report;

use std::time::Duration;

use pabal_servers::redis::RedisSentinel;
use pabal_servers::{Missing, Redis};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

pub use kind::Kind;
pub use report::{Report, Row};

use crate::cluster::{Cluster, Queue};
use crate::faulty_proxy::Corruption;
use load::Load;

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed from which every choice follows.
    pub seed: u64,
    /// For how long new faults begin; `None`: until each kind has happened once.
    pub duration: Option<Duration>,
    /// How faulty proxies corrupt what some clients receive, which the oracle must detect. The cluster
    /// meets no faults then.
    pub corruptions: Vec<Corruption>,
}

/// The share of the time for the act with a Redis that fails over.
const LAST_ACT: f64 = 0.3;

/// Runs the plan, and passes a line of progress for each event to `progress`.
///
/// # Errors
/// [`Missing`].
///
/// # Panics
/// If the cluster does not become ready.
pub async fn run(plan: &Plan, mut progress: impl FnMut(&str)) -> Result<Report, Missing> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut report = Report { seed: plan.seed, ..Report::default() };
    let last = plan.duration.map(|all| all.mul_f64(LAST_ACT));
    let first = plan.duration.zip(last).map(|(all, last)| all - last);
    let redis = Box::new(Redis::start().await?);
    let act = Act { queue: Queue::Alone(redis), kinds: &Kind::ALONE, lasts: first };
    act.play(plan, &mut random, &mut report, &mut progress).await?;
    if report.violations.is_empty() && plan.corruptions.is_empty() {
        let queue = Queue::Watched(Box::new(RedisSentinel::start().await?));
        let act = Act { queue, kinds: &Kind::WATCHED, lasts: last };
        act.play(plan, &mut random, &mut report, &mut progress).await?;
    }
    Ok(report)
}

struct Act {
    queue: Queue,
    kinds: &'static [Kind],
    lasts: Option<Duration>,
}

impl Act {
    async fn play(
        self,
        plan: &Plan,
        random: &mut StdRng,
        report: &mut Report,
        progress: &mut impl FnMut(&str),
    ) -> Result<(), Missing> {
        progress("three nodes are starting");
        let cluster = Cluster::start(self.queue).await?;
        let load = Load::start(&cluster, &plan.corruptions).await;
        let began = Instant::now();
        let mut rows = Vec::new();
        if !load.moves().await {
            report.violations.push("no message is delivered, without any fault".to_owned());
        }
        let mut kinds = Vec::new();
        while report.violations.is_empty() {
            if kinds.is_empty() {
                let every_kind_was_there = !rows.is_empty();
                if self.lasts.is_none() && every_kind_was_there {
                    break;
                }
                kinds = self.kinds.to_vec();
                kinds.shuffle(random);
            }
            if self.lasts.is_some_and(|lasts| began.elapsed() >= lasts) {
                break;
            }
            let Some(kind) = kinds.pop() else { break };
            if !plan.corruptions.is_empty() && kind != Kind::Nothing {
                continue;
            }
            sleep(Duration::from_millis(random.random_range(500..1_000))).await;
            let (at, told_before) = (Instant::now(), load.ledger.count_not_confirmed());
            let Some(what) = kind.inflict(&cluster, random).await else {
                progress(&format!("{kind} is skipped: it is impossible here and now"));
                rows.push(Row::left_out(kind));
                continue;
            };
            let lasted = at.elapsed();
            let recovered = load.moves().await;
            let until = Instant::now();
            progress(&format!(
                "{:>6.1} s  {kind}: {what}, for {:.1} s; recovered {:.1} s later; {} messages",
                (at - began).as_secs_f64(),
                lasted.as_secs_f64(),
                (until - at - lasted).as_secs_f64(),
                load.ledger.acknowledged(),
            ));
            let not_confirmed = load.ledger.count_not_confirmed() - told_before;
            rows.push(Row::of(kind, what, (began, at, lasted, until), not_confirmed));
            if !recovered {
                report.violations.push(format!("delivery does not recover after {kind}"));
            }
        }
        let logs = || cluster.nodes.iter().map(crate::node::Node::log).collect();
        let story = load.finish(&cluster).await;
        report.add(story, rows, logs);
        Ok(())
    }
}
