//! Why the server of a backend cannot be used, as one line for whoever configured it.

use std::fmt;

/// A server at a configured address cannot be used. It displays as one line with the place and
/// without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// Host, port and database, without user and password.
    place: String,
    why: Why,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The address is none of this kind. Do not retry.
    Address(String),
    /// The server answers and says no: wrong password, no such database, no right. A retry will not
    /// help.
    Refused(String),
    /// The server cannot be reached, or is not ready. Worth a retry.
    Unreachable(String),
    /// A newer release has changed the tables, up to this version. Use that release.
    Newer(i64),
    /// An older release has made the tables, or nobody has: version 0.
    Older(i64),
    /// It was begun with the first number of partitions and cannot be used with the second.
    Partitions(u16, u16),
    /// The tables of this version are not the ones that a release makes.
    Altered(i64),
}

impl ConnectError {
    pub(crate) fn new(url: &str, why: Why) -> Self {
        Self { place: place(url).to_owned(), why }
    }

    /// What is wrong.
    pub const fn why(&self) -> &Why {
        &self.why
    }

    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self.why, Why::Unreachable(_))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        let one_line = |detail: &str| detail.split_whitespace().collect::<Vec<_>>().join(" ");
        match &self.why {
            Why::Address(detail) => write!(f, "the address cannot be used: {}", one_line(detail)),
            Why::Refused(detail) => write!(f, "{place} refuses: {}", one_line(detail)),
            Why::Unreachable(detail) => {
                write!(f, "{place} cannot be reached: {}", one_line(detail))
            }
            Why::Newer(version) => {
                write!(f, "{place} was made by a newer release: it has schema version {version}")
            }
            Why::Older(version) => {
                write!(f, "{place} has schema version {version}: run `pabal migrate`")
            }
            Why::Partitions(recorded, asked) => write!(
                f,
                "{place} was begun with {recorded} partitions and cannot be used with {asked}: a \
                 channel would change its partition and its order"
            ),
            Why::Altered(version) => {
                write!(f, "{place} has schema version {version}, but not the one known here")
            }
        }
    }
}

impl std::error::Error for ConnectError {}

/// What an address names, without who asks and with which password.
fn place(url: &str) -> &str {
    let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = behind_scheme.split('/').next().unwrap_or_default();
    // A password may hold any character that is no slash.
    let secret = authority.rfind('@').map_or(0, |at| at + 1);
    behind_scheme[secret..].split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_address_has_no_secrets() {
        for (url, expected) in [
            ("postgres://ann:pass@word@h:5432/chat?sslmode=require", "h:5432/chat"),
            ("postgres://ann:p?ss#@h/chat", "h/chat"),
            ("cassandra://h1,h2:9042/chat", "h1,h2:9042/chat"),
            ("ann:secret@h", "h"),
            ("", ""),
        ] {
            assert_eq!(place(url), expected, "{url}");
        }
    }

    #[test]
    fn an_error_is_one_line() {
        let why = Why::Refused("a line\nand another".to_owned());
        let error = ConnectError::new("postgres://ann:secret@h/chat", why);
        assert_eq!(error.to_string(), "h/chat refuses: a line and another");
    }
}
