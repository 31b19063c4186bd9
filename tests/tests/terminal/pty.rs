//! The terminal is restored however the program ends. Each program has a pseudo-terminal (pty(7)), of which the
//! test reads the modes and the output.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pabal_client::Client;
use pabal_terminal::Screen;
use pabal_tests::binary;
use pabal_tests::node::Node;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const SOON: Duration = Duration::from_secs(60);
/// The sequence that takes the screen over, and those that restore the screen, its cursor and plain pastes.
const TAKEN: &str = "\x1b[?1049h";
const RESTORED: [&str; 3] = ["\x1b[?2004l", "\x1b[?1049l", "\x1b[?25h"];
/// How many pieces of output wait for the test; beyond it the program waits.
const PIECES: usize = 64;
/// Set for a test that runs as the program at the terminal.
const WITHIN: &str = "PABAL_TEST_TERMINAL";

/// A pseudo-terminal and the program at it.
struct Terminal {
    /// The program's side. It is kept open, because its modes are read after the program has ended.
    side: OwnedFd,
    child: Child,
    /// The output, piece by piece.
    pieces: Receiver<Vec<u8>>,
    reading: JoinHandle<()>,
    shown: String,
}

impl Terminal {
    fn run(command: &mut Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let side = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&side, size).unwrap();
        let end = || side.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm-256color");
        let child = command.spawn().unwrap();
        let (output, pieces) = sync_channel(PIECES);
        let reading = std::thread::spawn(move || {
            let mut ours = File::from(ours);
            let mut piece = [0; 4096];
            loop {
                match ours.read(&mut piece) {
                    Ok(read @ 1..) if output.send(piece[..read].to_vec()).is_ok() => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // EIO: the other side was closed.
                    _ => return,
                }
            }
        });
        Self { side, child, pieces, reading, shown: String::new() }
    }

    /// Whether the terminal is in raw mode: each key is read at once, and none is echoed.
    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.side).unwrap().local_modes;
        assert_eq!(modes.contains(LocalModes::ICANON), modes.contains(LocalModes::ECHO));
        !modes.contains(LocalModes::ECHO)
    }

    /// Reads until the output contains `words`.
    fn shows(&mut self, words: &str) {
        let until = Instant::now() + SOON;
        while !self.shown.contains(words) {
            match self.pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.shown += &String::from_utf8_lossy(&piece),
                Err(why) => panic!("{why}: {words:?} is not in {:?}", self.shown),
            }
        }
    }

    /// Waits for the end of the program, whose terminal must be restored. Returns the exit status and the
    /// output after that.
    fn ends(mut self) -> (ExitStatus, String) {
        let until = Instant::now() + SOON;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > until => {
                    self.child.kill().unwrap();
                    panic!("the program does not end: {:?}", self.shown);
                }
                None => match self.pieces.recv_timeout(Duration::from_millis(20)) {
                    Ok(piece) => self.shown += &String::from_utf8_lossy(&piece),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => panic!("the terminal is gone"),
                },
            }
        };
        assert!(!self.is_raw(), "keys are not echoed: {:?}", self.shown);
        // With the last handle closed, the rest of the output can be read up to its end.
        drop(self.side);
        let rest: Vec<u8> = self.pieces.iter().flatten().collect();
        self.reading.join().unwrap();
        self.shown += &String::from_utf8_lossy(&rest);
        let taken = self.shown.rfind(TAKEN).expect("the screen was taken");
        for back in RESTORED {
            assert!(self.shown[taken..].contains(back), "no {back:?} in {:?}", self.shown);
        }
        let last = self.shown.rfind(RESTORED[1]).unwrap();
        (status, self.shown.split_off(last))
    }
}

/// Runs one test of this binary at a pseudo-terminal.
fn run_alone(test: &str, what: &str) -> Terminal {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(WITHIN, what);
    let mut terminal = Terminal::run(&mut command);
    terminal.shows(TAKEN);
    terminal
}

#[test]
fn a_panic_restores_the_terminal_before_its_message() {
    const PANIC: &str = "a defect for this test";
    let panics = || panic!("{PANIC}");
    match std::env::var(WITHIN).as_deref() {
        Ok("main task") => {
            let _screen = Screen::enter().unwrap();
            panics();
        }
        // In another task, whose end alone would not end the program.
        Ok("other task") => {
            let _screen = Screen::enter().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let _ended = tokio::spawn(async move { panics() }).await;
                std::future::pending::<()>().await;
            });
        }
        _ => {
            for place in ["main task", "other task"] {
                let test = "pty::a_panic_restores_the_terminal_before_its_message";
                let (status, last) = run_alone(test, place).ends();
                assert_eq!(status.code(), Some(101), "{place}: {last:?}");
                assert!(last.contains(PANIC), "{place}: {last:?}");
            }
        }
    }
}

#[test]
fn a_signal_restores_the_terminal_and_ends_the_program() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let node = Node::shared().await;
        let url = format!("http://{}", node.address().get());
        let client = Client::builder(&url).build().unwrap();
        for (signal, name) in [(Signal::TERM, "ann.term"), (Signal::HUP, "ann.hup")] {
            client.sign_up(name, "correct horse").await.unwrap();
            let mut command = Command::new(binary::path());
            command.args(["chat", "--url", &url, "--user", name]);
            command.env("PABAL_PASSWORD", "correct horse");
            let terminal = tokio::task::spawn_blocking(move || {
                let mut terminal = Terminal::run(&mut command);
                assert!(!terminal.is_raw());
                terminal.shows("new conversation");
                assert!(terminal.is_raw());
                terminal
            });
            let terminal = terminal.await.unwrap();
            let id = Pid::from_raw(terminal.child.id().try_into().unwrap()).unwrap();
            kill_process(id, signal).unwrap();
            let ended = tokio::task::spawn_blocking(move || terminal.ends());
            let (status, last) = ended.await.unwrap();
            assert_eq!(status.code(), Some(0), "{last:?}");
        }
    });
}
