//! How far the model is off on cells that it did not see.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Serialize;

use super::{Pace, as_it_was, fit};
use crate::record::{Family, Record};

/// A quarter of the cells is held out, four times, until each was.
const FOLDS: usize = 4;

/// Errors as shares of what was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Errors {
    /// Cells.
    pub cells: usize,
    /// Half of them were off by at most this.
    pub median: f64,
    /// The greatest.
    pub worst: f64,
}

/// One cell that the fit did not see.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Held {
    /// Which of the records.
    pub record: usize,
    /// Microseconds of CPU of the server in a second, as measured.
    pub cpu_us: f64,
    /// As predicted.
    pub cpu_us_predicted: f64,
    /// Bytes in a second, as measured.
    pub bytes: f64,
    /// As predicted.
    pub bytes_predicted: f64,
}

/// The model against cells that it did not see.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Check {
    /// Cell by cell.
    pub held: Vec<Held>,
    /// CPU, for each transport.
    pub cpu: BTreeMap<Family, Errors>,
    /// CPU, over all.
    pub cpu_all: Errors,
    /// Bytes, for each transport.
    pub bytes: BTreeMap<Family, Errors>,
    /// Bytes, over all.
    pub bytes_all: Errors,
}

/// Fits four times, each time without a quarter of the cells, and compares that quarter with what the
/// fit says of it. The quarters are drawn by lot, evenly from each transport; the same seed draws
/// the same.
pub fn check(records: &[&Record], pace: Pace, seed: u64) -> Check {
    let mut fold = vec![0; records.len()];
    let mut random = StdRng::seed_from_u64(seed);
    let mut dealt = 0;
    for family in Family::ALL {
        let mut members: Vec<_> = (0..records.len())
            .filter(|&number| Family::of(records[number].cell.plan.transport) == family)
            .collect();
        members.shuffle(&mut random);
        for number in members {
            fold[number] = dealt % FOLDS;
            dealt += 1;
        }
    }
    let mut held = Vec::new();
    for out in 0..FOLDS {
        let seen: Vec<_> =
            (0..records.len()).filter(|&one| fold[one] != out).map(|one| records[one]).collect();
        let model = fit(String::new(), pace, &seen);
        for number in (0..records.len()).filter(|&one| fold[one] == out) {
            let record = records[number];
            let predicted = model.predict(&as_it_was(record), pace);
            held.push(Held {
                record: number,
                cpu_us: record.server_cpu_us / record.seconds,
                cpu_us_predicted: predicted.cpu_us,
                bytes: (record.counts.bytes_in + record.counts.bytes_out) as f64 / record.seconds,
                bytes_predicted: predicted.bytes,
            });
        }
    }
    held.sort_by_key(|one| one.record);
    let errors = |family: Option<Family>, error: &dyn Fn(&Held) -> Option<f64>| {
        let of = |one: &Held| Family::of(records[one.record].cell.plan.transport);
        let mut errors: Vec<_> = held
            .iter()
            .filter(|one| family.is_none_or(|family| of(one) == family))
            .filter_map(error)
            .collect();
        errors.sort_by(f64::total_cmp);
        Errors {
            cells: errors.len(),
            median: errors.get(errors.len() / 2).copied().unwrap_or(0.0),
            worst: errors.last().copied().unwrap_or(0.0),
        }
    };
    let share = |measured: f64, predicted: f64| {
        (measured > 0.0).then(|| (predicted - measured).abs() / measured)
    };
    let cpu = |one: &Held| share(one.cpu_us, one.cpu_us_predicted);
    let bytes = |one: &Held| share(one.bytes, one.bytes_predicted);
    let each = |error: &dyn Fn(&Held) -> Option<f64>| {
        let all = Family::ALL.into_iter().map(|family| (family, errors(Some(family), error)));
        all.filter(|(_, errors)| errors.cells > 0).collect::<BTreeMap<_, _>>()
    };
    let (by_cpu, by_bytes) = (each(&cpu), each(&bytes));
    let (cpu_all, bytes_all) = (errors(None, &cpu), errors(None, &bytes));
    Check { cpu: by_cpu, cpu_all, bytes: by_bytes, bytes_all, held }
}
