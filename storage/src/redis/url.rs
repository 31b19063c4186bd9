//! The address of Redis as operators write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// The address of Redis:
///
/// - `redis://[user:password@]host[:port][/database]`: a single Redis, or any server of a Redis
///   Cluster;
/// - `redis://…@host:port,host:port`: servers of a Redis Cluster, of which one must be reachable;
/// - `redis+sentinel://[user:password@]host[:port],…/name[/database]`: the server that the
///   Sentinels report as primary of `name`. User and password are those of the servers, not of the
///   Sentinels.
///
/// `rediss://` and `rediss+sentinel://` use TLS; `?ca=<file>` names a PEM file of trusted
/// certificates, which replaces the system's. User, password and file may be percent-encoded.
/// Default ports: 6379, Sentinels 26379. `Display` and `Debug` hide the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub(super) tls: bool,
    pub(super) hosts: Vec<Address>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
    /// The name of the primary that the Sentinels monitor.
    pub(super) sentinel: Option<String>,
    pub(super) ca: Option<PathBuf>,
}

/// The host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The text is not an address of Redis. Do not retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRedisUrl(String);

fn invalid(reason: impl Into<String>) -> InvalidRedisUrl {
    InvalidRedisUrl(reason.into())
}

impl FromStr for RedisUrl {
    type Err = InvalidRedisUrl;

    fn from_str(text: &str) -> Result<Self, InvalidRedisUrl> {
        const SCHEMES: &str =
            "expected redis://, rediss://, redis+sentinel:// or rediss+sentinel://";
        let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid(SCHEMES))?;
        let (tls, by_sentinel) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis+sentinel" => (false, true),
            "rediss+sentinel" => (true, true),
            _ => return Err(invalid(SCHEMES)),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (username, password) = match credentials.map(|both| both.split_once(':')) {
            None => (None, None),
            Some(None) => return Err(invalid("expected user:password before the @")),
            Some(Some((username, password))) => {
                let username = (!username.is_empty()).then(|| decoded(username));
                (username.transpose()?, Some(decoded(password)?))
            }
        };
        let standard_port = if by_sentinel { 26_379 } else { 6_379 };
        let hosts: Vec<_> =
            hosts.split(',').map(|host| address(host, standard_port)).collect::<Result<_, _>>()?;
        let (sentinel, database) = if by_sentinel {
            let (name, database) = path.split_once('/').unwrap_or((path, ""));
            if name.is_empty() {
                return Err(invalid(
                    "expected the name of the primary: redis+sentinel://host/name",
                ));
            }
            (Some(decoded(name)?), database)
        } else {
            (None, path)
        };
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| {
                invalid(format!("expected the number of a database instead of {number:?}"))
            })?,
        };
        let ca = match query.split_once('=') {
            None if query.is_empty() => None,
            Some(("ca", file)) if tls => Some(decoded(file)?.into()),
            _ => return Err(invalid("the only parameter is ca=<file>, and it requires TLS")),
        };
        Ok(Self { tls, hosts, username, password, database, sentinel, ca })
    }
}

fn decoded(text: &str) -> Result<String, InvalidRedisUrl> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| invalid("a percent-encoded part is not UTF-8"))
}

fn address(text: &str, standard_port: u16) -> Result<Address, InvalidRedisUrl> {
    let (host, port) = match text.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((host, port)) => (host, port),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => Ok(standard_port),
        Some(port) => port.parse().map_err(|_| ()),
        None => Err(()),
    };
    match port {
        Ok(port @ 1..) if !host.is_empty() => Ok(Address { host: host.to_owned(), port }),
        _ => Err(invalid(format!("expected host or host:port instead of {text:?}"))),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentinel = if self.sentinel.is_some() { "+sentinel" } else { "" };
        write!(f, "redis{}{sentinel}://", if self.tls { "s" } else { "" })?;
        if self.password.is_some() {
            write!(f, "{}:***@", self.username.as_deref().unwrap_or_default())?;
        }
        for (number, host) in self.hosts.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(f, "{comma}{host}")?;
        }
        if let Some(name) = &self.sentinel {
            write!(f, "/{name}")?;
        }
        if self.database != 0 {
            write!(f, "/{}", self.database)?;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> RedisUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn addresses_are_displayed_without_the_password() {
        for (text, shown) in [
            ("redis://h", "redis://h:6379"),
            ("redis://h:1/2", "redis://h:1/2"),
            ("rediss://ann:se%40cret@h", "rediss://ann:***@h:6379"),
            ("redis://:secret@h:1,[::1]:2,k", "redis://:***@h:1,[::1]:2,k:6379"),
            ("redis+sentinel://a,b:1/main", "redis+sentinel://a:26379,b:1/main"),
            ("rediss+sentinel://a/main/3?ca=/x", "rediss+sentinel://a:26379/main/3"),
        ] {
            assert_eq!(parsed(text).to_string(), shown);
            assert!(!format!("{:?}", parsed(text)).contains("cret"), "{text}");
        }
    }

    #[test]
    fn parts_are_decoded() {
        let url = parsed("rediss://a%3Ann:p%40ss:word@h?ca=/etc/my%20ca.pem");
        assert_eq!(url.username.as_deref(), Some("a:nn"));
        assert_eq!(url.password.as_deref(), Some("p@ss:word"));
        assert_eq!(url.ca, Some("/etc/my ca.pem".into()));
    }

    #[test]
    fn an_invalid_address_is_refused_without_showing_a_password() {
        for text in [
            "",
            "h:6379",
            "http://h",
            "redis://",
            "redis://h:",
            "redis://h:0",
            "redis://h:65536",
            "redis://h,",
            "redis://:secret@",
            "redis://secret@h",
            "redis://h/x",
            "redis://h?ca=/x",
            "rediss://h?insecure=1",
            "redis+sentinel://h",
            "redis://[::1",
        ] {
            let error = text.parse::<RedisUrl>().expect_err(text).to_string();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
