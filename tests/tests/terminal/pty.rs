//! The terminal is given back, whatever the end is: programs at a pseudo-terminal of their own (pty(7)),
//! which keeps its modes and everything that was written to it.

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
/// What takes the whole screen, and what gives it back, with its cursor and plain pastes.
const TAKEN: &str = "\x1b[?1049h";
const GIVEN_BACK: [&str; 3] = ["\x1b[?2004l", "\x1b[?1049l", "\x1b[?25h"];
/// As many pieces of output as wait to be looked at; beyond it the program waits.
const PIECES: usize = 64;
/// Tells a test that it is the program at the terminal.
const WITHIN: &str = "PABAL_TEST_TERMINAL";

/// A terminal and the program at it.
struct Terminal {
    /// The program's side, kept open: its modes are asked for after the program has ended.
    side: OwnedFd,
    child: Child,
    /// What was written, piece by piece.
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
        let (tell, pieces) = sync_channel(PIECES);
        let reading = std::thread::spawn(move || {
            let mut ours = File::from(ours);
            let mut piece = [0; 4096];
            loop {
                match ours.read(&mut piece) {
                    Ok(read @ 1..) if tell.send(piece[..read].to_vec()).is_ok() => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // EIO: nobody has the other side open any more.
                    _ => return,
                }
            }
        });
        Self { side, child, pieces, reading, shown: String::new() }
    }

    /// Whether keys come one by one and nothing is echoed.
    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.side).unwrap().local_modes;
        assert_eq!(modes.contains(LocalModes::ICANON), modes.contains(LocalModes::ECHO));
        !modes.contains(LocalModes::ECHO)
    }

    /// Reads until this was shown.
    fn shows(&mut self, words: &str) {
        let until = Instant::now() + SOON;
        while !self.shown.contains(words) {
            match self.pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.shown += &String::from_utf8_lossy(&piece),
                Err(why) => panic!("{why}: {words:?} is not in {:?}", self.shown),
            }
        }
    }

    /// How the program ended; its terminal must be as it was before.
    fn ends(mut self) -> (ExitStatus, String) {
        let until = Instant::now() + SOON;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > until => {
                    self.child.kill().unwrap();
                    panic!("it does not end: {:?}", self.shown);
                }
                None => match self.pieces.recv_timeout(Duration::from_millis(20)) {
                    Ok(piece) => self.shown += &String::from_utf8_lossy(&piece),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => panic!("the terminal is gone"),
                },
            }
        };
        assert!(!self.is_raw(), "keys are not echoed: {:?}", self.shown);
        // Now that nobody has it open any more, what is left of it can be read.
        drop(self.side);
        let rest: Vec<u8> = self.pieces.iter().flatten().collect();
        self.reading.join().unwrap();
        self.shown += &String::from_utf8_lossy(&rest);
        let taken = self.shown.rfind(TAKEN).expect("the screen was taken");
        for back in GIVEN_BACK {
            assert!(self.shown[taken..].contains(back), "no {back:?} in {:?}", self.shown);
        }
        let last = self.shown.rfind(GIVEN_BACK[1]).unwrap();
        (status, self.shown.split_off(last))
    }
}

/// This test alone, at a terminal of its own.
fn alone(test: &str, what: &str) -> Terminal {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(WITHIN, what);
    let mut terminal = Terminal::run(&mut command);
    terminal.shows(TAKEN);
    terminal
}

#[test]
fn a_panic_is_read_on_a_terminal_that_was_given_back() {
    const PANIC: &str = "something that nobody thought of";
    let panics = || panic!("{PANIC}");
    match std::env::var(WITHIN).as_deref() {
        Ok("here") => {
            let _screen = Screen::enter().unwrap();
            panics();
        }
        // In a task, whose end alone the program would go on without.
        Ok("elsewhere") => {
            let _screen = Screen::enter().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let _ended = tokio::spawn(async move { panics() }).await;
                std::future::pending::<()>().await;
            });
        }
        _ => {
            for place in ["here", "elsewhere"] {
                let test = "pty::a_panic_is_read_on_a_terminal_that_was_given_back";
                let (status, last) = alone(test, place).ends();
                assert_eq!(status.code(), Some(101), "{place}: {last:?}");
                assert!(last.contains(PANIC), "{place}: {last:?}");
            }
        }
    }
}

#[test]
fn a_signal_gives_the_terminal_back_and_ends_the_conversation() {
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
                terminal.shows("talk to somebody");
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
