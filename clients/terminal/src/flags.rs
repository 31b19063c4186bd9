//! The flags of `pabal chat`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pabal_client::{Policy, Transport};

/// The flags of `pabal chat`. A password is asked for, or taken from the variable `PABAL_PASSWORD`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Where the server is.
    #[arg(long, value_name = "URL", env = "PABAL_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// Who you are.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// How messages come.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) transport: Choice,
    /// Makes this user first.
    #[arg(long)]
    pub(crate) sign_up: bool,
    /// Keeps you logged in between runs, by a token in this file that only you can read.
    #[arg(long, value_name = "FILE")]
    pub(crate) remember: Option<PathBuf>,
}

/// How messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// The best that gets through.
    Auto,
    Websocket,
    Sse,
    LongPolling,
    Polling,
}

impl From<Choice> for Policy {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Auto => Self::Auto,
            Choice::Websocket => Self::Only(Transport::WebSocket),
            Choice::Sse => Self::Only(Transport::Sse),
            Choice::LongPolling => Self::Only(Transport::LongPolling),
            Choice::Polling => Self::Only(Transport::ShortPolling),
        }
    }
}
