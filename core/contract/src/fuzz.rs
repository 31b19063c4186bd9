//! Support for fuzz targets: runs a property for a given time on mutated inputs. Owns the time
//! budget and the mutations; the property is the target's.
//!
//! A target is a test in a module `fuzz`. `make test` runs each for two seconds, `make fuzz` for a
//! minute. A failing input is minimised, printed, and stored in a file `fuzz.regressions` next to
//! the target; later runs try it first.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

/// The environment variable with the seconds for each target.
const SECONDS: &str = "PABAL_FUZZ_SECONDS";
/// The default time for each target.
const QUICK: Duration = Duration::from_secs(2);
/// The number of inputs between two checks of the time.
const ROUND: u32 = 32;
/// The maximum length of a mutated input in bytes. Inputs beyond the limits of frames and bodies
/// have their own tests.
const MAX_BYTES: usize = 256 << 10;

/// Tests `property` on inputs of `strategy`. `source` is the target's file (`file!()`).
///
/// # Panics
/// If the property does not hold, with the smallest failing input; if `PABAL_FUZZ_SECONDS` is not a
/// number.
pub fn run_for_budget<S: Strategy>(
    source: &'static str,
    strategy: S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let budget = std::env::var(SECONDS).map_or(QUICK, |seconds| {
        Duration::from_secs(seconds.parse().expect("PABAL_FUZZ_SECONDS is a number"))
    });
    let config = Config {
        cases: ROUND,
        source_file: Some(source),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        // Minimising a failure is limited to 30 s.
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let (started, mut inputs) = (Instant::now(), 0_u64);
    while inputs == 0 || started.elapsed() < budget {
        // A runner executes `cases` inputs once.
        if let Err(failure) = TestRunner::new(config.clone()).run(&strategy, &property) {
            panic!("{failure}");
        }
        inputs += u64::from(ROUND);
    }
    eprintln!("{source}: {inputs} inputs in {:.0} s", started.elapsed().as_secs_f64());
}

/// A mutation of an input.
#[derive(Clone, Debug)]
enum Mutation {
    /// Flips one bit.
    Flip(Index, u8),
    /// Truncates the input.
    Cut(Index),
    /// Removes a piece of up to this many bytes.
    Remove(Index, usize),
    /// Repeats a piece this many times.
    Repeat(Index, usize, usize),
    /// Inserts bytes.
    Insert(Index, Vec<u8>),
    /// Replaces bytes.
    Replace(Index, Vec<u8>),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index| index.index(bytes.len() + 1);
        let piece = |index: &Index, length: usize| {
            let start = index.index(bytes.len() + 1);
            start..(start + length).min(bytes.len())
        };
        match self {
            Self::Flip(index, bit) if !bytes.is_empty() => {
                let at = index.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Self::Flip(..) => {}
            Self::Cut(index) => bytes.truncate(at(index)),
            Self::Remove(index, length) => drop(bytes.drain(piece(index, *length))),
            Self::Repeat(index, length, times) => {
                let piece = piece(index, *length);
                let again = bytes[piece.clone()].repeat(*times);
                bytes.splice(piece.end..piece.end, again);
            }
            Self::Insert(index, token) => {
                let at = at(index);
                bytes.splice(at..at, token.iter().copied());
            }
            Self::Replace(index, token) => {
                bytes.splice(piece(index, token.len()), token.iter().copied());
            }
        }
        bytes.truncate(MAX_BYTES);
    }
}

/// Inputs of `strategy` with up to four mutations: flipped bits; removed, repeated or replaced
/// pieces; truncation; inserted `tokens` and random bytes. One in five inputs is unchanged.
pub fn mutated(
    strategy: impl Strategy<Value = Vec<u8>>,
    tokens: &'static [&'static [u8]],
) -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        3 => select(tokens).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 1..9),
    ];
    let mutation = prop_oneof![
        3 => (any::<Index>(), 0..8_u8).prop_map(|(index, bit)| Mutation::Flip(index, bit)),
        1 => any::<Index>().prop_map(Mutation::Cut),
        1 => (any::<Index>(), 1..40_usize).prop_map(|(index, length)| Mutation::Remove(index, length)),
        1 => (any::<Index>(), 1..40_usize, prop_oneof![9 => 1..4_usize, 1 => 4..3_000_usize])
            .prop_map(|(index, length, times)| Mutation::Repeat(index, length, times)),
        2 => (any::<Index>(), token.clone()).prop_map(|(index, token)| Mutation::Insert(index, token)),
        2 => (any::<Index>(), token).prop_map(|(index, token)| Mutation::Replace(index, token)),
    ];
    (strategy, vec(mutation, 0..5)).prop_map(|(mut bytes, mutations)| {
        mutations.iter().for_each(|mutation| mutation.apply(&mut bytes));
        bytes
    })
}
