//! Simulates clusters larger than a test machine: how evenly partitions are assigned, how long they have no
//! owner when a node joins or leaves, and the reconnects of clients whose node died. The decisions are those
//! of the product (`partition_owner`, `rank`); the time between them is simulated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Parser;
use pabal_core::engine::partition_owner;
use pabal_core::model::{MAX_PARTITIONS, NodeId, Partition};
use pabal_core::ports::NodeInfo;
use pabal_gateway::discovery::{Ranked, rank};
use pabal_lab::Outcome;
use pabal_lab::svg::{Panel, timeline};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SIZES: [usize; 3] = [10, 100, 1_000];
/// As `partitions.rs` has them, in milliseconds: how often a node looks, and the default lease, which
/// is renewed three times in its length.
const TURN_MS: f64 = 500.0;
const LEASE_MS: f64 = 10_000.0;
/// The work in progress of an owner that stops: a batch, stored and routed.
const IN_HAND_MS: f64 = 20.0;
/// Sessions on each node before anything happens.
const SESSIONS: u32 = 20_000;
/// The most simulated clients; beyond it each represents several.
const CLIENTS: u32 = 10_000;
/// The bound of a client's first wait after a cut connection (`Backoff::default`).
const FIRST_WAIT_MS: f64 = 250.0;
/// The time in which clients of a draining node reconnect (`server.reconnect_after_ms`).
const RECONNECT_AFTER_MS: f64 = 1_000.0;
/// The resolution of arrivals.
const STEP_MS: f64 = 50.0;

/// Simulates clusters of 10, 100 and 1,000 nodes.
#[derive(Parser)]
struct Simulate {
    /// Seed of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File for a plot of the reconnects
    #[arg(long)]
    plot: Option<PathBuf>,
}

fn main() -> Outcome<()> {
    let flags = Simulate::parse();
    let mut random = StdRng::seed_from_u64(flags.seed);
    balance();
    hand_over(&mut random);
    let panels = storm(&mut random);
    if let Some(file) = flags.plot {
        let title = "A node of 20,000 sessions dies: sessions opened at the busiest other node";
        std::fs::write(file, timeline(title, &panels, &[]))?;
    }
    Ok(())
}

fn nodes(count: usize) -> BTreeSet<NodeId> {
    (0..count).filter_map(|number| format!("n{number}").parse().ok()).collect()
}

fn owners(nodes: &BTreeSet<NodeId>, partitions: u16) -> Vec<&NodeId> {
    Partition::all(partitions).filter_map(|it| partition_owner(nodes, it)).collect()
}

/// Prints how evenly partitions are assigned.
fn balance() {
    println!("Partitions a node, by rendezvous hashing\n");
    println!("| nodes | partitions | fair share | most | least | nodes without |");
    println!("|---:|---:|---:|---:|---:|---:|");
    for size in SIZES {
        for partitions in [16, 64, 256, MAX_PARTITIONS] {
            let nodes = nodes(size);
            let mut shares: BTreeMap<&NodeId, u32> = nodes.iter().map(|node| (node, 0)).collect();
            for owner in owners(&nodes, partitions) {
                *shares.entry(owner).or_default() += 1;
            }
            let most = shares.values().max().copied().unwrap_or_default();
            let least = shares.values().min().copied().unwrap_or_default();
            let without = shares.values().filter(|share| **share == 0).count();
            let fair = f64::from(partitions) / size as f64;
            println!("| {size} | {partitions} | {fair:.1} | {most} | {least} | {without} |");
        }
    }
}

/// Prints how many partitions change their owner, and for how long they have none.
fn hand_over(random: &mut StdRng) {
    println!("\nHand-over of 1,024 partitions: how long each of those that move has no owner\n");
    println!("| nodes | what happens | partitions that move | median ms | longest ms |");
    println!("|---:|---|---:|---:|---:|");
    for size in SIZES {
        let all = nodes(size);
        let mut shares: BTreeMap<&NodeId, usize> = BTreeMap::new();
        for owner in owners(&all, MAX_PARTITIONS) {
            *shares.entry(owner).or_default() += 1;
        }
        // The node that joins or leaves is the one with the most partitions.
        let moving = shares.values().max().copied().unwrap_or_default();
        for what in ["a node joins", "a node drains", "a node is killed"] {
            let mut gaps: Vec<f64> = (0..moving).map(|_| gap(what, random)).collect();
            gaps.sort_by(f64::total_cmp);
            let (median, longest) = (gaps.get(moving / 2), gaps.last());
            let [median, longest] = [median, longest].map(|it| it.copied().unwrap_or_default());
            println!("| {size} | {what} | {moving} | {median:.0} | {longest:.0} |");
        }
    }
}

/// Milliseconds from the last write of the old owner to the first of the new one.
fn gap(what: &str, random: &mut StdRng) -> f64 {
    let turn = random.random_range(0.0..TURN_MS);
    if what == "a node is killed" {
        // The lease of the node and that of the partition, each renewed some time ago.
        let mut left = || LEASE_MS - random.random_range(0.0..LEASE_MS / 3.0);
        return left().max(left()) + turn;
    }
    // The old owner finishes its batch; then the new one has to notice at its next turn.
    random.random_range(0.0..IN_HAND_MS) + turn
}

/// Simulates the death of one node and of a tenth of the nodes, and the reconnects of their clients.
fn storm(random: &mut StdRng) -> Vec<Panel> {
    println!(
        "\nReconnects: {SESSIONS} sessions a node, each connects to the first node of discovery\n"
    );
    println!(
        "| nodes | dead | clients choose | most opened at one node in a second | its share | fair |"
    );
    println!("|---:|---:|---|---:|---:|---:|");
    let mut panels = Vec::new();
    for size in SIZES {
        for dead in [1, size / 10].into_iter().collect::<BTreeSet<_>>() {
            for (choice, by_lot) in [("by lot", true), ("the emptiest", false)] {
                let arrivals = arrivals((size, dead), by_lot, FIRST_WAIT_MS, random);
                report((size, dead), choice, &arrivals);
                if by_lot && dead == 1 {
                    let title = match size {
                        10 => "10 nodes: sessions a second",
                        100 => "100 nodes: sessions a second",
                        _ => "1,000 nodes: sessions a second",
                    };
                    panels.push(Panel { title, points: busiest(&arrivals) });
                }
            }
        }
        let arrivals = arrivals((size, 1), true, RECONNECT_AFTER_MS, random);
        report((size, 1), "by lot, drained", &arrivals);
    }
    panels
}

/// For each living node, the sessions that it opens in each step.
type Arrivals = Vec<Vec<f64>>;

fn arrivals(
    (size, dead): (usize, usize),
    by_lot: bool,
    within_ms: f64,
    random: &mut StdRng,
) -> Arrivals {
    let living: Vec<NodeInfo> = nodes(size - dead)
        .into_iter()
        .map(|node| NodeInfo {
            node,
            url: String::new(),
            peer_url: String::new(),
            websocket_url: String::new(),
            region: String::new(),
            location: None,
            capacity: 5 * SESSIONS,
            // The last announced loads: no two nodes have the same one.
            load: SESSIONS - SESSIONS / 20 + random.random_range(0..SESSIONS / 10),
            draining: false,
        })
        .collect();
    let index: BTreeMap<NodeId, usize> =
        living.iter().enumerate().map(|(number, info)| (info.node.clone(), number)).collect();
    let clients = SESSIONS * u32::try_from(dead).unwrap_or(1);
    let simulated = clients.min(CLIENTS);
    let weight = f64::from(clients) / f64::from(simulated);
    // The loads stay constant meanwhile: they are announced every third of a lease.
    let steps = (within_ms / STEP_MS).ceil() as usize;
    let mut arrivals = vec![vec![0.0; steps.max(1)]; living.len()];
    for _ in 0..simulated {
        let chosen = if by_lot {
            first_of(rank(living.clone(), None, random))
        } else {
            living.iter().min_by_key(|info| info.load).map(|info| info.node.clone())
        };
        let Some(chosen) = chosen.and_then(|node| index.get(&node)) else { continue };
        let step = (random.random_range(0.0..within_ms) / STEP_MS) as usize;
        arrivals[*chosen][step] += weight;
    }
    arrivals
}

fn first_of(ranked: Vec<Ranked>) -> Option<NodeId> {
    ranked.into_iter().next().map(|it| it.node.node)
}

fn report((size, dead): (usize, usize), choice: &str, arrivals: &Arrivals) {
    let window = (1_000.0 / STEP_MS) as usize;
    let per_second = |steps: &Vec<f64>| {
        let sum = |from: usize| steps[from..steps.len().min(from + window)].iter().sum::<f64>();
        (0..steps.len()).map(sum).fold(0.0, f64::max)
    };
    let most = arrivals.iter().map(per_second).fold(0.0, f64::max);
    let total: f64 = arrivals.iter().flatten().sum();
    let busiest = arrivals.iter().map(|steps| steps.iter().sum::<f64>()).fold(0.0, f64::max);
    let (share, fair) = (100.0 * busiest / total, 100.0 / arrivals.len() as f64);
    println!("| {size} | {dead} | {choice} | {most:.0} | {share:.1} % | {fair:.1} % |");
}

/// The steps of the node with the most arrivals, in sessions a second.
fn busiest(arrivals: &Arrivals) -> Vec<(f64, f64)> {
    let total = |steps: &Vec<f64>| steps.iter().sum::<f64>();
    let steps = arrivals.iter().max_by(|a, b| total(a).total_cmp(&total(b)));
    let steps = steps.into_iter().flatten().enumerate();
    let per_second = 1_000.0 / STEP_MS;
    steps.map(|(number, count)| (number as f64 * STEP_MS / 1_000.0, count * per_second)).collect()
}
