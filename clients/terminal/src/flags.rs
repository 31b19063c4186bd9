//! The flags of `pabal chat`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pabal_client::{Policy, Transport};

/// The flags of `pabal chat`. The password is prompted for, or read from the variable `PABAL_PASSWORD`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// URL of the server.
    #[arg(long, value_name = "URL", env = "PABAL_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// User name.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// Transport of the messages.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) transport: Choice,
    /// Create this user first.
    #[arg(long)]
    pub(crate) sign_up: bool,
    /// Stay logged in between runs by a token in this file, which only you can read.
    #[arg(long, value_name = "FILE")]
    pub(crate) remember: Option<PathBuf>,
}

/// The transport of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// The best one that works.
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
