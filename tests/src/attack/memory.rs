//! The memory of a process, and the core that it runs on, from `/proc`.

use std::fs;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::time::{Instant, sleep};

/// How long a process may take to release what an attack made it hold.
const RECOVERY: Duration = Duration::from_secs(60);
/// How much of the memory before the attack may be missing afterwards: 10 %.
const KEPT: f64 = 1.1;

/// The memory of one process, in MiB.
#[derive(Debug)]
pub(super) struct Memory {
    process: u32,
}

impl Memory {
    pub(super) fn of(process: u32) -> Self {
        Self { process }
    }

    /// The resident memory.
    pub(super) fn resident(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The highest resident memory since [`reset_peak`](Self::reset_peak).
    pub(super) fn peak(&self) -> f64 {
        self.status("VmHWM:")
    }

    /// Sets the highest resident memory to the current one (`proc_pid_clear_refs(5)`).
    pub(super) fn reset_peak(&self) {
        let path = format!("/proc/{}/clear_refs", self.process);
        fs::write(path, "5").expect("the peak can be reset");
    }

    /// Waits until the resident memory is within 10 % of `before`; `None` if it is not after a minute.
    pub(super) async fn returns_to(&self, before: f64) -> Option<Duration> {
        let began = Instant::now();
        while began.elapsed() < RECOVERY {
            if self.resident() <= before * KEPT {
                return Some(began.elapsed());
            }
            sleep(Duration::from_millis(250)).await;
        }
        None
    }

    fn status(&self, name: &str) -> f64 {
        let path = format!("/proc/{}/status", self.process);
        // A process that was killed for its memory has no status.
        let status = fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|it| it.split_whitespace().next()?.parse::<f64>().ok());
        kibibytes.unwrap_or(f64::INFINITY) / 1024.0
    }

    /// Moves every thread of the process to the first core of the machine.
    pub(super) fn pin_to_first_core(&self) {
        let Some([first, _]) = two_cores() else { return };
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process)).expect("its threads");
        for task in tasks.flatten() {
            let thread = task.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
            // A thread may have ended since the folder was read.
            let _ = sched_setaffinity(thread, &only(first));
        }
    }
}

/// Moves the calling thread, and all that it will start, to the second core: attackers and neighbours do not take
/// time from the node. Returns false on a machine with one core.
pub fn pin_this_process() -> bool {
    let Some([_, second]) = two_cores() else { return false };
    sched_setaffinity(None, &only(second)).is_ok()
}

/// The first two cores of the machine, whatever core this thread is limited to.
fn two_cores() -> Option<[usize; 2]> {
    let process_one = sched_getaffinity(Pid::from_raw(1)).ok()?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| process_one.is_set(*core));
    Some([cores.next()?, cores.next()?])
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}
