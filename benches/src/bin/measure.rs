//! `cargo run --release -p pabal-benches --bin measure -- [cells] [--quick] [--json FILE]`: whole
//! servers under load, each claim with both figures, the ratio, the target and the verdict.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use pabal_benches::Outcome;
use pabal_benches::cells::{
    Setting, cluster, durable, fanout, idle, redis, slow, soak, stop, stored,
};
use pabal_benches::report::Report;
use pabal_lab::process;

/// That of the server: some cells run parts of it in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures whole servers on this machine.
#[derive(Debug, Parser)]
struct Flags {
    /// What to measure; everything but the soak, which takes a quarter of an hour, unless it is said.
    #[arg(value_enum)]
    cells: Vec<Cell>,
    /// Shorter runs, fewer turns, fewer connections.
    #[arg(long)]
    quick: bool,
    /// Where the results go as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Messages in flight in fanout and long-poll: only this many.
    #[arg(long, value_name = "COUNT", default_values_t = [1, 32])]
    window: Vec<u64>,
    /// No peers in fanout and long-poll, for a profiler: the process id is printed.
    #[arg(long)]
    alone: bool,
    /// A server binary; then nothing is built, and the peers are those beside this program. Without
    /// it, the server and the peers of this workspace are built first.
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Where plots and their data go.
    #[arg(long, value_name = "FOLDER", default_value = "target/measure")]
    drawings: PathBuf,
    /// On which disk data folders are made.
    #[arg(long, value_name = "FOLDER", default_value_os_t = std::env::temp_dir())]
    disk: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Cell {
    All,
    Fanout,
    LongPoll,
    Idle,
    Durable,
    History,
    Flat,
    Slow,
    Stop,
    Soak,
    Redis,
    Cluster,
}

type Measure = fn(&Setting, &mut Report) -> Outcome<()>;

fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(&flags) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("a target was missed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("not measured: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Outcome<bool> {
    let peers = std::env::current_exe()?.parent().ok_or("no folder")?.to_owned();
    let pabal = match &flags.server {
        Some(server) => server.clone(),
        None => {
            build()?;
            peers.join("pabal")
        }
    };
    let setting = Setting {
        pabal,
        peers,
        disk: flags.disk.clone(),
        quick: flags.quick,
        windows: flags.window.clone(),
        alone: flags.alone,
        drawings: flags.drawings.clone(),
    };
    let mut report = Report { machine: process::machine(), ..Report::default() };
    let all = flags.cells.is_empty() || flags.cells.contains(&Cell::All);
    let cells: [(Cell, Measure, &str); 11] = [
        (Cell::Fanout, fanout::websocket, process::GENERATOR_CORE),
        (Cell::LongPoll, fanout::long_poll, process::GENERATOR_CORE),
        (Cell::Idle, idle::run, process::GENERATOR_CORE),
        (Cell::Durable, durable::run, process::GENERATOR_CORE),
        (Cell::History, stored::history, process::BOTH_CORES),
        (Cell::Flat, stored::flat, process::BOTH_CORES),
        (Cell::Slow, slow::run, process::GENERATOR_CORE),
        (Cell::Stop, stop::run, process::GENERATOR_CORE),
        (Cell::Soak, soak::run, process::GENERATOR_CORE),
        (Cell::Redis, redis::run, process::GENERATOR_CORE),
        (Cell::Cluster, cluster::run, process::BOTH_CORES),
    ];
    for (cell, measure, cores) in cells {
        if (all && cell != Cell::Soak) || flags.cells.contains(&cell) {
            eprintln!("{cell:?}");
            process::bind(cores)?;
            measure(&setting, &mut report)?;
        }
    }
    println!("{}", report.markdown());
    if let Some(file) = &flags.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(report.claims.iter().all(|claim| claim.holds() != Some(false)))
}

/// Builds the server and its peers.
fn build() -> Outcome<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "-p", "pabal-cli", "-p", "pabal-benches", "--bins"]);
    if cargo.status()?.success() { Ok(()) } else { Err("the build failed".into()) }
}
