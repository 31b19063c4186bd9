//! Pabal in the terminal: `pabal chat`. Built on [`pabal_client`], which does everything that has to
//! do with the network.
//!
//! One task, one direction:
//!
//! 1. Something happens: a key, an event of the server, an answer, a second that has passed. `live` and
//!    the loop below turn it into an `Input` (`input`).
//! 2. `state` takes it in and answers with `Effect`s. It does nothing else, which makes it testable
//!    without a terminal or a server.
//! 3. `live` does what the effects say.
//! 4. `view` draws the state.
//!
//! Everything else is small: `text` (columns of Hangul and emoji, lines that break), `clock` (days and
//! hours where the user is), `panes` (where things stand), `screen` (the terminal, given back whatever
//! happens), `sign_in`, `requests`, `flags`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod text;
mod clock;
mod input;
mod panes;
mod state;
mod view;
mod requests;
mod live;
mod screen;
mod flags;
mod sign_in;
#[cfg(test)]
mod e2e;
#[cfg(test)]
mod pty;

use std::io::{self, IsTerminal, stdout};
use std::path::PathBuf;
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures::{FutureExt, StreamExt};
use pabal_client::{Error, Options};
use ratatui::layout::Size;

use crate::clock::Clock;
use crate::input::Input;
use crate::live::Live;
use crate::requests::told;
use crate::screen::{Screen, Signals};
use crate::state::State;
use crate::view::Theme;

pub use crate::flags::Flags;

/// As many inputs are taken in before the screen is drawn again, if they are there already.
const AT_ONCE: usize = 256;
/// How long to wait at the end for what was sent, and for the server to know that the user left.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why there was no conversation, or no more. For people; a retry is theirs to decide.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// What the server or the client says.
    #[error("{}", told(.0))]
    Client(#[from] Error),
    /// No such user, or another password.
    #[error("{0} (new here? --sign-up)")]
    NotLoggedIn(String),
    /// The two passwords differ.
    #[error("the passwords are not the same")]
    NotTheSame,
    /// No password was given.
    #[error("nobody logged in")]
    GivenUp,
    /// The file to remember things in holds something else.
    #[error("{} is for another server or user, or no such file at all", .0.display())]
    SomethingElse(PathBuf),
    /// The user left before the server had confirmed what was sent; it may be there or not.
    #[error("{0} sends were not confirmed; look whether they are there")]
    InDoubt(usize),
    /// There is nothing to draw on.
    #[error("this needs a terminal")]
    NoTerminal,
    /// The terminal or the disk fails.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs `pabal chat` until the user leaves. The terminal is as it was afterwards.
///
/// # Errors
/// See [`Failure`].
pub fn run(flags: &Flags) -> Result<(), Failure> {
    if !stdout().is_terminal() {
        return Err(Failure::NoTerminal);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(chat(flags))
}

async fn chat(flags: &Flags) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut keys = EventStream::new();
    let account = sign_in::sign_in(flags, &mut keys, &mut signals).await?;
    let policy = flags.transport.into();
    let options = Options { transports: policy, ..Options::default() };
    let connection = tokio::select! {
        connection = account.connect(options) => connection?,
        () = signals.next() => return Ok(()),
    };
    let mut screen = Screen::enter()?;
    let size = screen.terminal.size()?;
    let state = State::new(account.user().clone(), Clock::system(), size, policy);
    let mut live = Live::new(state, account.clone(), connection);
    let theme = Theme::of_environment();
    let ended = tokio::select! {
        ended = converse(&mut live, &mut keys, &mut screen, theme) => ended,
        () = signals.next() => Ok(()),
    };
    drop(screen);
    // What the server does not hear now, it finds out by itself.
    let in_doubt = live.flush(FAREWELL).await;
    let farewell = async {
        if flags.remember.is_some() { live.close().await } else { account.log_out().await }
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
    match in_doubt {
        0 => ended,
        count => ended.and(Err(Failure::InDoubt(count))),
    }
}

/// Takes in what happens and draws it, until the user leaves.
async fn converse(
    live: &mut Live,
    keys: &mut EventStream,
    screen: &mut Screen,
    theme: Theme,
) -> Result<(), Failure> {
    loop {
        screen.terminal.draw(|frame| view::view(&live.state, theme, frame))?;
        let mut input = next(live, keys).await?;
        for _ in 0..AT_ONCE {
            if !live.take(input) {
                return Ok(());
            }
            match next(live, keys).now_or_never() {
                Some(ready) => input = ready?,
                None => break,
            }
        }
    }
}

/// The next thing that happens, at the keyboard or anywhere else. Cancel-safe.
async fn next(live: &mut Live, keys: &mut EventStream) -> Result<Input, Failure> {
    loop {
        let event = tokio::select! {
            input = live.next() => return Ok(input),
            event = keys.next() => event.ok_or(Failure::NoTerminal)??,
        };
        match event {
            Event::Key(key) => return Ok(Input::Key(key)),
            Event::Paste(text) => return Ok(Input::Paste(text)),
            Event::Resize(width, height) => return Ok(Input::Resize(Size { width, height })),
            _ => {}
        }
    }
}
