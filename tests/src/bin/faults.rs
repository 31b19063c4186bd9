//! `make faults`: a cluster under load meets faults. Progress while it runs, a row a fault and the
//! verdict at the end; fails if anything was lost, repeated or out of order.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use pabal_tests::faults::{Plan, Report, run};
use rand::RngExt;

const USAGE: &str =
    "faults [--seed NUMBER] [--runs NUMBER] [--duration SECONDS] [--lie lose|repeat|reorder|forget|late]
       [--json FILE] [--logs FOLDER]
  --runs      as many runs, of this seed and those behind it
  --duration  how long new faults begin; without it, each kind of fault comes once
  --lie       what is done on the way to a client, and has to be found out; may be repeated
  --json      adds the figures to a file, a line a run
  --logs      where the nodes' logs go if the run fails";

struct Asked {
    plan: Plan,
    runs: u64,
    json: Option<String>,
    logs: Option<String>,
}

fn asked() -> Result<Asked, String> {
    let mut plan =
        Plan { seed: rand::rng().random_range(0..1_000_000), duration: None, lies: Vec::new() };
    let (mut runs, mut json, mut logs) = (1, None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word}: a value is missing"))?;
        let wrong = |error: &dyn std::fmt::Display| format!("{word} {value}: {error}");
        match word.as_str() {
            "--seed" => plan.seed = value.parse().map_err(|error| wrong(&error))?,
            "--runs" => runs = value.parse().map_err(|error| wrong(&error))?,
            "--duration" => {
                let seconds = value.trim_end_matches('s').parse().map_err(|error| wrong(&error))?;
                plan.duration = Some(Duration::from_secs(seconds));
            }
            "--lie" => plan.lies.push(value.parse().map_err(|error| wrong(&error))?),
            "--json" => json = Some(value),
            "--logs" => logs = Some(value),
            _ => return Err(format!("{word} is not known")),
        }
    }
    Ok(Asked { plan, runs, json, logs })
}

#[tokio::main]
async fn main() -> ExitCode {
    let Asked { plan, runs, json, logs } = match asked() {
        Ok(asked) => asked,
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
            eprintln!("the report is not kept: {error}");
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
