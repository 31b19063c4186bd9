//! The address of the client of a request: the peer of its connection, or, if that is a trusted proxy,
//! the client that the proxy names. All limits per address and the log use this one address.
//!
//! Proxies append: the last entry is what the nearest proxy saw, and the client may have invented
//! everything before it. So entries are read from the end, while they are trusted proxies themselves. The
//! first entry that is not one is the client.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that may name the client of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies(Vec<Network>);

/// The entries of a header, from the nearest proxy to the farthest. `None` is an entry that is not an
/// address.
type Hops = Vec<Option<IpAddr>>;

impl Proxies {
    pub(super) fn new(trusted: &[Network]) -> Self {
        Self(trusted.to_vec())
    }

    /// Whether `peer` is a trusted proxy, whose connections carry the requests of many clients.
    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(peer))
    }

    /// The client whose request came from `peer` with these headers.
    ///
    /// It is `peer` unless `peer` is a trusted proxy whose header names a client. It is also `peer` if both
    /// headers are present and name different clients: a proxy that writes one of them may forward what the
    /// client wrote into the other.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            return peer;
        }
        let named = |name: &HeaderName, read: fn(&str) -> Option<Hops>| {
            headers.contains_key(name).then(|| self.first_untrusted(headers, name, read))
        };
        let standard = named(&FORWARDED, forwarded);
        let usual = named(&X_FORWARDED_FOR, |line| Some(x_forwarded_for(line)));
        let client = match (standard, usual) {
            (None, None) => None,
            (Some(client), None) | (None, Some(client)) => client,
            (Some(standard), Some(usual)) => standard.filter(|_| standard == usual),
        };
        client.unwrap_or(peer)
    }

    /// The last entry that is not a trusted proxy, or the first entry if all are. `None`, if something
    /// other than an address comes after it.
    fn first_untrusted(
        &self,
        headers: &HeaderMap,
        name: &HeaderName,
        read: fn(&str) -> Option<Hops>,
    ) -> Option<IpAddr> {
        let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
        let mut last = None;
        // Several header lines are one list (RFC 9110 section 5.3).
        for line in lines.into_iter().rev() {
            for hop in read(line.to_str().ok()?)? {
                let hop = hop?;
                if !self.trusts(hop) {
                    return Some(hop);
                }
                last = Some(hop);
            }
        }
        last
    }
}

/// The entries of a line of `X-Forwarded-For`, from the last to the first.
fn x_forwarded_for(line: &str) -> Hops {
    line.rsplit(',').map(|entry| address(entry.trim())).collect()
}

/// The entries of a line of `Forwarded` (RFC 7239 section 4), from the last to the first. `None`, if the
/// line does not have that form.
fn forwarded(line: &str) -> Option<Hops> {
    let mut hops = Hops::new();
    for element in split(line, ',')? {
        let mut node = None;
        for pair in split(element, ';')? {
            let (name, value) = pair.split_once('=')?;
            if name.trim().eq_ignore_ascii_case("for") {
                // A parameter that is given twice has no meaning.
                node = match node {
                    None => Some(unquoted(value.trim())?),
                    Some(_) => return None,
                };
            }
        }
        hops.push(node.and_then(|node| address(&node)));
    }
    hops.reverse();
    Some(hops)
}

/// Splits at `separator` outside of quoted strings. `None`, if a quoted string does not end.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(&text[begin..at]);
                begin = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    (!quoted).then_some(parts)
}

/// A token as it is, or a quoted string without its quotes (RFC 9110 section 5.6.4).
fn unquoted(value: &str) -> Option<Cow<'_, str>> {
    let Some(rest) = value.strip_prefix('"') else {
        return Some(value.into());
    };
    let (mut plain, mut rest) = (String::new(), rest.strip_suffix('"')?.chars());
    while let Some(c) = rest.next() {
        plain.push(if c == '\\' { rest.next()? } else { c });
    }
    Some(plain.into())
}

/// An address with an optional port; IPv6 in brackets or, as in `X-Forwarded-For`, without. `None` for
/// the obfuscated names of RFC 7239 section 6.3.
fn address(node: &str) -> Option<IpAddr> {
    let alone = || node.parse::<IpAddr>().ok();
    let with_port = || Some(node.parse::<SocketAddr>().ok()?.ip());
    let in_brackets = || {
        let inner = node.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse().ok().map(IpAddr::V6)
    };
    alone().or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// The client, where `10.0.0.0/8` and one IPv6 address are trusted proxies.
    fn client(peer: &str, headers: &[(&'static str, &str)]) -> IpAddr {
        let network = |text: &str| Network::try_from(text.to_owned()).expect("a network");
        let proxies = Proxies::new(&[network("10.0.0.0/8"), network("2001:db8::1")]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a header"));
        }
        proxies.client(ip(peer), &map)
    }

    #[test]
    fn only_a_trusted_proxy_may_name_the_client() {
        for header in [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")] {
            assert_eq!(client("198.51.100.7", &[header]), ip("198.51.100.7"));
            assert_eq!(client("10.1.2.3", &[header]), ip("192.0.2.1"));
            assert_eq!(client("::ffff:10.1.2.3", &[header]), ip("192.0.2.1"));
            assert_eq!(client("2001:db8::1", &[header]), ip("192.0.2.1"));
            assert_eq!(client("2001:db8::2", &[header]), ip("2001:db8::2"));
        }
        assert_eq!(client("10.1.2.3", &[]), ip("10.1.2.3"));
    }

    #[test]
    fn the_last_entry_that_is_not_a_proxy_is_the_client() {
        for (list, wanted) in [
            ("1.1.1.1, 192.0.2.1", "192.0.2.1"),
            ("1.1.1.1, 192.0.2.1, 10.0.0.9,10.0.0.8", "192.0.2.1"),
            ("10.0.0.7, 192.0.2.1", "192.0.2.1"),
            ("nonsense,, 192.0.2.1", "192.0.2.1"),
            ("10.0.0.7, 10.0.0.8", "10.0.0.7"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:db8::5", "2001:db8::5"),
            ("[2001:db8::5]:4711", "2001:db8::5"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(client("10.1.2.3", &[("x-forwarded-for", list)]), ip(wanted), "{list}");
        }
        let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.1, 10.0.0.9")];
        assert_eq!(client("10.1.2.3", &lines), ip("192.0.2.1"), "two lines are one list");
    }

    #[test]
    fn the_standard_header_is_read_as_rfc_7239_defines_it() {
        for (list, wanted) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"192.0.2.1:4711\";proto=https;by=10.0.0.9", "192.0.2.1"),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=\"[2001:db8:cafe::17]\"", "2001:db8:cafe::17"),
            ("for=\"192.0\\.2.1\"", "192.0.2.1"),
            ("for=1.1.1.1, for=192.0.2.1; host=\"a,b;for=2.2.2.2\", for=10.0.0.9", "192.0.2.1"),
            ("for=_hidden, for=192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(client("10.1.2.3", &[("forwarded", list)]), ip(wanted), "{list}");
        }
    }

    #[test]
    fn a_malformed_header_counts_for_the_proxy() {
        for list in
            ["", "unknown", "192.0.2.1, ", "192.0.2.300", "192.0.2.1, x, 10.0.0.9", "\u{e9}"]
        {
            assert_eq!(client("10.1.2.3", &[("x-forwarded-for", list)]), ip("10.1.2.3"), "{list}");
        }
        for list in [
            "192.0.2.1",
            "for=unknown",
            "for=_hidden",
            "by=192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
            "for=\"192.0.2.1",
            "for=\"1.1.1.1, for=192.0.2.1",
            "for=192.0.2.1,",
        ] {
            assert_eq!(client("10.1.2.3", &[("forwarded", list)]), ip("10.1.2.3"), "{list}");
        }
    }

    #[test]
    fn headers_that_contradict_each_other_count_for_the_proxy() {
        let both = |forwarded, usual| {
            client("10.1.2.3", &[("forwarded", forwarded), ("x-forwarded-for", usual)])
        };
        assert_eq!(both("for=192.0.2.1", "192.0.2.1"), ip("192.0.2.1"));
        assert_eq!(both("for=1.1.1.1", "192.0.2.1"), ip("10.1.2.3"));
        assert_eq!(both("for=unknown", "192.0.2.1"), ip("10.1.2.3"));
    }
}
