//! The terminal: taken over at the beginning, and restored however the program ends.

use std::io::{self, Stdout, stdout};
use std::sync::Once;

use crossterm::cursor::Show;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Size;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::chat::Chat;

/// The exit status after a panic, the same as that of Rust's runtime.
const PANICKED: i32 = 101;

/// A terminal in raw mode: each key is read at once, and none is echoed. Ends on drop.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    pub(crate) fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Drop cannot report an error, and the program is about to end.
        let _ = disable_raw_mode();
    }
}

/// The whole screen of the terminal at standard output. Its earlier contents and modes come back on
/// drop, and before the message of a panic. The hook for that stays installed and ends the program with
/// status 101 after a panic in any task: without that task the chat would be frozen and the terminal
/// raw.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    _raw: Raw,
}

impl Screen {
    /// Takes the screen over: raw mode, the alternate screen and bracketed paste.
    ///
    /// # Errors
    /// If standard output is no terminal or it cannot be written.
    pub fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave();
                before(panic);
                std::process::exit(PANICKED);
            }));
        });
        let raw = Raw::enter()?;
        execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste)?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(Self { terminal, _raw: raw })
    }

    /// Its columns and rows.
    ///
    /// # Errors
    /// If the terminal does not report them.
    pub fn size(&self) -> io::Result<Size> {
        self.terminal.size()
    }

    /// Shows the chat as it is now. Only cells that have changed are written.
    ///
    /// # Errors
    /// If the terminal cannot be written.
    pub fn draw(&mut self, chat: &Chat) -> io::Result<()> {
        self.terminal.draw(|frame| chat.draw(frame)).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn leave() {
    let _ = execute!(stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// The signals that end the program, which restores the terminal first.
pub(crate) struct Signals([Signal; 3]);

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        let of = |kind: fn() -> SignalKind| signal(kind());
        let (terminate, interrupt, hangup) =
            (of(SignalKind::terminate)?, of(SignalKind::interrupt)?, of(SignalKind::hangup)?);
        Ok(Self([terminate, interrupt, hangup]))
    }

    pub(crate) async fn next(&mut self) {
        let Self([terminate, interrupt, hangup]) = self;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
