//! The command line: `pabal lab`.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::Outcome;
use crate::grid::{Size, Step, steps};
use crate::ledger::{self, Context, Ledger};
use crate::peers::{self, PeerRow};
use crate::process;
use crate::record::Record;
use crate::report::{Findings, Origin};
use crate::runner::Bench;

/// The estimated overhead of a cell beyond warm-up and window, until the first cells are measured.
const AROUND: Duration = Duration::from_secs(4);
/// Why a cell is missing after an interrupt.
const INTERRUPTED: &str = "interrupted";
/// The file of the rows of other systems.
const PEERS: &str = "peers.json";

/// The flags of `pabal lab`. Cells that this program has measured on this machine before are not measured
/// again, so an interrupted run continues.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Measure fewer cells with shorter windows, within two minutes; no model is fitted
    #[arg(long)]
    pub quick: bool,
    /// Folder of the report and its data
    #[arg(long, value_name = "DIR", default_value = "lab")]
    pub out: PathBuf,
    /// Measure all cells again
    #[arg(long)]
    pub fresh: bool,
    /// Measure only cells whose names contain this, such as `websocket/60-a-minute`; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// Measure nothing, and make the report of all measurements in the folder
    #[arg(long, conflicts_with_all = ["quick", "fresh", "only", "peers"])]
    pub redraw: bool,
    /// List the cells and measure nothing
    #[arg(long)]
    pub list: bool,
    /// Measure nchan, Socket.IO and Centrifuge at the same work, too; installs their packages where they are
    /// missing. Takes about four minutes more
    #[arg(long)]
    pub peers: bool,
    /// Folder of those packages
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub peers_dir: PathBuf,
    /// Program to measure instead of this one
    #[arg(long, value_name = "PROGRAM")]
    pub server: Option<PathBuf>,
    /// Measure a few clients for a second, for the tests
    #[arg(long, hide = true, conflicts_with = "quick")]
    pub tiny: bool,
    /// Write the fitted model to this file, for `cost/prices.json`
    #[arg(long, value_name = "FILE")]
    pub save_model: Option<PathBuf>,
}

impl Flags {
    fn size(&self) -> Size {
        match (self.quick, self.tiny) {
            (true, _) => Size::Quick,
            (_, true) => Size::Tiny,
            _ => Size::Whole,
        }
    }
}

/// Why there is no report, or why it is incomplete, in one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The run could not start or continue.
    #[error("{0}")]
    Broken(#[from] Box<dyn std::error::Error + Send + Sync>),
    /// The report says which cells are invalid or missing.
    #[error("not every cell was measured and clean; see {}", .0.display())]
    NotClean(PathBuf),
}

/// Measures the cells and writes the report.
///
/// # Errors
/// [`Failure`]; what was measured is kept in either case.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    if flags.list {
        for step in chosen(flags)? {
            println!("{}", step.cell.name());
        }
        return Ok(());
    }
    fs::create_dir_all(&flags.out).map_err(|error| cannot(&flags.out, &error))?;
    let findings = if flags.redraw { redraw(flags) } else { measure(flags) }?;
    let page = findings.write(&flags.out)?;
    if let Some(path) = &flags.save_model {
        if !findings.fitted_here {
            return Err(Failure::Broken("too few cells to fit a model to".into()));
        }
        let mut text = serde_json::to_string_pretty(&findings.model).map_err(Box::from)?;
        text.push('\n');
        fs::write(path, text).map_err(|error| cannot(path, &error))?;
    }
    println!("{}\n{}", findings.summary(), page.display());
    if findings.is_clean() { Ok(()) } else { Err(Failure::NotClean(page)) }
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Broken(format!("{}: {error}", path.display()).into())
}

fn chosen(flags: &Flags) -> Outcome<Vec<Step>> {
    let mut steps = steps(flags.size());
    if !flags.only.is_empty() {
        let wanted = |name: &str| flags.only.iter().any(|text| name.contains(text.as_str()));
        steps.retain(|step| wanted(&step.cell.name()));
        if steps.is_empty() {
            return Err("no cell has such a name; --list shows them".into());
        }
    }
    Ok(steps)
}

fn redraw(flags: &Flags) -> Outcome<Findings> {
    let records = ledger::everything(&flags.out)?;
    let peers = known_peers(&flags.out)?;
    if records.is_empty() {
        return Err(format!("nothing was measured into {}", flags.out.display()).into());
    }
    Ok(Findings::new(origin()?, records, Vec::new(), peers))
}

fn measure(flags: &Flags) -> Outcome<Findings> {
    let steps = chosen(flags)?;
    let program = match &flags.server {
        Some(program) => program.canonicalize()?,
        None => std::env::current_exe()?,
    };
    let file = fs::metadata(&program)?;
    let since = file.modified()?.duration_since(std::time::UNIX_EPOCH)?;
    let context = Context {
        program: format!("{} bytes of {}", file.len(), since.as_millis()),
        machine: process::machine_name(),
        size: flags.size(),
    };
    let mut ledger = Ledger::open(&flags.out, context, flags.fresh)?;
    let origin = origin()?;
    if std::thread::available_parallelism()?.get() > 1 {
        process::bind(process::GENERATOR_CORE)?;
    }
    let bench = Bench { program: program.clone(), folder: flags.out.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let missing = runtime.block_on(measure_all(&bench, &steps, &mut ledger));
    let names: BTreeSet<_> = steps.iter().map(|step| step.cell.name()).collect();
    let records: Vec<Record> = names.iter().filter_map(|name| ledger.get(name).cloned()).collect();
    if records.is_empty() {
        let why = missing.first().map_or("nothing was measured", |(_, why)| why.as_str());
        return Err(why.to_owned().into());
    }
    let interrupted = missing.iter().any(|(_, why)| why == INTERRUPTED);
    if flags.peers && !interrupted {
        let options = peers::Options::new(program, flags.peers_dir.clone(), flags.out.clone());
        let rows = peers::run(&options, &|line| eprintln!("{line}"))?;
        fs::write(flags.out.join(PEERS), serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(Findings::new(origin, records, missing, known_peers(&flags.out)?))
}

/// The rows of other systems in a folder; none if they were never measured.
fn known_peers(folder: &Path) -> Outcome<Vec<PeerRow>> {
    match fs::read(folder.join(PEERS)) {
        Ok(rows) => Ok(serde_json::from_slice(&rows)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{PEERS}: {error}").into()),
    }
}

/// Measures the unknown cells; returns those that could not be measured, and why.
async fn measure_all(bench: &Bench, steps: &[Step], ledger: &mut Ledger) -> Vec<(String, String)> {
    let open: Vec<_> =
        steps.iter().filter(|step| ledger.get(&step.cell.name()).is_none()).collect();
    let mut progress = Progress::new(steps.len() - open.len(), &open);
    let mut missing = Vec::new();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    for (number, step) in open.iter().enumerate() {
        let name = step.cell.name();
        progress.begin(&name, &open[number..]);
        let outcome = tokio::select! {
            outcome = bench.measure(step) => outcome.and_then(|record| {
                progress.end(&record);
                ledger.keep(record)
            }),
            _ = &mut interrupted => {
                let left = open[number..].iter().map(|step| step.cell.name());
                missing.extend(left.map(|name| (name, INTERRUPTED.to_owned())));
                break;
            }
            never = progress.tick() => match never {},
        };
        if let Err(error) = outcome {
            progress.say(&format!("{name}: {error}"));
            missing.push((name, error.to_string()));
        }
    }
    progress.bar.finish_and_clear();
    missing
}

fn origin() -> Outcome<Origin> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    Ok(Origin {
        machine: process::machine(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: format!("pabal {arguments}"),
        day: process::today()?,
    })
}

/// The progress display: a bar on a terminal, a line per cell elsewhere.
struct Progress {
    bar: ProgressBar,
    /// The overhead of the measured cells beyond warm-up and window.
    around: Vec<Duration>,
    began: Instant,
    step: Option<Step>,
}

impl Progress {
    fn new(known: usize, open: &[&Step]) -> Self {
        let bar = ProgressBar::new((known + open.len()) as u64).with_position(known as u64);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} · {prefix} left · {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let progress = Self { bar, around: Vec::new(), began: Instant::now(), step: None };
        progress.say(&format!(
            "{known} cells are known, {} to measure: about {}",
            open.len(),
            clock(progress.left(open))
        ));
        progress
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    fn left(&self, open: &[&Step]) -> Duration {
        let around = match self.around.len() {
            0 => AROUND,
            count => self.around.iter().sum::<Duration>() / count as u32,
        };
        open.iter().map(|step| step.warm_up + step.window + around).sum()
    }

    fn begin(&mut self, name: &str, open: &[&Step]) {
        self.began = Instant::now();
        self.step = open.first().map(|step| **step);
        self.bar.set_prefix(clock(self.left(open)));
        self.bar.set_message(name.to_owned());
    }

    fn end(&mut self, record: &Record) {
        let took = self.began.elapsed();
        if let Some(step) = self.step {
            self.around.push(took.saturating_sub(step.warm_up + step.window));
        }
        self.bar.inc(1);
        let latency = record.latency.map_or("–".to_owned(), |latency| {
            format!("p50 {:.1} ms, p99 {:.1} ms", latency.p50, latency.p99)
        });
        let state = match (record.is_valid(), record.generator_bound) {
            (false, _) => ", INVALID",
            (_, true) => ", generator-bound",
            _ => "",
        };
        self.say(&format!(
            "{}: {} deliveries, {latency}, CPU {:.1} % of a core, generator {:.0} %{state} ({:.0} s)",
            record.cell.name(),
            record.counts.deliveries,
            record.server_cpu_us / record.seconds / 1e4,
            record.generator_cpu_us / record.seconds / 1e4,
            took.as_secs_f64()
        ));
    }

    /// Updates the bar once a second.
    async fn tick(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.bar.tick();
        }
    }
}

fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
