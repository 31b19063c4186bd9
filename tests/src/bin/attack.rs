//! `make attack`: attacks on one node, each limited in count and time, over loopback. Prints the progress and a
//! table. Fails if an attack takes more memory, or slows uninvolved users more, than the node promises.

use std::process::ExitCode;

use pabal_tests::attack::{Attack, pin_this_process, run};

const USAGE: &str = "attack [NAME …]
  NAME  an attack; by default all of them, one after the other";

fn main() -> ExitCode {
    let names: Result<Vec<Attack>, String> = std::env::args()
        .skip(1)
        .map(|name| name.parse().map_err(|error| format!("{name}: {error}")))
        .collect();
    let mut attacks = match names {
        Ok(attacks) => attacks,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if attacks.is_empty() {
        attacks = Attack::ALL.to_vec();
    }
    // Before the runtime: its threads run where this one does.
    if !pin_this_process() {
        println!("this machine has one core: the neighbours' times are not comparable");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let report = match runtime {
        Ok(runtime) => runtime.block_on(run(&attacks, |line| println!("{line}"))),
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::from(2);
        }
    };
    println!("\n{report}");
    if report.held() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
