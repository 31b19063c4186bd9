//! The error of the model on cells that it was not fitted to (cross-validation).

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Serialize;

use super::{Model, Pace, as_it_was, fit};
use crate::record::{Family, Record};

/// A quarter of the cells is held out, four times, until each was.
const FOLDS: usize = 4;

/// Relative errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Errors {
    /// Cells.
    pub cells: usize,
    /// The median.
    pub median: f64,
    /// The greatest.
    pub worst: f64,
}

/// One cell that the fit did not include.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Held {
    /// The index of the record.
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

/// The errors of the model on cells that it was not fitted to.
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

/// Fits four times, each time without a quarter of the cells, and compares the predictions with that quarter.
/// The quarters are drawn at random, evenly from each transport; the same seed draws the same quarters.
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
        let hidden = (0..records.len()).filter(|&one| fold[one] == out);
        held.extend(hidden.map(|number| compare(&model, records, number, pace)));
    }
    held.sort_by_key(|one| one.record);
    Check::new(held, records)
}

fn compare(model: &Model, records: &[&Record], number: usize, pace: Pace) -> Held {
    let record = records[number];
    let predicted = model.predict(&as_it_was(record), pace);
    Held {
        record: number,
        cpu_us: record.server_cpu_us / record.seconds,
        cpu_us_predicted: predicted.cpu_us,
        bytes: (record.counts.bytes_in + record.counts.bytes_out) as f64 / record.seconds,
        bytes_predicted: predicted.bytes,
    }
}

impl Check {
    /// The errors of a model on any cells.
    pub fn of(model: &Model, records: &[&Record], pace: Pace) -> Self {
        let all = 0..records.len();
        Self::new(all.map(|number| compare(model, records, number, pace)).collect(), records)
    }

    fn new(held: Vec<Held>, records: &[&Record]) -> Self {
        let share = |measured: f64, predicted: f64| {
            (measured > 0.0).then(|| (predicted - measured).abs() / measured)
        };
        let cpu = |one: &Held| share(one.cpu_us, one.cpu_us_predicted);
        let bytes = |one: &Held| share(one.bytes, one.bytes_predicted);
        let errors = |error: &dyn Fn(&Held) -> Option<f64>, family: Option<Family>| {
            let of = |one: &&Held| Family::of(records[one.record].cell.plan.transport);
            let held = held.iter().filter(|one| family.is_none_or(|family| of(one) == family));
            let mut errors: Vec<_> = held.filter_map(error).collect();
            errors.sort_by(f64::total_cmp);
            Errors {
                cells: errors.len(),
                median: errors.get(errors.len() / 2).copied().unwrap_or(0.0),
                worst: errors.last().copied().unwrap_or(0.0),
            }
        };
        let each = |error: &dyn Fn(&Held) -> Option<f64>| -> BTreeMap<_, _> {
            let all = Family::ALL.map(|family| (family, errors(error, Some(family))));
            all.into_iter().filter(|(_, errors)| errors.cells > 0).collect()
        };
        Self {
            cpu: each(&cpu),
            cpu_all: errors(&cpu, None),
            bytes: each(&bytes),
            bytes_all: errors(&bytes, None),
            held,
        }
    }
}
