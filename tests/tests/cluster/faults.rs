//! The cluster under faults, shortly: each kind once. And the judge, who must not be lied to.

use pabal_tests::faults::{Plan, Report, run};
use pabal_tests::liar::Lie;

use crate::stage::alone;

fn report(plan: &Plan) -> Option<Report> {
    alone(async {
        match run(plan, |line| eprintln!("{line}")).await {
            Ok(report) => Some(report),
            Err(missing) => {
                missing.leave_out();
                None
            }
        }
    })
}

#[test]
fn each_kind_of_fault_loses_repeats_and_reorders_nothing() {
    let Some(report) = report(&Plan { seed: 5, duration: None, lies: Vec::new() }) else {
        return;
    };
    eprintln!("{report}");
    assert!(report.violations.is_empty(), "{report}");
}

#[test]
fn the_judge_finds_out_every_lie() {
    let Some(report) = report(&Plan { seed: 5, duration: None, lies: Lie::ALL.to_vec() }) else {
        return;
    };
    for lie in Lie::ALL {
        let found = report.violations.iter().any(|it| it.contains(lie.is_called()));
        assert!(found, "{lie:?} is not called {}: {report}", lie.is_called());
    }
}
