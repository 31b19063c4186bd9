//! The flags of a node. Each sets one key, and only those that people give by hand have one.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use toml::Value;

use super::layers::Layers;
use super::source::Source;

/// The flags of `pabal serve`. Every key of the configuration can also be set by the environment
/// (`PABAL_LIMITS_BODY_BYTES`) and in the file; flags win over both.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeFlags {
    /// A TOML file with further keys.
    #[arg(long, value_name = "FILE", env = "PABAL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where clients connect; port 0 takes a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// The data folder [default: pabal-data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Queues, presence and leases in Redis: `redis://…`, `rediss://…`, `redis+sentinel://…`. A password
    /// is better told by the environment, PABAL_STORAGE_QUEUE.
    #[arg(long, value_name = "URL")]
    pub queue: Option<String>,
    /// History in Cassandra or ScyllaDB: `cassandra://host1,host2/keyspace`.
    #[arg(long, value_name = "URL")]
    pub history: Option<String>,
    /// Users and channels in PostgreSQL: `postgres://user@host/database`.
    #[arg(long, value_name = "URL")]
    pub directory: Option<String>,
    /// Where health and metrics are served besides.
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// How clients reach the node, for example `https://chat.example.org`.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// The TLS certificate and those behind it, in PEM; read again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Lift the limits per user and address, for load tests.
    #[arg(long)]
    pub no_rate_limits: bool,
    /// The node's name, part of every session id [default: n1].
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// A name for where the node stands [default: local].
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Where the node stands, in degrees north.
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true)]
    pub latitude: Option<f64>,
    /// Where the node stands, in degrees east.
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true)]
    pub longitude: Option<f64>,
    /// As many sessions as the node takes [default: 100000].
    #[arg(long, value_name = "SESSIONS")]
    pub capacity: Option<u32>,
    /// Where notifications to users who are away are posted to.
    #[arg(long, value_name = "URL")]
    pub push_webhook: Option<String>,
    /// What is logged, for example `debug` or `pabal_core=debug,warn` [default: info].
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

impl ServeFlags {
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
