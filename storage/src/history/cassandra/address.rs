//! The address of the store as configured.

use scylla::statement::Consistency;

use crate::error::{ConnectError, ConnectFailure};

/// The default replication factor of a new keyspace.
const REPLICAS: u8 = 3;

/// A parsed address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The address as configured.
    pub(super) url: String,
    pub(super) hosts: Vec<String>,
    /// User and password.
    pub(super) login: Option<(String, String)>,
    pub(super) keyspace: String,
    pub(super) datacenter: Option<String>,
    pub(super) consistency: Consistency,
    pub(super) replication_factor: u8,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, ConnectError> {
        parse(url).map_err(|why| ConnectError::new(url, ConnectFailure::Address(why)))
    }
}

fn parse(url: &str) -> Result<Address, String> {
    let rest = url.strip_prefix("cassandra://").or_else(|| url.strip_prefix("scylla://"));
    let rest = rest.ok_or("it does not begin with cassandra://")?;
    let (authority, path) = rest.split_once('/').ok_or("it names no keyspace")?;
    let (keyspace, parameters) = path.split_once('?').unwrap_or((path, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let login = login.map(|login| {
        let (user, password) = login.split_once(':').ok_or("it names a user but no password")?;
        Ok::<_, String>((decoded(user)?, decoded(password)?))
    });
    let hosts: Vec<_> = hosts.split(',').map(ToOwned::to_owned).collect();
    if hosts.iter().any(String::is_empty) {
        return Err("it names no host".to_owned());
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if keyspace.is_empty() || keyspace.len() > 48 || !keyspace.chars().all(fits) {
        return Err("the keyspace must have 1 to 48 of a-z, 0-9 and _".to_owned());
    }
    let mut address = Address {
        url: url.to_owned(),
        hosts,
        login: login.transpose()?,
        keyspace: keyspace.to_owned(),
        datacenter: None,
        consistency: Consistency::LocalQuorum,
        replication_factor: REPLICAS,
    };
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match (name, value) {
            ("consistency", "local_quorum") => address.consistency = Consistency::LocalQuorum,
            ("consistency", "quorum") => address.consistency = Consistency::Quorum,
            ("datacenter", name) if !name.is_empty() => address.datacenter = Some(decoded(name)?),
            ("replication_factor", number) => {
                let number = number.parse().ok().filter(|number| *number > 0);
                address.replication_factor =
                    number.ok_or("replication_factor must be a number from 1 to 255")?;
            }
            _ => return Err(format!("the parameter {name} cannot be {value:?}, or is unknown")),
        }
    }
    Ok(address)
}

/// Text with %XX for reserved characters.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "expected two hexadecimal digits after %, UTF-8 in all".to_owned();
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_parsed() {
        let url = "cassandra://ann:p%40ss@h1:9042,h2/chat?consistency=quorum&datacenter=seoul\
                   &replication_factor=1";
        let address = parse(url).expect("an address");
        assert_eq!(address.hosts, ["h1:9042", "h2"]);
        assert_eq!(address.login, Some(("ann".into(), "p@ss".into())));
        assert_eq!(address.keyspace, "chat");
        assert_eq!(address.datacenter.as_deref(), Some("seoul"));
        assert_eq!((address.consistency, address.replication_factor), (Consistency::Quorum, 1));
        let plain = parse("scylla://h/chat").expect("an address");
        assert_eq!((plain.login, plain.datacenter), (None, None));
        assert_eq!((plain.consistency, plain.replication_factor), (Consistency::LocalQuorum, 3));
    }

    #[test]
    fn an_invalid_address_is_refused_with_its_cause() {
        for (url, said) in [
            ("redis://h/chat", "does not begin with cassandra://"),
            ("cassandra://h", "no keyspace"),
            ("cassandra://h/", "the keyspace must"),
            ("cassandra://h/Chat; DROP", "the keyspace must"),
            ("cassandra:///chat", "no host"),
            ("cassandra://h,/chat", "no host"),
            ("cassandra://ann@h/chat", "no password"),
            ("cassandra://ann:secret%4@h/chat", "two hexadecimal digits"),
            ("cassandra://ann:secret@h/chat?consistency=one", "consistency cannot be \"one\""),
            ("cassandra://ann:secret@h/chat?replication_factor=0", "from 1 to 255"),
            ("cassandra://ann:secret@h/chat?colour=red", "unknown"),
        ] {
            let error = Address::parse(url).map(|_| ()).expect_err(url);
            let line = error.to_string();
            assert!(line.contains(said), "{line}");
            assert!(!line.contains("secret") && !error.retryable(), "{line}");
        }
    }
}
