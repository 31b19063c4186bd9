//! Server processes under measurement: starting them on a core, and what the kernel says they use.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::cpu::ThreadTimes;

/// The core of the servers.
pub const SERVER_CORE: &str = "0";
/// The core of the load generator.
pub const GENERATOR_CORE: &str = "1";
/// Environment of a Pabal whose memory is measured: the allocator returns free pages to the system at once, so
/// that they neither count for clients nor are reused by them.
pub const GIVE_BACK: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "0");
/// The cores of a measurement that runs in this process only.
pub const BOTH_CORES: &str = "0,1";

/// How long a server may take until it responds.
const READY: Duration = Duration::from_secs(10);
/// The interval between two attempts.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// A server that runs on [`SERVER_CORE`] until this is dropped, with all the processes it starts.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    threads: Mutex<ThreadTimes>,
}

impl Server {
    /// Starts `program` and waits for its line `listening on http://…`, or `https://…`.
    ///
    /// # Errors
    /// If it does not start, or ends without that line.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Outcome<Self> {
        let mut server = Self::spawn(program, arguments, environment, Stdio::piped())?;
        let stdout = server.child.stdout.take().ok_or("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ");
        let address = url.and_then(|url| url.split_once("://")).map(|(_, address)| address);
        server.address = address.and_then(|address| address.parse().ok()).ok_or_else(|| {
            format!("{} printed {line:?} instead of its address", program.display())
        })?;
        Ok(server)
    }

    /// Starts `program`, whose arguments hold its address, and waits until `responds` returns true.
    ///
    /// # Errors
    /// If it does not start, ends, or does not respond for ten seconds.
    pub fn start_at(
        address: SocketAddr,
        program: &Path,
        arguments: &[&str],
        responds: impl Fn(SocketAddr) -> bool,
    ) -> Outcome<Self> {
        let mut server = Self::spawn(program, arguments, &[], Stdio::null())?;
        server.address = address;
        let until = Instant::now() + READY;
        while !responds(address) {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{} ended: {status}", program.display()).into());
            }
            if Instant::now() > until {
                return Err(format!("{} does not respond", program.display()).into());
            }
            std::thread::sleep(ASK_AGAIN);
        }
        Ok(server)
    }

    /// Starts `program` on the core of the servers. If the calling thread ends first, the kernel sends SIGTERM
    /// to the program (prctl(2), `PR_SET_PDEATHSIG`).
    fn spawn(
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        stdout: Stdio,
    ) -> Outcome<Self> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", SERVER_CORE])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(stdout)
            // A process group of its own, which can be killed as a whole.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Self { child, address, threads: Mutex::default() })
    }

    /// Starts Pabal on a data folder and a free port, with a configuration of its own on top.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn pabal(program: &Path, data: &Path, environment: &[(&str, &str)]) -> Outcome<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::pabal_at(any, program, data, environment)
    }

    /// The same, at a given address.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn pabal_at(
        address: SocketAddr,
        program: &Path,
        data: &Path,
        environment: &[(&str, &str)],
    ) -> Outcome<Self> {
        let data = data.to_str().ok_or("the data folder's name is not UTF-8")?;
        let listen = address.to_string();
        let arguments = ["serve", "--listen", &listen, "--data", data, "--no-rate-limits"];
        let quiet = ("PABAL_LOG_FILTER", "warn");
        let environment: Vec<_> =
            std::iter::once(quiet).chain(environment.iter().copied()).collect();
        Self::start(program, &arguments, &environment)
    }

    /// The address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits for the end; returns how long that took.
    ///
    /// # Errors
    /// If its exit status is a failure.
    pub fn stop(mut self) -> Outcome<Duration> {
        let start = Instant::now();
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        )?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(start.elapsed())
        } else {
            Err(format!("stopped: {status}").into())
        }
    }

    /// The number of its open files, including sockets.
    ///
    /// # Errors
    /// If it has ended.
    pub fn open_files(&self) -> Outcome<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count())
    }

    /// The CPU time that it and its processes have used, see [`cpu`].
    ///
    /// # Errors
    /// If it has ended.
    pub fn cpu(&self) -> Outcome<Duration> {
        self.pids()?.into_iter().map(cpu).sum()
    }

    /// The CPU time that its threads have used so far, to the nanosecond, see [`ThreadTimes`].
    ///
    /// # Errors
    /// If it has ended.
    pub fn cpu_clock(&self) -> Outcome<Duration> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).read(self.pid())
    }

    /// Kills it at once; returns the CPU time of its whole life, added up over its threads and as the
    /// kernel accounts it to the parent of an ended process. The parent waits for no other process
    /// meanwhile.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn end(self) -> Outcome<(Duration, Duration)> {
        let (by_threads, before) = (self.cpu_clock()?, cpu_of_ended()?);
        drop(self);
        Ok((by_threads, cpu_of_ended()?.saturating_sub(before)))
    }

    fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    fn kill(&self) {
        // It may have ended already.
        let _ = rustix::process::kill_process_group(self.id(), rustix::process::Signal::KILL);
    }

    /// Resident memory in bytes of it and its processes, counted page by page: the sums in `status`
    /// are approximate. Pages that they share count for each.
    ///
    /// # Errors
    /// If it has ended.
    pub fn rss(&self) -> Outcome<u64> {
        self.pids()?.into_iter().map(rss).sum()
    }

    /// Its process and those that it started.
    fn pids(&self) -> Outcome<Vec<u32>> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let mut pids = vec![pid];
        for child in children.split_ascii_whitespace() {
            pids.push(child.parse()?);
        }
        Ok(pids)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A measured server has nothing worth a clean stop.
        self.kill();
        let _ = self.child.wait();
    }
}

fn rss(pid: u32) -> Outcome<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.ok_or("no Rss")?.trim().parse::<u64>()? * 1024)
}

/// CPU time of a process, user and system, of all threads, those that ended too. The kernel scales
/// the pair so that its sum is exact to one clock tick (10 ms) each.
///
/// # Errors
/// If there is no such process.
pub fn cpu(pid: u32) -> Outcome<Duration> {
    two_times(&pid.to_string(), UTIME)
}

/// CPU time of all processes that this one has waited for, to one clock tick (10 ms) each for user and
/// system.
fn cpu_of_ended() -> Outcome<Duration> {
    two_times("self", CUTIME)
}

/// The fields of `/proc/PID/stat` after the program's name at which the user times of the process and of
/// its ended children are; the system time follows each (proc_pid_stat(5)).
const UTIME: usize = 11;
const CUTIME: usize = 13;

fn two_times(process: &str, first: usize) -> Outcome<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the program's name in brackets and may hold spaces.
    let (_, rest) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let mut fields = rest.split_ascii_whitespace().skip(first);
    let mut ticks = || -> Outcome<u64> { Ok(fields.next().ok_or("a short stat")?.parse()?) };
    let ticks = ticks()? + ticks()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// CPU time of this process, to the nanosecond.
pub fn own_cpu_clock() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let expected = "the CPU time of a process is not negative";
    Duration::try_from(time).unwrap_or_else(|_| unreachable!("{expected}"))
}

/// The day in UTC, as `2026-11-22`: for the reader of a report.
///
/// # Errors
/// If the clock is beyond the year 9999.
pub fn today() -> Outcome<String> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Ok(time::OffsetDateTime::from_unix_timestamp(now.tv_sec)?.date().to_string())
}

/// Packets and bytes that the kernel has counted on the loopback interface.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn loopback() -> Outcome<(u64, u64)> {
    let devices = fs::read_to_string("/proc/net/dev")?;
    let line = devices.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
    let mut fields = line.ok_or("no loopback interface")?.split_ascii_whitespace();
    let bytes = fields.next().ok_or("a short line in /proc/net/dev")?.parse()?;
    let packets = fields.next().ok_or("a short line in /proc/net/dev")?.parse()?;
    Ok((packets, bytes))
}

/// The time for which programs have used a core, given by its number.
///
/// # Errors
/// If there is no such core.
pub fn core_busy(core: &str) -> Outcome<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name)).ok_or("no such core")?;
    // User, nice and system; interrupts belong to no program.
    let ticks = line.split(' ').take(3).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Memory that the kernel uses for TCP sockets of this machine, in bytes.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn kernel_tcp_bytes() -> Outcome<u64> {
    let sockets = fs::read_to_string("/proc/net/sockstat")?;
    let line = sockets.lines().find(|line| line.starts_with("TCP:")).ok_or("no TCP")?;
    let pages = line.split(' ').skip_while(|word| *word != "mem").nth(1).ok_or("no mem")?;
    Ok(pages.parse::<u64>()? * rustix::param::page_size() as u64)
}

/// CPU time of the living threads of this process with this name.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn cpu_of_threads(name: &str) -> Outcome<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread may end between the listing and the reading.
        let comm = fs::read_to_string(task.join("comm")).unwrap_or_default();
        if comm.trim() == name {
            let stat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            nanos += stat.split(' ').next().and_then(|run| run.parse().ok()).unwrap_or(0u64);
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// Binds this whole process to cores, as `taskset` writes them.
///
/// # Errors
/// If there is no such core, or no `taskset`.
pub fn bind(cores: &str) -> Outcome<()> {
    bind_other(std::process::id(), cores)
}

/// Binds another process to cores.
///
/// # Errors
/// As [`bind`].
pub fn bind_other(pid: u32, cores: &str) -> Outcome<()> {
    let pid = pid.to_string();
    let done =
        Command::new("taskset").args(["-acp", cores, &pid]).stdout(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(format!("cannot bind to core {cores}").into()) }
}

/// The machine, in one line, and how busy it is.
pub fn machine() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{}, load {}", machine_name(), load.split(' ').next().unwrap_or("?"))
}

/// The machine, in one line that stays the same.
pub fn machine_name() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let models: Vec<_> = cpus.lines().filter(|line| line.starts_with("model name")).collect();
    let model = models.first().and_then(|line| line.split_once(": ")).map_or("?", |(_, name)| name);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{} × {model}, Linux {}", models.len(), kernel.trim())
}
