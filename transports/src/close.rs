//! Why the server ends a stream: the one table of WebSocket close codes (RFC 6455 section 7.4) and of
//! the `closed` event of server-sent events, which carries the same code and reason.
//!
//! Numbers never change: clients switch on them. `docs/protocol.md` shows the table, and a test
//! compares the two. 4000 to 4999 are for applications; the last two digits of ours resemble the HTTP
//! status of the same problem.

use pabal_core::engine::EndReason;
use pabal_core::protocol::{Problem, ProblemCode};

/// Why the server closes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Close {
    /// The frames violate RFC 6455.
    ProtocolError,
    /// A text frame is not UTF-8.
    NotUtf8,
    /// The node is about to stop. The event `draining` went before.
    Draining,
    /// A frame is not a JSON document of the protocol.
    Malformed,
    /// The token of the connection was revoked or has expired.
    TokenEnded,
    /// The session has ended, or no longer holds the events that the client asks for.
    SessionGone,
    /// Another reader of the same session took over.
    Replaced,
    /// A frame or message exceeds the limit.
    TooLarge,
    /// The user sends more requests than the rate limit allows.
    TooFast,
}

/// A row of the table.
struct Row {
    code: u16,
    name: &'static str,
    reason: &'static str,
    retry: bool,
}

impl Close {
    /// Every reason, by rising code.
    pub const ALL: [Self; 9] = [
        Self::ProtocolError,
        Self::NotUtf8,
        Self::Draining,
        Self::Malformed,
        Self::TokenEnded,
        Self::SessionGone,
        Self::Replaced,
        Self::TooLarge,
        Self::TooFast,
    ];

    const fn row(self) -> Row {
        let (code, name, reason, retry) = match self {
            Self::ProtocolError => (1002, "protocol_error", "protocol error", false),
            Self::NotUtf8 => (1007, "not_utf8", "not UTF-8", false),
            Self::Draining => (1012, "draining", "draining", true),
            Self::Malformed => (4400, "malformed", "malformed", false),
            Self::TokenEnded => (4401, "token_ended", "token ended", false),
            Self::SessionGone => (4404, "session_gone", "session gone", true),
            Self::Replaced => (4409, "replaced", "replaced by another connection", false),
            Self::TooLarge => (4413, "too_large", "too large", false),
            Self::TooFast => (4429, "too_fast", "too fast", true),
        };
        Row { code, name, reason, retry }
    }

    /// The close code. Stable.
    pub const fn code(self) -> u16 {
        self.row().code
    }

    /// A name in snake_case, for documents and logs. Stable.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The reason that goes with the code: text for people, at most 123 bytes (RFC 6455 section 5.5).
    /// It may change.
    pub const fn reason(self) -> &'static str {
        self.row().reason
    }

    /// Whether the client broke a rule. It may still be sending, so nothing more of it is waited for, not
    /// even its close frame (RFC 6455 section 7.1.7).
    pub(crate) const fn is_violation(self) -> bool {
        match self {
            Self::ProtocolError
            | Self::NotUtf8
            | Self::Malformed
            | Self::TooLarge
            | Self::TooFast => true,
            Self::Draining | Self::TokenEnded | Self::SessionGone | Self::Replaced => false,
        }
    }

    /// Whether a client that connects again without any change may succeed: to the same session, or
    /// with a new one after [`SessionGone`](Self::SessionGone) and [`Draining`](Self::Draining).
    pub const fn retry(self) -> bool {
        self.row().retry
    }
}

/// The problem of a request or stream that ends because its token has.
pub(crate) fn token_ended() -> Problem {
    Problem::new(ProblemCode::Unauthenticated, "the token has ended: log in")
}

impl From<EndReason> for Close {
    fn from(ended: EndReason) -> Self {
        match ended {
            EndReason::LoggedOut => Self::TokenEnded,
            EndReason::Draining => Self::Draining,
            // `Closed`, `Expired`, and any reason to come: the client opens a new session.
            _ => Self::SessionGone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/protocol.md");

    /// The cells of each row below the heading, without the two rows of the head.
    fn documented() -> Vec<Vec<&'static str>> {
        let (_, section) = DOCUMENT.split_once("## WebSocket close codes\n").unwrap();
        let rows = section.lines().skip_while(|line| !line.starts_with('|'));
        let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
    }

    #[test]
    fn the_document_shows_this_table() {
        let documented: Vec<_> = documented().iter().map(|row| row[..3].to_vec()).collect();
        let table = Close::ALL.map(|close| {
            let retry = if close.retry() { "yes" } else { "no" };
            [close.code().to_string(), format!("`{}`", close.name()), retry.to_owned()]
        });
        assert_eq!(documented, table);
    }

    #[test]
    fn codes_rise_and_reasons_fit_into_a_close_frame() {
        let codes = Close::ALL.map(Close::code);
        assert!(codes.is_sorted_by(|one, next| one < next), "{codes:?}");
        for close in Close::ALL {
            assert!((1..=123).contains(&close.reason().len()), "{close:?}");
        }
    }
}
