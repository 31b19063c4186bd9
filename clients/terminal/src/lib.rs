//! The terminal chat client: `pabal chat`. Built on [`pabal_client`], which does everything that needs the
//! network.
//!
//! One task, one direction:
//!
//! 1. A key press, an event of the server, a response or the passing of a second becomes an `Input`
//!    (`input`).
//! 2. `state` handles the input and returns `Effect`s. It does nothing else, so it can be tested without a
//!    terminal or a server.
//! 3. `chat` carries the effects out.
//! 4. `view` draws the state.
//!
//! The other files are small: `text` (widths of Hangul and emoji, line breaks), `clock` (local days and
//! hours), `panes` (the layout), `screen` (the terminal, which is restored however the program ends),
//! `sign_in`, `requests`, `flags`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod text;
mod clock;
mod input;
mod panes;
mod state;
mod view;
mod requests;
mod chat;
mod screen;
mod flags;
mod sign_in;

use std::io::{self, IsTerminal, stdout};
use std::path::PathBuf;
use std::time::Duration;

use crossterm::event::EventStream;
use futures::{FutureExt, StreamExt};
use pabal_client::{Error, Options};

use crate::requests::describe;
use crate::screen::Signals;

pub use crate::chat::Chat;
pub use crate::flags::Flags;
pub use crate::screen::Screen;

/// How many inputs that are ready already are handled before the screen is drawn again.
const AT_ONCE: usize = 256;
/// How long to wait at the end for unconfirmed messages, and as long again for the server to be notified.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why `pabal chat` failed. The texts are for the user, who decides on a retry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The server or the connection failed. [`Error::retryable`] says whether a retry can help.
    #[error("{}", describe(.0))]
    Client(#[from] Error),
    /// There is no such user, or the password is wrong. Do not retry.
    #[error("{0} (use --sign-up to create the user)")]
    NotLoggedIn(String),
    /// The two passwords of a sign-up differ.
    #[error("the two passwords differ")]
    PasswordsDiffer,
    /// The user canceled the password prompt.
    #[error("the log-in was canceled")]
    Canceled,
    /// The file of `--remember` belongs to another server or user, or is no token file.
    #[error("{} holds no token for this server and user; choose another file", .0.display())]
    WrongTokenFile(PathBuf),
    /// The user left before these messages were confirmed. The channel may hold them or not.
    #[error("{0} messages were not confirmed; check whether their channels hold them")]
    InDoubt(usize),
    /// Standard output is no terminal, or the terminal was closed.
    #[error("a terminal is needed")]
    NoTerminal,
    /// The terminal or the disk failed.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs `pabal chat` until the user leaves or a signal (SIGTERM, SIGINT, SIGHUP) ends it. The terminal is
/// restored in every case, a panic included.
///
/// # Errors
/// See [`Failure`].
pub fn run(flags: &Flags) -> Result<(), Failure> {
    if !stdout().is_terminal() {
        return Err(Failure::NoTerminal);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(sign_in_and_chat(flags))
}

async fn sign_in_and_chat(flags: &Flags) -> Result<(), Failure> {
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
    let mut chat = Chat::new(account.clone(), connection, policy, screen.size()?);
    let ended = tokio::select! {
        ended = converse(&mut chat, &mut keys, &mut screen) => ended,
        () = signals.next() => Ok(()),
    };
    drop(screen);
    // If the server cannot be notified, it ends the session by its timeout.
    let in_doubt = chat.flush(FAREWELL).await;
    let farewell = async {
        if flags.remember.is_some() { chat.close().await } else { account.log_out().await }
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
    match in_doubt {
        0 => ended,
        count => ended.and(Err(Failure::InDoubt(count))),
    }
}

/// Handles inputs and draws, until the user leaves.
async fn converse(
    chat: &mut Chat,
    keys: &mut EventStream,
    screen: &mut Screen,
) -> Result<(), Failure> {
    loop {
        screen.draw(chat)?;
        if !step(chat, keys).await? {
            return Ok(());
        }
        for _ in 1..AT_ONCE {
            let Some(continues) = step(chat, keys).now_or_never() else { break };
            if !continues? {
                return Ok(());
            }
        }
    }
}

/// Handles the next input, of the terminal or of the connection. Returns whether the chat continues.
/// Cancel-safe.
async fn step(chat: &mut Chat, keys: &mut EventStream) -> Result<bool, Failure> {
    tokio::select! {
        continues = chat.advance() => Ok(continues),
        event = keys.next() => Ok(chat.handle(event.ok_or(Failure::NoTerminal)??)),
    }
}
