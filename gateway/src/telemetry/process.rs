//! Memory, CPU time and open files of this process, read from `/proc`. Outside Linux, which has
//! `/proc`, nothing is reported.

/// The use of resources at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ProcessReading {
    /// Resident memory.
    pub(super) resident_bytes: i64,
    /// CPU time since the start, in user and system mode.
    pub(super) cpu_seconds: f64,
    /// Open file descriptors, sockets included.
    pub(super) open_fds: i64,
}

/// `USER_HZ`, the unit of CPU times in `/proc/self/stat`: 100 on every architecture of Linux.
const TICKS_PER_SECOND: f64 = 100.0;

impl ProcessReading {
    /// Reads the current values; `None` on a system without `/proc`.
    pub(super) fn now() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let resident_kib: i64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()?;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The process name, in parentheses, may contain spaces: fields are counted after it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        let open_fds = std::fs::read_dir("/proc/self/fd").ok()?.count();
        Some(Self {
            resident_bytes: resident_kib * 1024,
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            open_fds: i64::try_from(open_fds).ok()?,
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_open_files() {
        let reading = ProcessReading::now().expect("/proc is readable");
        assert!(reading.resident_bytes > 100_000, "{reading:?}");
        assert!(reading.open_fds >= 3, "{reading:?}");
        assert!(reading.cpu_seconds >= 0.0, "{reading:?}");
    }
}
