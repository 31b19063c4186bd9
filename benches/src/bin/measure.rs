//! `cargo run --profile dist -p pabal-benches --bin measure -- [cells] [--quick] [--json FILE]`: whole
//! servers under load, each claim with both figures, the ratio, the target and the verdict.
//! `measure compare` compares two programs, `measure documents` publishes a run.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use pabal_benches::Outcome;
use pabal_benches::cells::{
    Setting, cluster, durable, fanout, idle, redis, slow, soak, stop, stored,
};
use pabal_benches::report::Report;
use pabal_benches::{compare, documents};
use pabal_lab::process;

/// That of the server: some cells run parts of it in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The Cargo profile of a released program: link-time optimisation and line tables.
const PROFILE: &str = "dist";

/// Measure whole servers on this machine.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Flags {
    #[command(subcommand)]
    task: Option<Task>,
    /// Cells to measure; by default all but the soak, which takes a quarter of an hour
    #[arg(value_enum)]
    cells: Vec<Cell>,
    /// Use shorter runs, fewer turns and fewer connections
    #[arg(long)]
    quick: bool,
    /// Write the results as JSON to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure fanout and long-poll with this many messages in flight only
    #[arg(long, value_name = "COUNT", default_values_t = [1, 32])]
    window: Vec<u64>,
    /// Measure fanout and long-poll without peers, and print the process id for a profiler
    #[arg(long)]
    alone: bool,
    /// Measure this server program and build nothing; the peers are in the folder of `measure`.
    /// By default the server and the peers of this workspace are built with the profile `dist`
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Folder for plots and their data
    #[arg(long, value_name = "FOLDER", default_value = "target/measure")]
    drawings: PathBuf,
    /// Folder on whose disk the data folders are made
    #[arg(long, value_name = "FOLDER", default_value_os_t = std::env::temp_dir())]
    disk: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Task {
    Compare(compare::Flags),
    Documents(documents::Flags),
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
    let (done, otherwise) = match &flags.task {
        Some(Task::Compare(flags)) => (compare::run(flags), "not every cost passes"),
        Some(Task::Documents(flags)) => (documents::run(flags).map(|()| true), ""),
        None => (run(&flags), "a target was missed"),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("{otherwise}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("measure failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Outcome<bool> {
    let own_folder = std::env::current_exe()?.parent().ok_or("no folder")?.to_owned();
    let (pabal, peers) = match &flags.server {
        Some(server) => (server.clone(), own_folder),
        None => {
            build()?;
            // Each profile has a folder of its own in the target folder.
            let built = own_folder.with_file_name(PROFILE);
            (built.join("pabal"), built)
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
    let (machine, day) = (process::machine(), process::today()?);
    let mut report = Report { machine, day, quick: flags.quick, ..Report::default() };
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

/// Builds the server and its peers as they are released.
fn build() -> Outcome<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--profile", PROFILE, "-p", "pabal-cli", "-p", "pabal-benches", "--bins"]);
    if cargo.status()?.success() { Ok(()) } else { Err("the build failed".into()) }
}
