//! Pabal in the terminal: `pabal chat`. Built on [`pabal_client`], which does everything that has to
//! do with the network.
//!
//! One task, one direction:
//!
//! 1. Something happens: a key, an event of the server, an answer, a second that has passed. `chat`
//!    turns it into an `Input` (`input`).
//! 2. `state` takes it in and answers with `Effect`s. It does nothing else, which makes it testable
//!    without a terminal or a server.
//! 3. `chat` does what the effects say.
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

use crate::requests::told;
use crate::screen::Signals;

pub use crate::chat::Chat;
pub use crate::flags::Flags;
pub use crate::screen::Screen;

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
    // A farewell that does not reach the server is no loss: the session ends by its timeout.
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
