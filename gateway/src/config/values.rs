//! Types of values: URLs of nodes, origins of web pages and networks. Each is parsed from a string
//! and prints as one.

use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderValue;
use ipnet::IpNet;

/// Whether the text is an `http://` or `https://` URL with a host.
pub(super) fn is_http(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// The URL by which clients or nodes reach a node: a scheme, a host and an optional port, without a
/// path.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl {
    /// Whether the scheme is `https`.
    pub secure: bool,
    /// Host and port as in a URL.
    pub authority: String,
}

impl FromStr for PublicUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (secure, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err("must begin with http:// or https://"),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        // A path would have to be removed from every request, which is the task of a proxy.
        if !is_http(text) || authority.contains(['/', '?', '#', '@']) {
            return Err("must be a scheme, a host and an optional port, without a path");
        }
        Ok(Self { secure, authority: authority.to_owned() })
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.http()
    }
}

impl PublicUrl {
    /// The URL with scheme `http` or `https`, without a slash at the end.
    pub fn http(&self) -> String {
        format!("http{}://{}", if self.secure { "s" } else { "" }, self.authority)
    }

    /// The URL with scheme `ws` or `wss`, without a slash at the end.
    pub fn websocket(&self) -> String {
        format!("ws{}://{}", if self.secure { "s" } else { "" }, self.authority)
    }
}

/// The origin of web pages as browsers send it (RFC 6454 section 6.2), or `*` for every origin.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(HeaderValue);

impl From<Origin> for String {
    fn from(Origin(header): Origin) -> Self {
        // The header was made from a string, so the conversion is lossless.
        Self::from_utf8_lossy(header.as_bytes()).into_owned()
    }
}

impl Origin {
    /// The value of an `Origin` header.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl TryFrom<String> for Origin {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "must be a scheme, a host and an optional port, without a path, or *";
        // Desktop applications use other schemes, as in `tauri://localhost`.
        let is_origin = text.split_once("://").is_some_and(|(scheme, rest)| {
            !scheme.is_empty()
                && !rest.is_empty()
                && !rest.contains(|c: char| c.is_whitespace() || "/?#@*".contains(c))
        });
        if text != "*" && !is_origin {
            return Err(WRONG);
        }
        HeaderValue::try_from(text).map(Self).map_err(|_| WRONG)
    }
}

/// A network such as `10.0.0.0/8`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    /// Whether the network contains an address. The address must be canonical: an IPv4 address
    /// mapped to IPv6 (`::ffff:…`) is in no network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl TryFrom<String> for Network {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "must be an address or a network, such as 192.0.2.1 or 10.0.0.0/8";
        let alone = || text.parse::<IpAddr>().map(IpNet::from).ok();
        let network = text.parse().ok().or_else(alone).ok_or(WRONG)?;
        // 10.1.2.3/8 could mean one address or the whole network.
        if network != network.trunc() {
            return Err("must not have bits beyond its prefix length, as 10.1.0.0/8 has");
        }
        Ok(Self(network))
    }
}

impl From<Network> for String {
    fn from(Network(network): Network) -> Self {
        network.to_string()
    }
}
