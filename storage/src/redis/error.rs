//! Why Redis could not be reached, or did not do what it was asked.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::url::Address;

/// Why no connection could be made when a process starts. One line that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answers. Retry when somebody does.
    #[error("cannot reach Redis at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the network, or the server, says.
        reason: String,
    },
    /// The server refuses who asks. Not worth a retry.
    #[error("Redis at {address} refuses the user or the password: {reason}")]
    Refused {
        /// Where.
        address: String,
        /// What the server says.
        reason: String,
    },
    /// The server is not what is needed. Not worth a retry.
    #[error("Redis at {address} {reason}")]
    Unfit {
        /// Where.
        address: String,
        /// What it is instead.
        reason: String,
    },
    /// It was begun with another number of partitions. Configure that number.
    #[error(
        "Redis at {address} was begun with {recorded} partitions and cannot be used with {asked}: a \
         channel would change its partition and its order"
    )]
    Partitions {
        /// Where.
        address: String,
        /// Its number.
        recorded: String,
        /// The number that was asked for.
        asked: u16,
    },
    /// The certificates to trust cannot be read. Not worth a retry.
    #[error("cannot read the certificates in {file}: {reason}")]
    Certificates {
        /// Which file.
        file: String,
        /// Why not.
        reason: String,
    },
}

impl ConnectError {
    /// Why `address` gave no connection.
    pub(super) fn at(address: &Address, error: &CallError) -> Self {
        let address = address.to_string();
        let reason = error.to_string();
        match error {
            CallError::Server { code, .. } if refuses(code) => Self::Refused { address, reason },
            _ => Self::Unreachable { address, reason },
        }
    }
}

fn refuses(code: &str) -> bool {
    matches!(code, "WRONGPASS" | "NOAUTH" | "NOPERM")
}

/// Why a call failed. Its text is what the ports' errors carry, for the log.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CallError {
    /// There is no connection, or it broke. What was asked may have happened.
    #[error("{0}")]
    Connection(String),
    /// No answer in time. What was asked may have happened.
    #[error("no answer from {0} in time")]
    Late(String),
    /// The server answered with an error: it did nothing.
    #[error("{code} {detail}")]
    Server {
        /// The first word.
        code: String,
        /// The rest.
        detail: String,
        /// What to do about it.
        remedy: Remedy,
    },
    /// The answer is not what the call answers.
    #[error("an answer that makes no sense: {0}")]
    Nonsense(String),
}

/// What to do about an error that the server answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Another server has the slot: look again who has which.
    Elsewhere,
    /// Another server has it just for this call.
    Ask,
    /// It was a primary and is none any more.
    Demoted,
    /// It will pass.
    Wait,
    /// The script has to be sent as a whole.
    Script,
    /// None.
    Nothing,
}

impl From<RedisError> for CallError {
    fn from(error: RedisError) -> Self {
        let remedy = match error.kind() {
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::Moved => Remedy::Elsewhere,
                ServerErrorKind::Ask => Remedy::Ask,
                ServerErrorKind::ReadOnly => Remedy::Demoted,
                ServerErrorKind::NoScript => Remedy::Script,
                ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading => Remedy::Wait,
                _ => Remedy::Nothing,
            },
            ErrorKind::Extension => match error.code() {
                // Of those who waited for entries when a primary was demoted.
                Some("UNBLOCKED") => Remedy::Demoted,
                _ => Remedy::Nothing,
            },
            ErrorKind::AuthenticationFailed => Remedy::Nothing,
            _ => return Self::Connection(error.to_string()),
        };
        // The greeting of redis-rs leaves the server's words out.
        let code = error.code().unwrap_or("WRONGPASS").to_owned();
        let detail = error.detail().unwrap_or("no such user, or another password").to_owned();
        Self::Server { code, detail, remedy }
    }
}

impl CallError {
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::Server { remedy, .. } => *remedy,
            _ => Remedy::Nothing,
        }
    }
}
