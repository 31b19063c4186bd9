//! The cluster under faults: each kind once. The oracle must detect every corruption as well.

use pabal_tests::faults::{Plan, Report, run};
use pabal_tests::faulty_proxy::Corruption;

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
    let Some(report) = report(&Plan { seed: 5, duration: None, corruptions: Vec::new() }) else {
        return;
    };
    eprintln!("{report}");
    assert!(report.violations.is_empty(), "{report}");
}

#[test]
fn the_oracle_detects_every_corruption() {
    let corruptions = Corruption::ALL.to_vec();
    let Some(report) = report(&Plan { seed: 5, duration: None, corruptions }) else {
        return;
    };
    for corruption in Corruption::ALL {
        let fault = corruption.fault();
        let found = report.violations.iter().any(|violation| violation.contains(fault));
        assert!(found, "{corruption:?} is not reported as {fault}: {report}");
    }
}
