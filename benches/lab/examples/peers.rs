//! Pabal beside nchan, Socket.IO and Centrifuge: a table for people, JSON for programs.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use pabal_lab::Outcome;
use pabal_lab::peers::{self, Options, PeerRow, Task};
use pabal_lab::process::machine;

/// Measures Pabal and its peers at the same work.
#[derive(Parser)]
struct Flags {
    /// The executable of Pabal.
    #[arg(long, default_value = "target/release/pabal")]
    pabal: PathBuf,
    /// Where the peers are installed.
    #[arg(long, default_value = "target/peers")]
    peers_dir: PathBuf,
    /// Where Pabal stores: the disk that its messages wait for.
    #[arg(long, default_value = "target")]
    disk: PathBuf,
    /// Turns of each system at each task.
    #[arg(long, default_value_t = 6)]
    turns: usize,
    /// Clients at rest.
    #[arg(long, default_value_t = 2_000)]
    idle_clients: usize,
    /// Where the rows go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Outcome<()> {
    let flags = Flags::parse();
    let mut options = Options::new(flags.pabal, flags.peers_dir, flags.disk);
    (options.turns, options.idle_clients) = (flags.turns, flags.idle_clients);
    let start = Instant::now();
    let tell = |line: &str| eprintln!("{:4} s  {line}", start.elapsed().as_secs());
    let rows = peers::run(&options, &tell)?;
    tell("done");
    println!("{}\n", machine());
    println!("{}", head());
    rows.iter().for_each(|row| println!("{}", line(row)));
    if let Some(file) = flags.json {
        std::fs::write(file, serde_json::to_vec_pretty(&rows)?)?;
    }
    Ok(())
}

fn head() -> String {
    let names = "task | transport | system | deliveries/s | µs CPU a delivery | bytes | requests | \
        p50 ms | p99 ms | round trips/s | RSS a client | kernel a client | generator busy";
    let rule = names.split('|').map(|_| "---").collect::<Vec<_>>().join("|");
    format!("| {names} |\n|{rule}|")
}

fn line(row: &PeerRow) -> String {
    let task = match row.task {
        Task::FanOut { in_flight } => format!("1 to 1,000, {in_flight} in flight"),
        Task::Idle => "at rest".to_owned(),
        Task::Pairs => "100 pairs".to_owned(),
    };
    let durable = if row.durable { ", durable" } else { "" };
    let figures = [
        (row.deliveries_per_second, 0),
        (row.cpu_us_per_delivery, 2),
        (row.bytes_per_delivery, 0),
        (row.requests_per_delivery, 2),
        (row.p50_ms, 2),
        (row.p99_ms, 2),
        (row.round_trips_per_second, 0),
        (row.rss_per_client, 0),
        (row.kernel_per_client, 0),
        (Some(row.generator_busy), 2),
    ];
    let figures = figures.map(|(figure, digits)| match figure {
        Some(figure) => format!("{figure:.digits$}"),
        None => String::new(),
    });
    let system = format!("{} {}{durable}", row.system, row.version);
    format!("| {task} | {} | {system} | {} |", row.transport, figures.join(" | "))
}
