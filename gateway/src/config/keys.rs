//! Every key with its unit in its name, its default and why. A key `k` of section `s` is `k` below
//! `[s]` in the file and `PABAL_S_K` in the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pabal_core::model::NodeId;
use serde::{Deserialize, Serialize};

use super::{Network, Origin, PublicUrl};

/// What is known of a key beside its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Its name within the section.
    pub(super) name: &'static str,
    /// The type of its value, as it stands below.
    pub(super) kind: &'static str,
    /// What it is for, and why it is what it is.
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
    /// How the node listens.
    server: Server,
    /// Where it keeps what must last.
    storage: Storage,
    /// What others see of it.
    node: Node,
    /// Passwords and tokens.
    auth: Auth,
    /// What clients may do.
    limits: Limits,
    /// Notifications to those who are away.
    push: Push,
    /// What it tells its operator.
    log: Log,
    /// Where it sends traces.
    telemetry: Telemetry,
}

section! {
    /// How the node listens.
    Server {
        /// Where clients connect. Only this machine, unless told otherwise; port 0 takes a free one.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
        /// Where health and metrics are served besides; nowhere, unless told.
        admin_listen: Option<SocketAddr> = None,
        /// How clients reach the node, if not under the name they use; behind a TLS proxy, its
        /// `https://` URL.
        public_url: Option<PublicUrl> = None,
        /// The certificate, with those between it and the root behind it, in PEM. With it and
        /// `tls_key` clients come by TLS; SIGHUP has both files read again.
        tls_cert: Option<PathBuf> = None,
        /// The certificate's private key, in PEM.
        tls_key: Option<PathBuf> = None,
        /// Origins whose web pages may use this node from a browser, by HTTP and WebSocket, as
        /// `https://chat.example.org`; `*` for all. Pages that the node serves itself always may.
        allowed_origins: Vec<Origin> = Vec::new(),
        /// Proxies before this node, as addresses or networks, as `10.0.0.0/8`. From them, and from
        /// nobody else, `Forwarded` (RFC 7239) or `X-Forwarded-For` is believed: limits by address and
        /// the log go by the last address in it that is no trusted proxy. One that a client could
        /// write itself must not get through: if both are there they have to agree.
        trusted_proxies: Vec<Network> = Vec::new(),
        /// As many connections as are held at once: one a WebSocket or parked poll.
        max_connections: usize = 100_000,
        /// As many of them as one address may hold. A trusted proxy may hold all: how many of them
        /// are one client's is for it to limit.
        max_connections_per_address: usize = 4_096,
        /// How long a new connection may go without a whole request, and before it with the TLS
        /// handshake. Without it, a client that sends nothing holds its place for ever (hyper#3756).
        first_request_timeout_ms: u64 = 10_000,
        /// How long a connection may idle between requests, by HTTP/2 without a stream, and how long
        /// the headers of one may take. Above every sensible poll interval, so that pollers keep
        /// their connection.
        idle_connection_timeout_ms: u64 = 75_000,
        /// How long the body of a request may take to arrive.
        body_timeout_ms: u64 = 20_000,
        /// How long a client may take nothing of what is written to it, be it an answer, a stream or a
        /// WebSocket, before its connection is closed. Its session stays, so nothing is lost.
        write_timeout_ms: u64 = 30_000,
        /// How long requests in progress get to end when the node stops.
        shutdown_grace_ms: u64 = 10_000,
        /// After how long clients are told to come back when the node stops.
        reconnect_after_ms: u64 = 1_000,
    }
}

section! {
    /// Where the node keeps what must last.
    Storage {
        /// The data folder; made if it is not there. One process holds it at a time.
        data_dir: PathBuf = PathBuf::from("pabal-data"),
        /// Queues, presence and leases in Redis instead of this process, as every node of a cluster
        /// needs them: `redis://`, `rediss://` (TLS), `redis+sentinel://` or `rediss+sentinel://`.
        queue: Option<String> = None,
        /// History in Cassandra or ScyllaDB instead of the data folder:
        /// `cassandra://host1,host2/keyspace`. `pabal migrate` makes its tables.
        history: Option<String> = None,
        /// Users and channels in PostgreSQL instead of the data folder:
        /// `postgres://user:password@host/database`. `pabal migrate` makes its tables.
        directory: Option<String> = None,
        /// As many connections to PostgreSQL as this node opens.
        directory_connections: u32 = 16,
        /// Shards of channels, 1 to 1,024, the same on all nodes of a cluster. Fixed when the folder is
        /// made, or the first node starts on its servers: another number would give a channel another
        /// partition and break the order of its ids.
        partitions: u16 = 16,
        /// Memory for what was read from history.
        cache_bytes: u64 = 64 << 20,
        /// As many messages of a partition as may wait to become durable. Beyond it senders are
        /// told to come back.
        log_messages_per_partition: usize = 8_192,
        /// As many deliveries as may wait for this node's sessions before routing waits.
        inbox_deliveries: usize = 65_536,
        /// As many notifications as may wait to be pushed. Beyond it new ones are dropped and
        /// counted; the messages themselves stand in history.
        push_queue_notifications: usize = 100_000,
    }
}

section! {
    /// What others see of the node.
    Node {
        /// Its name, part of every session id: 1 to 32 of `a-z 0-9 -`. Short, because each poll
        /// carries it.
        name: NodeId = default_name(),
        /// How the other nodes of a cluster reach this one, to pass requests on to the sessions that are
        /// here; as clients do, unless told otherwise. Requests that were passed on come from the
        /// addresses of the nodes, which therefore belong into `server.trusted_proxies`.
        peer_url: Option<PublicUrl> = None,
        /// A name for where it stands.
        region: String = "local".into(),
        /// Degrees north; with `longitude`, discovery ranks by distance.
        latitude: Option<f64> = None,
        /// Degrees east.
        longitude: Option<f64> = None,
        /// A MaxMind database of cities (GeoIP2 or GeoLite2, `.mmdb`), by which discovery knows where
        /// clients are that do not say. Read once, at the start.
        location_database: Option<PathBuf> = None,
        /// As many sessions as it takes. A session costs a few KiB until its mailbox fills.
        capacity: u32 = 100_000,
        /// In a cluster, how long the others count on this node, with its users and its partitions,
        /// after it was heard of last: 1,000 to 60,000. Shorter, and messages wait less for a node
        /// that died; longer, and one that was only slow keeps its sessions.
        lease_ms: u64 = 10_000,
    }
}

section! {
    /// Passwords and tokens.
    Auth {
        /// For how long a token is valid.
        token_lifetime_days: u32 = 30,
        /// As many passwords as may wait to be checked, at about 20 ms a core each. Beyond it
        /// clients are told to come back.
        waiting_hashes: usize = 256,
        /// Sign-ups and log-ins a second that one address may keep up; thirty times that at once.
        attempts_per_address_per_second: u32 = 20,
        /// Log-ins a minute that one username may keep up; as many at once.
        attempts_per_username_per_minute: u32 = 60,
    }
}

section! {
    /// What clients may do.
    Limits {
        /// Whether requests, senders, log-ins and addresses are limited at all; off for load tests.
        rate_limits: bool = true,
        /// The longest content of a message.
        content_bytes: usize = 16 * 1024,
        /// The longest request body.
        body_bytes: usize = 256 * 1024,
        /// Requests a second that one address may keep up; ten times that at once. An office or a
        /// campus may have one address, and behind a proxy that is not in `server.trusted_proxies`
        /// all clients have the proxy's.
        requests_per_address_per_second: u32 = 1_000,
        /// Requests and WebSocket frames a second that one user may keep up on all devices together;
        /// ten times that at once.
        requests_per_user_per_second: u32 = 200,
        /// As many events as a session holds unconfirmed.
        mailbox_events: usize = 1_024,
        /// As many bytes of events as a session holds unconfirmed.
        mailbox_bytes: usize = 1024 * 1024,
        /// As many sessions as a user may have.
        sessions_per_user: usize = 16,
        /// As many members as a group may have.
        group_members: usize = 10_000,
        /// As many channels as one request may synchronise or catch up with.
        channels_per_request: usize = 1_000,
        /// How often clients should poll at most; they are told so.
        poll_min_interval_ms: u64 = 100,
        /// How long a long poll is held at most. Below the idle timeout of most proxies.
        long_poll_max_wait_ms: u64 = 60_000,
        /// How often a quiet WebSocket is pinged and a quiet event stream gets a comment.
        ping_interval_ms: u64 = 25_000,
        /// How long a session lives with nobody reading.
        resume_window_ms: u64 = 60_000,
        /// How long a sender waits for the acknowledgement before `not_confirmed`.
        confirm_within_ms: u64 = 10_000,
        /// Sends a second that one user may keep up; ten times that at once.
        sends_per_second: u32 = 50,
    }
}

section! {
    /// Notifications to those who are away.
    Push {
        /// Where they are posted to. Without it none are queued.
        webhook_url: Option<String> = None,
        /// What is sent as `Authorization: Bearer`, if anything.
        webhook_token: Option<String> = None,
        /// As many posts as are under way at once.
        concurrent_posts: usize = 16,
        /// As many notifications as wait for their next try before the queue is read on.
        waiting_retries: usize = 1_024,
        /// How long one post may take.
        post_timeout_ms: u64 = 10_000,
        /// The wait before the second try; it doubles from try to try.
        first_retry_ms: u64 = 1_000,
        /// The longest wait between two tries.
        longest_retry_ms: u64 = 300_000,
        /// When a notification is too old to be of use.
        give_up_after_hours: u32 = 24,
    }
}

section! {
    /// What the node tells its operator, on standard error.
    Log {
        /// Which parts and how much, as `tracing` writes it: `info`, `pabal_core=debug,warn`. The
        /// store's own lines are of use to those who work on it.
        filter: String = "info,fjall=warn,lsm_tree=warn".into(),
        /// How it looks.
        format: LogFormat = LogFormat::Text,
    }
}

section! {
    /// Traces of messages, for a collector that speaks OTLP over HTTP.
    Telemetry {
        /// The URL of the collector, without `/v1/traces`. Without it no trace is made, which costs
        /// nothing. A collector that is away costs only the traces.
        otlp_endpoint: Option<String> = None,
        /// Which part of all messages is sent to it, 0 to 1: less on a busy node.
        sample_ratio: f64 = 1.0,
    }
}

#[expect(clippy::expect_used, reason = "a constant, which a test reads")]
fn default_name() -> NodeId {
    "n1".parse().expect("a node name")
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A lease of a node without others: nobody could take what it is for, so one that was paused goes on.
const ALONE: Duration = Duration::from_secs(24 * 60 * 60);

impl Config {
    /// The engine's bounds.
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
            lease: match self.storage.queue {
                Some(_) => Duration::from_millis(self.node.lease_ms),
                None => ALONE,
            },
            ..pabal_core::engine::Limits::default()
        }
    }
}
