//! A child process with its log, which never outlives the test.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::ready;

/// How much of a log is shown when a server fails.
const SHOWN_BYTES: usize = 4_000;

/// A server's process, in a process group of its own. `kill -9` on drop, and also if the test itself
/// is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    server: Child,
    /// A shell that reads from a pipe held by this process, and kills the server at its end.
    watch: Child,
}

impl Process {
    /// Starts `command`, whose output is appended to `log`.
    ///
    /// # Errors
    /// Errors of the operating system.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> io::Result<Self> {
        let process =
            Self { name: name.to_owned(), log: log.to_owned(), running: Mutex::default() };
        process.start_again(command)?;
        Ok(process)
    }

    /// Starts `command` and waits until `responds` reports that the server responds. Returns `None` if the process
    /// ends before that: its port may have been taken, so try another one.
    ///
    /// # Panics
    /// If it does not respond within [`READY_WITHIN`](crate::READY_WITHIN), or cannot be started.
    pub async fn start_until(
        name: &str,
        command: &mut Command,
        log: &Path,
        responds: impl AsyncFnMut() -> bool,
    ) -> Option<Self> {
        let process = Self::start(name, command, log)
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        process.responds(responds).await.then_some(process)
    }

    /// Waits until the server responds. Returns false if the process ends instead.
    ///
    /// # Panics
    /// As [`start_until`](Self::start_until).
    pub async fn responds(&self, mut responds: impl AsyncFnMut() -> bool) -> bool {
        let what = format!("{} responds", self.name);
        ready::until(&what, async || {
            if self.ended().is_some() {
                return Some(false);
            }
            responds().await.then_some(true)
        })
        .await
    }

    /// Starts a process that was killed again.
    ///
    /// # Errors
    /// Errors of the operating system.
    pub fn start_again(&self, command: &mut Command) -> io::Result<()> {
        self.kill();
        let log = File::options().create(true).append(true).open(&self.log)?;
        let server = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let group = Pid::from_child(&server).as_raw_nonzero();
        let script = format!("read -r _; kill -9 -{group}");
        let watch = Command::new("sh")
            .args(["-c", &script])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let watch = match watch {
            Ok(watch) => watch,
            Err(error) => {
                end(server);
                return Err(error);
            }
        };
        *self.lock() = Some(Running { server, watch });
        Ok(())
    }

    /// Pauses the process, as an overloaded machine does: SIGSTOP to its group.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes a paused process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it as a power cut would: `kill -9` to its group, and waits for its end.
    pub fn kill(&self) {
        if let Some(Running { server, watch }) = self.lock().take() {
            // The watching shell first: later it might kill another process with the same id.
            end(watch);
            end(server);
        }
    }

    /// The exit status, if the process has ended.
    pub fn ended(&self) -> Option<ExitStatus> {
        let mut running = self.lock();
        running.as_mut().and_then(|running| running.server.try_wait().ok().flatten())
    }

    /// The id of its process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn id(&self) -> u32 {
        self.lock().as_ref().expect("the server runs").server.id()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let shown = &bytes[bytes.len().saturating_sub(SHOWN_BYTES)..];
        String::from_utf8_lossy(shown).into_owned()
    }

    fn signal(&self, signal: Signal) {
        let running = self.lock();
        let server = &running.as_ref().expect("the server runs").server;
        kill_process_group(Pid::from_child(server), signal).expect("the process takes a signal");
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the end of the log of {}:\n{}", self.name, self.log());
        }
    }
}

/// Kills the group of a child and waits for the child.
fn end(mut child: Child) {
    // Both fail if the child has ended by itself.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo here; wait"]);
        command
    }

    #[tokio::test]
    async fn a_process_ends_with_its_group_and_leaves_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let process = Process::start("sleeper", &mut sleeper(), &log).expect("a process");
        let group = process.id();
        until_logged(&process).await;
        assert!(alive(group) >= 2, "the process and its child");
        drop(process);
        ready::until("the group ends", async || (alive(group) == 0).then_some(())).await;
    }

    #[tokio::test]
    async fn a_process_that_ends_by_itself_is_not_ready() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let never =
            Process::start_until("false", &mut Command::new("false"), &log, async || false).await;
        assert!(never.is_none());
    }

    /// Kills the test's end of the pipe as the end of the test's process would.
    #[tokio::test]
    async fn a_process_ends_when_the_pipe_of_the_test_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let process = Process::start("sleeper", &mut sleeper(), &log).expect("a process");
        until_logged(&process).await;
        assert!(process.ended().is_none());
        drop(process.lock().as_mut().expect("it runs").watch.stdin.take());
        ready::until("the process ends", async || process.ended()).await;
    }

    /// How many processes of a group are running, by `/proc/*/stat`: `id (name) state parent group …`.
    fn alive(group: u32) -> usize {
        let processes = Path::new("/proc").read_dir().expect("processes").flatten();
        processes
            .filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok())
            .filter(|stat| {
                let behind_name = stat.rsplit(')').next().unwrap_or_default();
                let fields: Vec<_> = behind_name.split_whitespace().collect();
                fields[0] != "Z" && fields[2] == group.to_string()
            })
            .count()
    }

    async fn until_logged(process: &Process) {
        ready::until("the process says something", async || {
            process.log().contains("here").then_some(())
        })
        .await;
    }
}
