//! All configuration keys, each with its unit in the name, its default and its documentation. This
//! is the single source for the code, for `pabal config print` and for `pabal.example.toml`. Key
//! `k` of section `s` is `k` in table `[s]` of the file, and `PABAL_S_K` in the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pabal_core::model::NodeId;
use serde::{Deserialize, Serialize};

use super::values::{Network, Origin, PublicUrl};

/// The description of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// The name within the section.
    pub(super) name: &'static str,
    /// The type of the value, as written below.
    pub(super) kind: &'static str,
    /// The documentation, one string a line.
    pub(super) why: &'static [&'static str],
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident {
        $($(#[doc = $why:literal])* $key:ident: $type:ty = $default:expr,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $why])* pub $key: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl $name {
            const KEYS: &'static [Key] = &[$(Key {
                name: stringify!($key),
                kind: stringify!($type),
                why: &[$($why),*],
            }),+];
        }
    };
}

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)+) => {
        /// The whole configuration of a node.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $($(#[$doc])* pub $name: $type,)+
        }

        /// Every section with its keys.
        pub(super) const SECTIONS: &[(&str, &[Key])] =
            &[$((stringify!($name), <$type>::KEYS)),+];
    };
}

sections! {
    /// Listeners and connections.
    server: Server,
    /// Stores and queues.
    storage: Storage,
    /// The node in the cluster and in discovery.
    node: Node,
    /// Passwords and tokens.
    auth: Auth,
    /// Limits of clients.
    limits: Limits,
    /// Push notifications.
    push: Push,
    /// Log lines on standard error.
    log: Log,
    /// Export of traces.
    telemetry: Telemetry,
}

section! {
    /// Listeners and connections.
    Server {
        /// Address and port of the listener for clients. By default only this machine can connect.
        /// Port 0 selects a free port.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
        /// Address and port of a second listener, for health and metrics. Disabled by default.
        admin_listen: Option<SocketAddr> = None,
        /// URL by which clients reach the node. By default the host name that a request uses. For a
        /// node after a TLS proxy, the `https://` URL of the proxy.
        public_url: Option<PublicUrl> = None,
        /// File of the TLS certificate chain, in PEM. With it and `tls_key` the listener for
        /// clients uses TLS. SIGHUP reads both files again.
        tls_cert: Option<PathBuf> = None,
        /// File of the private key of the certificate, in PEM.
        tls_key: Option<PathBuf> = None,
        /// Origins of web pages that may call this node from a browser, by HTTP and WebSocket, such
        /// as `https://chat.example.org`; `*` allows all. Pages that the node itself serves are
        /// always allowed.
        allowed_origins: Vec<Origin> = Vec::new(),
        /// Addresses or networks of the proxies in front of this node, such as `10.0.0.0/8`.
        /// `Forwarded` (RFC 7239) and `X-Forwarded-For` are trusted from these addresses only:
        /// limits by address and the log then use the last address that is not a trusted proxy. A
        /// proxy must remove the headers that clients send. If a request has both headers, they
        /// must agree.
        trusted_proxies: Vec<Network> = Vec::new(),
        /// Maximum number of open connections of clients. Each WebSocket or waiting poll uses one.
        max_connections: usize = 100_000,
        /// Maximum number of open connections from one address. Connections from trusted proxies do
        /// not count: a proxy has to limit its own clients.
        max_connections_per_address: usize = 4_096,
        /// Time limit of a new connection for the TLS handshake, and for the first complete
        /// request. Without it, a client that sends nothing would keep its connection forever
        /// (hyper#3756).
        first_request_timeout_ms: u64 = 10_000,
        /// Time that a connection may be idle between requests (with HTTP/2, without a stream), and
        /// time limit for the headers of a request. Longer than the usual poll intervals, so that
        /// polling clients keep their connection.
        idle_connection_timeout_ms: u64 = 75_000,
        /// Time limit for receiving the body of a request.
        body_timeout_ms: u64 = 20_000,
        /// Time that a client may accept no bytes of a response, stream or WebSocket before its
        /// connection is closed. The session stays open, so no event is lost.
        write_timeout_ms: u64 = 30_000,
        /// Time limit for requests in progress when the node stops.
        shutdown_grace_ms: u64 = 10_000,
        /// Time after which clients are asked to reconnect when the node stops.
        reconnect_after_ms: u64 = 1_000,
    }
}

section! {
    /// Stores and queues.
    Storage {
        /// Data folder. It is created if it does not exist. One process at a time can open it.
        data_dir: PathBuf = PathBuf::from("pabal-data"),
        /// URL of Redis for queues, presence and leases, which a cluster needs: `redis://`,
        /// `rediss://` (TLS), `redis+sentinel://` or `rediss+sentinel://`. By default they are in
        /// the memory of this process.
        queue: Option<String> = None,
        /// URL of Cassandra or ScyllaDB for history, `cassandra://host1,host2/keyspace`. By default
        /// history is in the data folder. `pabal migrate` creates the tables.
        history: Option<String> = None,
        /// URL of PostgreSQL for users and channels, `postgres://user:password@host/database`. By
        /// default they are in the data folder. `pabal migrate` creates the tables.
        directory: Option<String> = None,
        /// Maximum number of connections of this node to PostgreSQL.
        directory_connections: u32 = 16,
        /// Partitions of channels, 1 to 1,024, the same on all nodes of a cluster. The number is
        /// fixed when the data folder is created, or when the first node starts on the servers:
        /// with another number a channel would be in another partition, and the order of its ids
        /// would break.
        partitions: u16 = 16,
        /// Memory for the read cache of history.
        cache_bytes: u64 = 64 << 20,
        /// Maximum number of messages of a partition that wait to become durable. Further sends
        /// return `unavailable`.
        log_messages_per_partition: usize = 8_192,
        /// Maximum number of deliveries that wait for the sessions of this node. When the queue is
        /// full, routing waits.
        inbox_deliveries: usize = 65_536,
        /// Maximum number of notifications in the push queue. Further ones are dropped and counted;
        /// the messages themselves are in history.
        push_queue_notifications: usize = 100_000,
    }
}

section! {
    /// The node in the cluster and in discovery.
    Node {
        /// Name of the node, which is part of every session id: 1 to 32 characters of `a-z 0-9 -`.
        /// Keep it short, because each poll carries it.
        name: NodeId = default_name(),
        /// URL by which other nodes of the cluster forward requests to the sessions on this node.
        /// By default the URL for clients. Forwarded requests come from the addresses of the nodes,
        /// which must therefore be in `server.trusted_proxies`.
        peer_url: Option<PublicUrl> = None,
        /// Name of the region of the node, which discovery shows.
        region: String = "local".into(),
        /// Latitude of the node in degrees north. With `longitude`, discovery ranks the node by
        /// distance.
        latitude: Option<f64> = None,
        /// Longitude of the node in degrees east.
        longitude: Option<f64> = None,
        /// File of a MaxMind database of cities (GeoIP2 or GeoLite2, `.mmdb`), from which discovery
        /// takes the location of clients that send no coordinates. Read once, at the start.
        /// Disabled by default.
        location_database: Option<PathBuf> = None,
        /// Maximum number of sessions on the node. A session uses a few KiB of memory until its
        /// mailbox fills.
        capacity: u32 = 100_000,
        /// Lease of the node in a cluster, 1,000 to 60,000: how long its users and partitions
        /// remain assigned to it after the last renewal. A shorter lease moves the partitions of a
        /// crashed node sooner; a longer lease lets a slow node keep its sessions.
        lease_ms: u64 = 10_000,
    }
}

section! {
    /// Passwords and tokens.
    Auth {
        /// Lifetime of a token.
        token_lifetime_days: u32 = 30,
        /// Maximum number of password checks that wait, at about 20 ms of a core each. Further
        /// log-ins return `unavailable`.
        waiting_hashes: usize = 256,
        /// Sustained rate of sign-ups and log-ins from one address. The burst is thirty times the
        /// rate (GCRA).
        attempts_per_address_per_second: u32 = 20,
        /// Sustained rate of log-ins for one username. The burst is as large (GCRA).
        attempts_per_username_per_minute: u32 = 60,
    }
}

section! {
    /// Limits of clients.
    Limits {
        /// Enables the rate limits of requests, sends and log-ins, and the limits per address. Set
        /// it to false for load tests only.
        rate_limits: bool = true,
        /// Maximum size of the content of a message.
        content_bytes: usize = 16 * 1024,
        /// Maximum size of a request body.
        body_bytes: usize = 256 * 1024,
        /// Sustained rate of requests from one address. The burst is ten times the rate (GCRA). All
        /// users of an office may share an address, and all clients of a proxy that is not in
        /// `server.trusted_proxies` have the address of the proxy.
        requests_per_address_per_second: u32 = 1_000,
        /// Sustained rate of requests and WebSocket frames of one user, on all devices together.
        /// The burst is ten times the rate (GCRA).
        requests_per_user_per_second: u32 = 200,
        /// Maximum number of unconfirmed events in the mailbox of a session.
        mailbox_events: usize = 1_024,
        /// Maximum size of the unconfirmed events in the mailbox of a session.
        mailbox_bytes: usize = 1024 * 1024,
        /// Maximum number of sessions of one user.
        sessions_per_user: usize = 16,
        /// Maximum number of members of a group.
        group_members: usize = 10_000,
        /// Maximum number of channels that one request synchronises or catches up with.
        channels_per_request: usize = 1_000,
        /// Maximum number of bytes that the node holds for its clients: half for requests (bodies, answers
        /// that are built or wait to be written, catch-ups), half for the mailboxes of sessions. When
        /// requests reach it, further ones return `unavailable`; when mailboxes do, the largest become a
        /// `resync`.
        in_flight_bytes: usize = 512 * 1024 * 1024,
        /// Maximum number of bytes that the node holds for the requests of one user. Further requests
        /// return `rate_limited`.
        in_flight_user_bytes: usize = 16 * 1024 * 1024,
        /// Maximum number of bytes that the node holds for the requests on one connection. Connections
        /// from trusted proxies do not count.
        in_flight_connection_bytes: usize = 16 * 1024 * 1024,
        /// Shortest interval of short polls, which the session document states.
        poll_min_interval_ms: u64 = 100,
        /// Longest wait of a long poll. Keep it below the idle timeout of proxies.
        long_poll_max_wait_ms: u64 = 60_000,
        /// Interval of pings on an idle WebSocket and of comments on an idle event stream.
        ping_interval_ms: u64 = 25_000,
        /// Time that a session stays open without a reader.
        resume_window_ms: u64 = 60_000,
        /// Time that a send waits for its acknowledgement before it returns `not_confirmed`.
        confirm_within_ms: u64 = 10_000,
        /// Sustained rate of sends of one user. The burst is ten times the rate (GCRA).
        sends_per_second: u32 = 50,
        /// Sustained number of sessions that moments (`typing`, `read`) of one user, or in one channel, may
        /// reach a second. The burst is ten times the rate (GCRA).
        moments_per_second: u32 = 2_000,
    }
}

section! {
    /// Push notifications.
    Push {
        /// URL of the webhook that notifications are posted to. Disabled by default; then no
        /// notifications are queued.
        webhook_url: Option<String> = None,
        /// Token that is sent to the webhook as `Authorization: Bearer`. None by default.
        webhook_token: Option<String> = None,
        /// Maximum number of concurrent posts to the webhook.
        concurrent_posts: usize = 16,
        /// Maximum number of notifications that are being posted or wait for a retry. At the limit,
        /// the queue is not read.
        waiting_retries: usize = 1_024,
        /// Time limit of one post.
        post_timeout_ms: u64 = 10_000,
        /// Wait before the second attempt. It doubles with each attempt.
        first_retry_ms: u64 = 1_000,
        /// Longest wait between two attempts.
        longest_retry_ms: u64 = 300_000,
        /// Age at which a notification is discarded.
        give_up_after_hours: u32 = 24,
    }
}

section! {
    /// Log lines on standard error.
    Log {
        /// Log levels for everything, or for targets by prefix, such as `info` or
        /// `pabal_core=debug,warn`. By default the lines of the embedded store are reduced to
        /// warnings.
        filter: String = "info,fjall=warn,lsm_tree=warn".into(),
        /// Format of log lines.
        format: LogFormat = LogFormat::Text,
    }
}

section! {
    /// Export of traces of messages, in OTLP over HTTP.
    Telemetry {
        /// URL of the collector, without `/v1/traces`. Disabled by default, at no cost. While the
        /// collector is unavailable, traces are dropped and nothing else is affected.
        otlp_endpoint: Option<String> = None,
        /// Fraction of messages that are traced, 0 to 1. Reduce it on a busy node.
        sample_ratio: f64 = 1.0,
    }
}

#[expect(clippy::expect_used, reason = "a constant, which a test reads")]
fn default_name() -> NodeId {
    "n1".parse().expect("a node name")
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The lease of a node that is not in a cluster. No other node can take over, so a paused node
/// simply continues.
const ALONE: Duration = Duration::from_secs(24 * 60 * 60);

impl Config {
    /// The limits of the engine.
    pub fn engine_limits(&self) -> pabal_core::engine::Limits {
        let limits = &self.limits;
        pabal_core::engine::Limits {
            content_bytes: limits.content_bytes,
            mailbox_events: limits.mailbox_events,
            mailbox_bytes: limits.mailbox_bytes,
            sessions_per_user: limits.sessions_per_user,
            sessions: self.node.capacity as usize,
            channels_per_request: limits.channels_per_request,
            resume_window: Duration::from_millis(limits.resume_window_ms),
            confirm_within: Duration::from_millis(limits.confirm_within_ms),
            sends_per_second: limits.rate_limits.then_some(limits.sends_per_second),
            moments_per_second: limits.rate_limits.then_some(limits.moments_per_second),
            budget: pabal_core::engine::BudgetLimits {
                node: limits.in_flight_bytes,
                user: limits.in_flight_user_bytes,
                connection: limits.in_flight_connection_bytes,
            },
            lease: match self.storage.queue {
                Some(_) => Duration::from_millis(self.node.lease_ms),
                None => ALONE,
            },
            ..pabal_core::engine::Limits::default()
        }
    }
}
