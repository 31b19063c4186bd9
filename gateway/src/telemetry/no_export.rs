//! A build without the exporter of traces: a configuration that names a collector is refused.

use std::time::Duration;

use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Identity;

use crate::config;

/// Why the export of traces cannot start. Do not retry: correct the setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The exporter is not part of this build.
    #[error(
        "telemetry.otlp_endpoint is set, and this program was built without the export of traces; build it \
         with all features (`cargo build --release -p pabal-cli`)"
    )]
    NotBuilt,
}

/// The type of an exporter, which this build cannot create.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exporter {}

impl Exporter {
    /// Refuses to start.
    pub(super) fn start(
        _endpoint: &str,
        _config: &config::Telemetry,
        _node: &str,
        _runtime: Handle,
    ) -> Result<Self, ExportError> {
        Err(ExportError::NotBuilt)
    }

    pub(super) fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
        Identity::new()
    }

    pub(super) fn finish(self, _within: Duration) {
        match self {}
    }
}
