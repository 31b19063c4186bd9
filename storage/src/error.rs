//! Why a configured backend server cannot be used, as one line for the operator.

use std::fmt;

/// The server at a configured address cannot be used. Displayed as one line that names host and
/// database, without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// Host, port and database, without user and password.
    location: String,
    failure: ConnectFailure,
}

/// The cause.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The address is invalid. Do not retry; correct it.
    Address(String),
    /// The server rejects the connection or the request: wrong password, unknown database, missing
    /// permission. Do not retry.
    Refused(String),
    /// The server is unreachable or not ready. Retry.
    Unreachable(String),
    /// A newer release changed the tables to this version. Use that release.
    Newer(i64),
    /// The tables have this older version; 0 if there are none. Run `pabal migrate`.
    Older(i64),
    /// The store was created for the first number of partitions and cannot be used with the second.
    Partitions(u16, u16),
    /// The tables of this version differ from those that a release creates.
    Altered(i64),
}

impl ConnectError {
    pub(crate) fn new(url: &str, failure: ConnectFailure) -> Self {
        Self { location: location(url).to_owned(), failure }
    }

    /// The cause.
    pub const fn failure(&self) -> &ConnectFailure {
        &self.failure
    }

    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self.failure, ConnectFailure::Unreachable(_))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = &self.location;
        let one_line = |detail: &str| detail.split_whitespace().collect::<Vec<_>>().join(" ");
        match &self.failure {
            ConnectFailure::Address(detail) => {
                write!(f, "the address cannot be used: {}", one_line(detail))
            }
            ConnectFailure::Refused(detail) => {
                write!(f, "{location} refuses: {}", one_line(detail))
            }
            ConnectFailure::Unreachable(detail) => {
                write!(f, "{location} cannot be reached: {}", one_line(detail))
            }
            ConnectFailure::Newer(version) => {
                write!(
                    f,
                    "{location} was created by a newer release: it has schema version {version}"
                )
            }
            ConnectFailure::Older(version) => {
                write!(f, "{location} has schema version {version}: run `pabal migrate`")
            }
            ConnectFailure::Partitions(recorded, asked) => write!(
                f,
                "{location} was created for {recorded} partitions and cannot be used with {asked}: a \
                 channel would change its partition and its order"
            ),
            ConnectFailure::Altered(version) => {
                write!(
                    f,
                    "{location} has schema version {version}, which differs from the one of this release"
                )
            }
        }
    }
}

impl std::error::Error for ConnectError {}

/// The part of an address without scheme, user, password and parameters.
fn location(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split('/').next().unwrap_or_default();
    // A password may contain any character except a slash.
    let secret = authority.rfind('@').map_or(0, |at| at + 1);
    after_scheme[secret..].split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_displayed_part_of_an_address_has_no_secrets() {
        for (url, expected) in [
            ("postgres://ann:pass@word@h:5432/chat?sslmode=require", "h:5432/chat"),
            ("postgres://ann:p?ss#@h/chat", "h/chat"),
            ("cassandra://h1,h2:9042/chat", "h1,h2:9042/chat"),
            ("ann:secret@h", "h"),
            ("", ""),
        ] {
            assert_eq!(location(url), expected, "{url}");
        }
    }

    #[test]
    fn an_error_is_one_line() {
        let why = ConnectFailure::Refused("a line\nand another".to_owned());
        let error = ConnectError::new("postgres://ann:secret@h/chat", why);
        assert_eq!(error.to_string(), "h/chat refuses: a line and another");
    }
}
