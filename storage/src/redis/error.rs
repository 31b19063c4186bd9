//! The errors of Redis connections and calls.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::url::Address;

/// Why a process could not connect to Redis at startup. Displayed as one line that names the
/// address and the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server is unreachable. Retry once it runs.
    #[error("cannot reach Redis at {address}: {reason}")]
    Unreachable {
        /// The server's address.
        address: String,
        /// The error of the network or of the server.
        reason: String,
    },
    /// The server rejects the user or the password. Do not retry; correct the address.
    #[error("Redis at {address} refuses the user or the password: {reason}")]
    Refused {
        /// The server's address.
        address: String,
        /// The server's error.
        reason: String,
    },
    /// The server does not meet the requirements: wrong version, a replica, no Redis Cluster. Do
    /// not retry.
    #[error("Redis at {address} {reason}")]
    Unfit {
        /// The server's address.
        address: String,
        /// The requirement that is not met.
        reason: String,
    },
    /// The namespace was created for another number of partitions. Do not retry; configure that
    /// number.
    #[error(
        "Redis at {address} was created for {recorded} partitions and cannot be used with {asked}: a \
         channel would change its partition and its order"
    )]
    Partitions {
        /// The server's address.
        address: String,
        /// The recorded number.
        recorded: String,
        /// The configured number.
        asked: u16,
    },
    /// The file of trusted certificates cannot be read. Do not retry.
    #[error("cannot read the certificates in {file}: {reason}")]
    Certificates {
        /// The file.
        file: String,
        /// The system's error.
        reason: String,
    },
}

impl ConnectError {
    /// The error of a failed connection to `address`.
    pub(super) fn at(address: &Address, error: &CallError) -> Self {
        let address = address.to_string();
        let reason = error.to_string();
        match error {
            CallError::Server { code, .. } if is_access_refusal(code) => {
                Self::Refused { address, reason }
            }
            _ => Self::Unreachable { address, reason },
        }
    }
}

fn is_access_refusal(code: &str) -> bool {
    matches!(code, "WRONGPASS" | "NOAUTH" | "NOPERM")
}

/// Why a call failed. The text becomes the detail of the port's error, for the log.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CallError {
    /// There is no connection, or it broke. The command may have been executed.
    #[error("{0}")]
    Connection(String),
    /// The deadline passed without a reply. The command may have been executed.
    #[error("no reply from {0} in time")]
    Timeout(String),
    /// The server replied with an error; the command was not executed.
    #[error("{code} {detail}")]
    Server {
        /// The error code: the first word of the reply.
        code: String,
        /// The rest of the reply.
        detail: String,
        /// How to handle the error.
        remedy: Remedy,
    },
    /// The reply has another type or form than the command returns.
    #[error("unexpected reply: {0}")]
    UnexpectedReply(String),
}

/// How to handle an error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// MOVED: another server owns the slot. Refresh the slot map.
    RefreshSlots,
    /// ASK: another server serves this one call.
    FollowAsk,
    /// The server was a primary and is now a replica.
    Demoted,
    /// A temporary state. Retry after a pause.
    RetryLater,
    /// NOSCRIPT: send the script's source instead of its hash.
    SendSource,
    /// Not recoverable by this adapter.
    None,
}

impl From<RedisError> for CallError {
    fn from(error: RedisError) -> Self {
        let remedy = match error.kind() {
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::Moved => Remedy::RefreshSlots,
                ServerErrorKind::Ask => Remedy::FollowAsk,
                ServerErrorKind::ReadOnly => Remedy::Demoted,
                ServerErrorKind::NoScript => Remedy::SendSource,
                ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading => Remedy::RetryLater,
                _ => Remedy::None,
            },
            ErrorKind::Extension => match error.code() {
                // Sent to blocked readers when their primary is demoted.
                Some("UNBLOCKED") => Remedy::Demoted,
                _ => Remedy::None,
            },
            ErrorKind::AuthenticationFailed => Remedy::None,
            _ => return Self::Connection(error.to_string()),
        };
        // redis-rs omits the server's text for errors of the handshake.
        let code = error.code().unwrap_or("WRONGPASS").to_owned();
        let detail = error.detail().unwrap_or("no such user, or another password").to_owned();
        Self::Server { code, detail, remedy }
    }
}

impl CallError {
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::Server { remedy, .. } => *remedy,
            _ => Remedy::None,
        }
    }
}
