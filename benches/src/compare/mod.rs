//! Two programs in alternating pairs: `measure compare --before PROGRAM --after PROGRAM`. Each pair
//! measures each cell on both, one straight after the other, and every other pair begins with the later
//! program (A B, B A, …), so that a drift of the machine hits both alike. The verdicts are of the ratios
//! of the pairs.

pub mod costs;
pub mod results;
pub mod statistics;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use pabal_lab::process;

use self::costs::{Cell, Cost, Size, Subject};
use self::results::{Comparison, Program, Results, Turn};
use self::statistics::{AT_MOST, Estimate, Verdict};
use crate::Outcome;
use crate::report::{figure, median};

/// Compare two programs in alternating pairs of runs.
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// The earlier program, a `pabal` of the profile `dist`
    #[arg(long, value_name = "PROGRAM")]
    before: PathBuf,
    /// The later program, of the same profile
    #[arg(long, value_name = "PROGRAM")]
    after: PathBuf,
    /// Pairs of runs; fewer than 6 have no interval of 95 %
    #[arg(long, value_name = "COUNT", default_value_t = 9)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=999))]
    pairs: u16,
    /// Cells to measure, separated by commas; all of them by default
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CELL")]
    cells: Vec<Cell>,
    /// Use shorter windows and 3,000 idle sessions: about half a minute a pair
    #[arg(long)]
    quick: bool,
    /// Begin no turn after this many minutes; the same command continues later
    #[arg(long, value_name = "MINUTES", default_value_t = 30)]
    within: u64,
    /// File of the finished turns, from which an interrupted comparison continues
    #[arg(long, value_name = "FILE", default_value = "target/measure/compare.jsonl")]
    results: PathBuf,
    /// Folder on whose disk the data folders are made
    #[arg(long, value_name = "FOLDER", default_value_os_t = std::env::temp_dir())]
    disk: PathBuf,
}

/// Runs a comparison and prints its table; returns whether every cost passes.
///
/// # Errors
/// If a program fails in a cell, or the file of results cannot be used. Finished turns are kept, and the
/// same command continues after them.
pub fn run(flags: &Flags) -> Outcome<bool> {
    process::bind(process::GENERATOR_CORE)?;
    let size = if flags.quick { Size::QUICK } else { Size::FULL };
    let (before, after) = (Program::of(&flags.before)?, Program::of(&flags.after)?);
    let mut results = Results::open(&flags.results, &Comparison { before, after, size })?;
    let cells = if flags.cells.is_empty() { Cell::value_variants() } else { &flags.cells };
    let turns =
        (0..usize::from(flags.pairs)).flat_map(|pair| cells.iter().map(move |&cell| (pair, cell)));
    let turns: Vec<_> = turns.filter(|&(pair, cell)| !results.has(pair, cell)).collect();
    let complete = turns.is_empty() || measure(flags, size, &turns, &mut results)?;
    println!("{}", table(&results, cells)?);
    if !complete {
        eprintln!("stopped after {} min; the same command continues", flags.within);
    }
    Ok(complete && passes(&results, cells)?)
}

/// Measures the turns that are missing; returns whether there was time for all of them.
fn measure(
    flags: &Flags,
    size: Size,
    turns: &[(usize, Cell)],
    results: &mut Results,
) -> Outcome<bool> {
    let prepare = |program: &Path| Subject::prepare(program, &flags.disk, size);
    let (before, after) = (prepare(&flags.before)?, prepare(&flags.after)?);
    let start = Instant::now();
    for (number, &(pair, cell)) in turns.iter().enumerate() {
        if start.elapsed() >= Duration::from_secs(60 * flags.within) {
            return Ok(false);
        }
        eprintln!(
            "pair {} of {}, {cell:?}: turn {} of {}{}",
            pair + 1,
            flags.pairs,
            number + 1,
            turns.len(),
            remaining(start.elapsed(), number, turns.len())
        );
        let turn = if pair % 2 == 0 {
            let before = before.costs(cell)?;
            Turn { pair, cell, before, after: after.costs(cell)? }
        } else {
            let after = after.costs(cell)?;
            Turn { pair, cell, before: before.costs(cell)?, after }
        };
        for (one, other) in both(&turn)? {
            eprintln!("  {}: {} → {}", one.what, figure(one.value), figure(other.value));
        }
        results.add(turn)?;
    }
    Ok(true)
}

/// The time that the remaining turns take if they take as long as the finished ones.
fn remaining(elapsed: Duration, done: usize, all: usize) -> String {
    if done == 0 {
        return String::new();
    }
    let seconds = elapsed.as_secs_f64() / done as f64 * (all - done) as f64;
    format!(", about {:.0} s left", seconds)
}

/// The figures of a turn in pairs.
fn both(turn: &Turn) -> Outcome<impl Iterator<Item = (&Cost, &Cost)>> {
    let same =
        turn.before.iter().map(|cost| &cost.what).eq(turn.after.iter().map(|cost| &cost.what));
    if same {
        Ok(turn.before.iter().zip(&turn.after))
    } else {
        Err(format!("pair {}, {:?}: the programs have different figures", turn.pair, turn.cell)
            .into())
    }
}

/// A cost in all pairs.
struct Compared {
    cell: Cell,
    what: String,
    before: Vec<f64>,
    after: Vec<f64>,
}

impl Compared {
    /// Every cost of `cells`, in the order in which it was measured.
    fn of(results: &Results, cells: &[Cell]) -> Outcome<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        for &cell in cells {
            for turn in results.of(cell) {
                for (before, after) in both(turn)? {
                    let known = |one: &Self| one.cell == cell && one.what == before.what;
                    let number = all.iter().position(known).unwrap_or_else(|| {
                        let what = before.what.clone();
                        all.push(Self { cell, what, before: Vec::new(), after: Vec::new() });
                        all.len() - 1
                    });
                    all[number].before.push(before.value);
                    all[number].after.push(after.value);
                }
            }
        }
        Ok(all)
    }

    fn estimate(&self) -> Option<Estimate> {
        let ratios = self.before.iter().zip(&self.after).map(|(before, after)| after / before);
        Estimate::of(&ratios.collect::<Vec<_>>())
    }
}

/// Whether every cost passes.
fn passes(results: &Results, cells: &[Cell]) -> Outcome<bool> {
    let verdicts = Compared::of(results, cells)?;
    let mut verdicts = verdicts.iter().filter_map(Compared::estimate).map(|it| it.verdict());
    Ok(verdicts.all(|verdict| verdict == Verdict::Pass))
}

/// The comparison as Markdown: medians of both programs, and the median of the ratios of the pairs.
fn table(results: &Results, cells: &[Cell]) -> Outcome<String> {
    let mut text = format!(
        "machine: {}; ratios are after to before, a cost passes up to {AT_MOST} or if the interval \
         covers 1\n\n\
         | cell | cost | before | after | pairs | median ratio | 95 % interval | |\n\
         |---|---|---|---|---|---|---|---|\n",
        process::machine()
    );
    for cost in Compared::of(results, cells)? {
        let Some(estimate) = cost.estimate() else { continue };
        let interval =
            estimate.interval.map_or("–".into(), |(low, high)| format!("{low:.3} to {high:.3}"));
        writeln!(
            text,
            "| {:?} | {} | {} | {} | {} | {:.3} | {interval} | {} |",
            cost.cell,
            cost.what,
            figure(median(cost.before.iter().copied())),
            figure(median(cost.after.iter().copied())),
            cost.before.len(),
            estimate.median,
            estimate.verdict()
        )?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(folder: &Path, ratios: &[f64]) -> Results {
        let program = Program { path: "pabal".into(), bytes: 1, modified_ms: 2 };
        let comparison = Comparison { before: program.clone(), after: program, size: Size::QUICK };
        let mut results = Results::open(&folder.join("it"), &comparison).expect("a new file");
        for (pair, ratio) in ratios.iter().enumerate() {
            let costs = |value| vec![Cost { what: "µs a send".into(), value }];
            // The machine slows down from pair to pair, for both programs alike.
            let before = 10.0 * (pair + 1) as f64;
            let turn = Turn {
                pair,
                cell: Cell::Durable,
                before: costs(before),
                after: costs(before * ratio),
            };
            results.add(turn).expect("it is written");
        }
        results
    }

    #[test]
    fn ratios_are_of_pairs_and_not_of_medians() {
        let folder = tempfile::tempdir().expect("a folder");
        let results = results(folder.path(), &[1.0, 1.01, 1.02, 1.03, 1.0, 1.01]);
        let text = table(&results, &[Cell::Durable]).expect("a table");
        let row = "| Durable | µs a send | 35.0 | 35.9 | 6 | 1.010 | 1.000 to 1.030 | pass |";
        assert!(text.contains(row), "{text}");
        assert!(passes(&results, &[Cell::Durable]).expect("verdicts"));
    }

    #[test]
    fn a_program_that_costs_more_in_every_pair_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let results = results(folder.path(), &[1.05, 1.06, 1.05, 1.04, 1.05, 1.07]);
        assert!(!passes(&results, &[Cell::Durable]).expect("verdicts"));
        let text = table(&results, &[Cell::Durable]).expect("a table");
        assert!(text.contains("| WORSE |"), "{text}");
    }

    #[test]
    fn the_remaining_time_follows_the_finished_turns() {
        assert_eq!(remaining(Duration::from_secs(30), 3, 9), ", about 60 s left");
        assert_eq!(remaining(Duration::ZERO, 0, 9), "");
    }
}
