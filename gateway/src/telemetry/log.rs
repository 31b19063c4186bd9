//! Log lines and traces. Lines go to standard error: standard output belongs to the one line that
//! says the node is ready.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, Targets};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::export::{ExportError, Exporter};
use crate::config::{Config, ConfigError, LogFormat};

/// Parts that would write what people say, or their tokens, if they were asked for everything.
const SILENCED: [&str; 5] = ["tungstenite", "tokio_tungstenite", "h2", "hyper", "rustls"];

/// How long what is collected gets to leave when the node stops.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// What must end when the node does.
#[derive(Debug)]
#[must_use = "traces are sent when it is finished"]
pub struct Telemetry {
    exporter: Option<Exporter>,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter makes no sense.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// Traces cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Starts logging, and the export of traces if one is configured, for the whole process. What is
/// exported is sent on `runtime`. Has no effect the second time.
///
/// # Errors
/// If the filter or the endpoint make no sense. A collector that does not answer is no error.
pub fn start(config: &Config, runtime: &Handle) -> Result<Telemetry, TelemetryError> {
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let lines = match config.log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // Both must agree: no filter of an operator's reaches further into those parts.
    let silenced = SILENCED.map(|part| (part, LevelFilter::INFO));
    let allowed = Targets::new().with_default(LevelFilter::TRACE).with_targets(silenced);
    let lines = lines.with_filter(filter(&config.log.filter)?.and(allowed));
    let telemetry = &config.telemetry;
    let start =
        |url: &String| Exporter::start(url, telemetry, config.node.name.as_str(), runtime.clone());
    let exporter = telemetry.otlp_endpoint.as_ref().map(start).transpose()?;
    let traces = exporter.as_ref().map(|exporter| {
        let ours = Targets::new().with_target(pabal_core::ports::TRACE_TARGET, LevelFilter::TRACE);
        exporter.layer().with_filter(ours)
    });
    if tracing_subscriber::registry().with(lines).with(traces).try_init().is_err() {
        tracing::debug!("logging had been started before");
    }
    Ok(Telemetry { exporter })
}

impl Telemetry {
    /// Sends what waits, while the runtime still runs. Blocks for two seconds at most.
    pub fn finish(self) {
        if let Some(exporter) = self.exporter {
            exporter.finish(FINISH_WITHIN);
        }
    }
}

fn filter(text: &str) -> Result<EnvFilter, ConfigError> {
    EnvFilter::try_new(text).map_err(|error| ConfigError::Value {
        key: "log.filter".to_owned(),
        reason: error.to_string(),
    })
}
