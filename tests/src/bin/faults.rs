//! `make faults`: a cluster under load meets faults. Prints the progress, one row per fault and the verdict.
//! Fails if any message was lost, repeated or reordered.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use pabal_tests::faults::{Plan, Report, run};
use rand::RngExt;

const USAGE: &str =
    "faults [--seed NUMBER] [--runs NUMBER] [--duration SECONDS] [--corruption lose|repeat|reorder|forget|late]
       [--json FILE] [--logs FOLDER]
  --runs        number of runs, with this seed and the following ones
  --duration    time in which new faults begin; by default each kind of fault happens once
  --corruption  how a faulty proxy corrupts what one client receives, which must be detected; may be
                given several times (an older name is --lie)
  --json        file to which the figures are appended, one line per run
  --logs        folder for the logs of the nodes if a run fails";

struct Flags {
    plan: Plan,
    runs: u64,
    json: Option<String>,
    logs: Option<String>,
}

fn flags() -> Result<Flags, String> {
    let mut plan = Plan {
        seed: rand::rng().random_range(0..1_000_000),
        duration: None,
        corruptions: Vec::new(),
    };
    let (mut runs, mut json, mut logs) = (1, None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word}: the value is missing"))?;
        let wrong = |error: &dyn std::fmt::Display| format!("{word} {value}: {error}");
        match word.as_str() {
            "--seed" => plan.seed = value.parse().map_err(|error| wrong(&error))?,
            "--runs" => runs = value.parse().map_err(|error| wrong(&error))?,
            "--duration" => {
                let seconds = value.trim_end_matches('s').parse().map_err(|error| wrong(&error))?;
                plan.duration = Some(Duration::from_secs(seconds));
            }
            "--corruption" | "--lie" => {
                plan.corruptions.push(value.parse().map_err(|error| wrong(&error))?)
            }
            "--json" => json = Some(value),
            "--logs" => logs = Some(value),
            _ => return Err(format!("unknown flag {word}")),
        }
    }
    Ok(Flags { plan, runs, json, logs })
}

#[tokio::main]
async fn main() -> ExitCode {
    let Flags { plan, runs, json, logs } = match flags() {
        Ok(flags) => flags,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut failed = Vec::new();
    for seed in plan.seed..plan.seed.saturating_add(runs) {
        println!("seed {seed}");
        let report = match run(&Plan { seed, ..plan.clone() }, |line| println!("{line}")).await {
            Ok(report) => report,
            Err(missing) => {
                eprintln!("{missing}");
                return ExitCode::from(2);
            }
        };
        println!("\n{report}\n");
        if let Err(error) = keep(&report, json.as_deref(), logs.as_deref()) {
            eprintln!("the report cannot be written: {error}");
            return ExitCode::from(2);
        }
        if !report.violations.is_empty() {
            failed.push(seed);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}");
    ExitCode::FAILURE
}

fn keep(report: &Report, json: Option<&str>, logs: Option<&str>) -> std::io::Result<()> {
    if let Some(file) = json {
        let file = std::fs::File::options().create(true).append(true).open(file);
        writeln!(file?, "{}", report.json())?;
    }
    if let Some(folder) = logs {
        for (number, log) in report.logs.iter().enumerate() {
            let name = format!("{}-n{}.log", report.seed, number + 1);
            std::fs::write(Path::new(folder).join(name), log)?;
        }
    }
    Ok(())
}
