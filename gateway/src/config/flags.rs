//! The flags of `pabal serve`. Each sets one key; only keys that are often set by hand have a flag.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use toml::Value;

use super::layers::Layers;
use super::source::Source;

/// The flags of `pabal serve`. Every key of the configuration can also be set in the environment
/// (`PABAL_LIMITS_BODY_BYTES`) and in the file; flags override both.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeFlags {
    /// Configuration file in TOML; `pabal config print` lists all keys.
    #[arg(long, value_name = "FILE", env = "PABAL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address and port for clients; port 0 selects a free port [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Data folder [default: pabal-data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Redis server for queues, presence and leases: `redis://…`, `rediss://…`,
    /// `redis+sentinel://…`. Set a URL with a password in the environment, PABAL_STORAGE_QUEUE.
    #[arg(long, value_name = "URL")]
    pub queue: Option<String>,
    /// Cassandra or ScyllaDB cluster for history: `cassandra://host1,host2/keyspace`.
    #[arg(long, value_name = "URL")]
    pub history: Option<String>,
    /// PostgreSQL database for users and channels: `postgres://user@host/database`.
    #[arg(long, value_name = "URL")]
    pub directory: Option<String>,
    /// Address and port of a second listener for health and metrics.
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// URL by which clients reach the node, such as `https://chat.example.org`.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// TLS certificate chain in PEM; read again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the TLS certificate, in PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Disable the rate limits and the limits per user and address, for load tests.
    #[arg(long)]
    pub no_rate_limits: bool,
    /// Name of the node, which is part of every session id [default: n1].
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Region of the node [default: local].
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Latitude of the node, in degrees north.
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true)]
    pub latitude: Option<f64>,
    /// Longitude of the node, in degrees east.
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true)]
    pub longitude: Option<f64>,
    /// Maximum number of sessions on the node [default: 100000].
    #[arg(long, value_name = "SESSIONS")]
    pub capacity: Option<u32>,
    /// URL of the webhook that push notifications are posted to.
    #[arg(long, value_name = "URL")]
    pub push_webhook: Option<String>,
    /// Log filter, such as `debug` or `pabal_core=debug,warn` [default: info].
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

impl ServeFlags {
    /// Adds the flags that are set as the last layer.
    pub(super) fn add_to(&self, layers: &mut Layers) {
        let text = |value: &String| Value::String(value.clone());
        let address = |value: &SocketAddr| Value::String(value.to_string());
        let path = |value: &PathBuf| Value::String(value.to_string_lossy().into_owned());
        let float = |value: &f64| Value::Float(*value);
        let set = [
            ("server", "listen", self.listen.as_ref().map(address)),
            ("server", "admin_listen", self.admin_listen.as_ref().map(address)),
            ("server", "public_url", self.public_url.as_ref().map(text)),
            ("server", "tls_cert", self.tls_cert.as_ref().map(path)),
            ("server", "tls_key", self.tls_key.as_ref().map(path)),
            ("storage", "queue", self.queue.as_ref().map(text)),
            ("storage", "history", self.history.as_ref().map(text)),
            ("storage", "directory", self.directory.as_ref().map(text)),
            ("node", "name", self.node_name.as_ref().map(text)),
            ("node", "region", self.region.as_ref().map(text)),
            ("node", "latitude", self.latitude.as_ref().map(float)),
            ("node", "longitude", self.longitude.as_ref().map(float)),
            ("node", "capacity", self.capacity.map(|count| Value::Integer(count.into()))),
            ("push", "webhook_url", self.push_webhook.as_ref().map(text)),
            ("log", "filter", self.log.as_ref().map(text)),
            ("limits", "rate_limits", self.no_rate_limits.then_some(Value::Boolean(false))),
        ];
        for (section, key, value) in set {
            if let Some(value) = value {
                layers.set(section, key, value, Source::Flag);
            }
        }
    }
}
