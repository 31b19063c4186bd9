//! The CPU time of another process, to the nanosecond.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use crate::Outcome;

/// The CPU time of a process, added up over its threads (`/proc/PID/task/TID/schedstat`). Threads that
/// ended between two readings keep what they had at the earlier one: what a thread uses after the last
/// reading before its end is missing, and so is a thread that no reading saw. A running thread is behind
/// by at most a tick of the scheduler.
#[derive(Debug, Default)]
pub struct ThreadTimes {
    /// By thread, what it had used at the last reading.
    living: BTreeMap<u32, Duration>,
    /// The sum of the threads that have ended.
    ended: Duration,
}

impl ThreadTimes {
    /// The CPU time of the process so far.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn read(&mut self, pid: u32) -> Outcome<Duration> {
        let mut living = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            let thread = task.file_name().to_str().ok_or("a thread without a number")?.parse()?;
            match fs::read_to_string(task.path().join("schedstat")) {
                Ok(stat) => {
                    let nanos = stat.split(' ').next().ok_or("an empty schedstat")?.parse()?;
                    living.insert(thread, Duration::from_nanos(nanos));
                }
                // The thread ended after the listing.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.update(living))
    }

    fn update(&mut self, living: BTreeMap<u32, Duration>) -> Duration {
        for (thread, used) in &self.living {
            // Less than before is another thread with the same number.
            if living.get(thread).is_none_or(|now| now < used) {
                self.ended += *used;
            }
        }
        self.living = living;
        self.ended + self.living.values().sum::<Duration>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::own_cpu_clock;

    #[test]
    fn threads_that_ended_keep_their_time() {
        let millis = |times: &[(u32, u64)]| {
            times.iter().map(|&(thread, it)| (thread, Duration::from_millis(it))).collect()
        };
        let mut times = ThreadTimes::default();
        assert_eq!(times.update(millis(&[(1, 50), (2, 30)])), Duration::from_millis(80));
        assert_eq!(times.update(millis(&[(1, 60)])), Duration::from_millis(90));
        // Another thread with a number that was used before.
        assert_eq!(times.update(millis(&[(1, 60), (2, 5)])), Duration::from_millis(95));
        assert_eq!(times.update(millis(&[(1, 60), (2, 3)])), Duration::from_millis(98));
    }

    #[test]
    fn the_sum_of_the_threads_grows_with_the_clock_of_the_process() {
        let mut times = ThreadTimes::default();
        let (clock, before) = (own_cpu_clock(), times.read(std::process::id()).expect("times"));
        let spent = Duration::from_millis(50);
        while own_cpu_clock() - clock < spent {
            std::hint::spin_loop();
        }
        let after = times.read(std::process::id()).expect("times");
        assert!(after > before, "{before:?} to {after:?}");
        // Threads of other tests that no reading saw are in the clock only.
        assert!(after <= own_cpu_clock() + Duration::from_millis(10), "{after:?}");
    }
}
