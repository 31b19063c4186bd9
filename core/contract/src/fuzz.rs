//! Fuzz targets: a property that is tried for as long as is asked, on inputs that are nearly right.
//! Owns for how long, and how inputs are spoiled; what must hold, each target knows.
//!
//! A target is a test in a module `fuzz`. `make test` tries each for two seconds, `make fuzz` for a
//! minute. A failure is made small, shown, and kept in a file `fuzz.regressions` beside the
//! target, from where it is tried first from then on.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

/// The variable that says for how many seconds each target runs.
const SECONDS: &str = "PABAL_FUZZ_SECONDS";
/// For how long where nothing is said.
const QUICK: Duration = Duration::from_secs(2);
/// Inputs between two looks at the time.
const ROUND: u32 = 32;
/// No spoiled input is longer, in bytes: what is larger than frames and bodies may be has other tests.
const LONGEST: usize = 256 << 10;

/// Tries `property` on inputs of `strategy`, of the target in the file `source` (`file!()`).
///
/// # Panics
/// If the property does not hold, with the smallest input that was found; if `PABAL_FUZZ_SECONDS`
/// is no number.
pub fn for_a_while<S: Strategy>(
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
        // A failure is worth the time that making it small takes, but not all of it.
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let (begun, mut inputs) = (Instant::now(), 0_u64);
    while inputs == 0 || begun.elapsed() < budget {
        // A runner counts to `cases` once in its life.
        if let Err(failure) = TestRunner::new(config.clone()).run(&strategy, &property) {
            panic!("{failure}");
        }
        inputs += u64::from(ROUND);
    }
    eprintln!("{source}: {inputs} inputs in {:.0} s", begun.elapsed().as_secs_f64());
}

/// One way in which an input may have been spoiled.
#[derive(Clone, Debug)]
enum Spoil {
    /// One bit is another.
    Flip(Index, u8),
    /// It ends here.
    Cut(Index),
    /// A piece of up to so many bytes is gone …
    Remove(Index, usize),
    /// … or stands there so many times more.
    Repeat(Index, usize, usize),
    /// Something stands where it does not belong …
    Insert(Index, Vec<u8>),
    /// … or instead of what did.
    Replace(Index, Vec<u8>),
}

impl Spoil {
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
        bytes.truncate(LONGEST);
    }
}

/// What `strategy` makes, spoiled in up to four ways: bits turned, pieces lost, repeated or replaced,
/// the end cut off, `tokens` and bytes of chance where they do not belong. One in five stays as it is.
pub fn spoiled(
    strategy: impl Strategy<Value = Vec<u8>>,
    tokens: &'static [&'static [u8]],
) -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        3 => select(tokens).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 1..9),
    ];
    let spoil = prop_oneof![
        3 => (any::<Index>(), 0..8_u8).prop_map(|(index, bit)| Spoil::Flip(index, bit)),
        1 => any::<Index>().prop_map(Spoil::Cut),
        1 => (any::<Index>(), 1..40_usize).prop_map(|(index, length)| Spoil::Remove(index, length)),
        1 => (any::<Index>(), 1..40_usize, prop_oneof![9 => 1..4_usize, 1 => 4..3_000_usize])
            .prop_map(|(index, length, times)| Spoil::Repeat(index, length, times)),
        2 => (any::<Index>(), token.clone()).prop_map(|(index, token)| Spoil::Insert(index, token)),
        2 => (any::<Index>(), token).prop_map(|(index, token)| Spoil::Replace(index, token)),
    ];
    (strategy, vec(spoil, 0..5)).prop_map(|(mut bytes, spoils)| {
        spoils.iter().for_each(|spoil| spoil.apply(&mut bytes));
        bytes
    })
}
