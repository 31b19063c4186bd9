//! What values must be beyond their type.

use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderValue;
use ipnet::IpNet;
use pabal_core::model::MAX_PARTITIONS;
#[cfg(feature = "cluster")]
use pabal_storage::redis::RedisUrl;
use tracing_subscriber::EnvFilter;

use super::{Config, ConfigError};

/// As much as can be counted of anything: enough for whoever means "without a bound", and sums of
/// a few such numbers stay numbers.
const MOST: usize = 1_000_000_000;

impl Config {
    /// Looks at every value that can be of the right type and make no sense.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, reason: &str| {
            let (key, reason) = (key.to_owned(), reason.to_owned());
            Err(ConfigError::Value { key, reason })
        };
        let Self { server, node, auth, limits, push, storage, log, telemetry } = self;
        if let Some(url) = &telemetry.otlp_endpoint
            && !is_http(url)
        {
            return wrong("telemetry.otlp_endpoint", "must be an http:// or https:// URL");
        }
        if !(0.0..=1.0).contains(&telemetry.sample_ratio) {
            return wrong("telemetry.sample_ratio", "must be 0 to 1");
        }
        if let Err(error) = EnvFilter::try_new(&log.filter) {
            return wrong("log.filter", &error.to_string());
        }
        match (node.latitude, node.longitude) {
            (None, None) => {}
            (Some(latitude), Some(longitude)) => {
                if !(-90.0..=90.0).contains(&latitude) {
                    return wrong("node.latitude", "must be -90 to 90 degrees");
                }
                if !(-180.0..=180.0).contains(&longitude) {
                    return wrong("node.longitude", "must be -180 to 180 degrees");
                }
            }
            (Some(_), None) => return wrong("node.longitude", "is needed with node.latitude"),
            (None, Some(_)) => return wrong("node.latitude", "is needed with node.longitude"),
        }
        if !(1_000..=60_000).contains(&node.lease_ms) {
            return wrong("node.lease_ms", "must be 1,000 to 60,000 ms");
        }
        match (&server.tls_cert, &server.tls_key) {
            (None, None) | (Some(_), Some(_)) => {}
            (Some(_), None) => return wrong("server.tls_key", "is needed with server.tls_cert"),
            (None, Some(_)) => return wrong("server.tls_cert", "is needed with server.tls_key"),
        }
        if let Some(url) = &push.webhook_url
            && !is_http(url)
        {
            return wrong("push.webhook_url", "must be an http:// or https:// URL");
        }
        // Without the driver the node refuses the setting when it opens its stores.
        #[cfg(feature = "cluster")]
        if let Some(url) = &storage.queue
            && let Err(error) = url.parse::<RedisUrl>()
        {
            return wrong("storage.queue", &error.to_string());
        }
        let schemes: [(_, _, &[&str]); 2] = [
            ("storage.history", &storage.history, &["cassandra://"]),
            ("storage.directory", &storage.directory, &["postgres://", "postgresql://"]),
        ];
        for (key, url, schemes) in schemes {
            if let Some(url) = url
                && !schemes.iter().any(|scheme| url.starts_with(scheme))
            {
                return wrong(key, &format!("must begin with {}", schemes[0]));
            }
        }
        let counts = [
            ("storage.directory_connections", storage.directory_connections as usize),
            ("server.max_connections", server.max_connections),
            ("server.max_connections_per_address", server.max_connections_per_address),
            ("storage.log_messages_per_partition", storage.log_messages_per_partition),
            ("storage.inbox_deliveries", storage.inbox_deliveries),
            ("storage.push_queue_notifications", storage.push_queue_notifications),
            ("node.capacity", node.capacity as usize),
            ("auth.token_lifetime_days", auth.token_lifetime_days as usize),
            ("auth.waiting_hashes", auth.waiting_hashes),
            ("auth.attempts_per_address_per_second", auth.attempts_per_address_per_second as usize),
            (
                "auth.attempts_per_username_per_minute",
                auth.attempts_per_username_per_minute as usize,
            ),
            ("limits.content_bytes", limits.content_bytes),
            ("limits.mailbox_events", limits.mailbox_events),
            ("limits.sessions_per_user", limits.sessions_per_user),
            ("limits.channels_per_request", limits.channels_per_request),
            (
                "limits.requests_per_address_per_second",
                limits.requests_per_address_per_second as usize,
            ),
            ("limits.requests_per_user_per_second", limits.requests_per_user_per_second as usize),
            ("limits.sends_per_second", limits.sends_per_second as usize),
            ("push.concurrent_posts", push.concurrent_posts),
            ("push.waiting_retries", push.waiting_retries),
            ("push.give_up_after_hours", push.give_up_after_hours as usize),
        ];
        for (key, count) in counts {
            if !(1..=MOST).contains(&count) {
                return wrong(key, &format!("must be 1 to {MOST}"));
            }
        }
        if !(1..=MAX_PARTITIONS).contains(&storage.partitions) {
            let reason = format!("must be 1 to {MAX_PARTITIONS}");
            return wrong("storage.partitions", &reason);
        }
        if limits.group_members < 2 {
            return wrong("limits.group_members", "must be at least 2");
        }
        if limits.body_bytes < 1024 {
            return wrong("limits.body_bytes", "must be at least 1024");
        }
        if limits.mailbox_bytes < 2 * limits.content_bytes + 1024 {
            let reason = "must hold a message: at least twice limits.content_bytes and 1024 more";
            return wrong("limits.mailbox_bytes", reason);
        }
        let waits = [
            ("server.first_request_timeout_ms", server.first_request_timeout_ms),
            ("server.idle_connection_timeout_ms", server.idle_connection_timeout_ms),
            ("server.body_timeout_ms", server.body_timeout_ms),
            ("server.write_timeout_ms", server.write_timeout_ms),
            ("limits.long_poll_max_wait_ms", limits.long_poll_max_wait_ms),
            ("limits.ping_interval_ms", limits.ping_interval_ms),
            ("limits.resume_window_ms", limits.resume_window_ms),
            ("limits.confirm_within_ms", limits.confirm_within_ms),
            ("push.post_timeout_ms", push.post_timeout_ms),
            ("push.first_retry_ms", push.first_retry_ms),
            ("push.longest_retry_ms", push.longest_retry_ms),
        ];
        for (key, wait) in waits {
            if !(1..=86_400_000).contains(&wait) {
                return wrong(key, "must be 1 ms to a day");
            }
        }
        Ok(())
    }
}

fn is_http(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Where clients reach a node: a scheme, a host, perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl {
    /// Whether clients come by TLS.
    pub secure: bool,
    /// Host and port, as they stand in a URL.
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
        // A path would have to be taken off every request, which is a proxy's business.
        if !is_http(text) || authority.contains(['/', '?', '#', '@']) {
            return Err("must be a scheme, a host and perhaps a port, without a path");
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
    /// As `http://…` or `https://…`, without a slash at the end.
    pub fn http(&self) -> String {
        format!("http{}://{}", if self.secure { "s" } else { "" }, self.authority)
    }

    /// As `ws://…` or `wss://…`, without a slash at the end.
    pub fn websocket(&self) -> String {
        format!("ws{}://{}", if self.secure { "s" } else { "" }, self.authority)
    }
}

/// Where a web page comes from, as browsers write it (RFC 6454 section 6.2), or `*` for wherever.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(HeaderValue);

impl From<Origin> for String {
    fn from(Origin(header): Origin) -> Self {
        // Made from text, so nothing can be lost.
        Self::from_utf8_lossy(header.as_bytes()).into_owned()
    }
}

impl Origin {
    /// As it stands in a header.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl TryFrom<String> for Origin {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "must be a scheme, a host and perhaps a port, without a path, or *";
        // Applications have schemes of their own, as in `tauri://localhost`.
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

/// The addresses of a network, as `10.0.0.0/8`; a single one may stand alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    /// Whether an address is one of them. IPv4 as IPv6 (`::ffff:…`) is neither: make it canonical.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl TryFrom<String> for Network {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "must be an address or a network, as 192.0.2.1 or 10.0.0.0/8";
        let alone = || text.parse::<IpAddr>().map(IpNet::from).ok();
        let network = text.parse().ok().or_else(alone).ok_or(WRONG)?;
        // Who writes 10.1.2.3/8 may mean one address or all of the network.
        if network != network.trunc() {
            return Err("must not have bits beyond its length, as 10.1.0.0/8 has");
        }
        Ok(Self(network))
    }
}

impl From<Network> for String {
    fn from(Network(network): Network) -> Self {
        network.to_string()
    }
}
