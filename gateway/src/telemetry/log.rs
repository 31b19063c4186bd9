//! Log lines and traces. Log lines go to standard error: standard output has only the line that
//! reports the node as ready.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, ParseError, Targets};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::export::{ExportError, Exporter};
use crate::config::{Config, ConfigError, LogFormat};

/// Libraries that would log message contents or tokens at levels below `info`.
const SILENCED: [&str; 5] = ["tungstenite", "tokio_tungstenite", "h2", "hyper", "rustls"];

/// The time limit for sending the remaining traces when the node stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Running telemetry of the process.
#[derive(Debug)]
#[must_use = "call finish to send the remaining traces"]
pub struct Telemetry {
    exporter: Option<Exporter>,
}

/// Why telemetry cannot start. Do not retry: correct the setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// `log.filter` is invalid.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// Traces cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Starts logging for the whole process, and the export of traces if it is configured. Traces are
/// sent on `runtime`. A second call does not change the logging.
///
/// # Errors
/// [`TelemetryError`] for an invalid filter or endpoint. An unavailable collector is not an error.
pub fn start(config: &Config, runtime: &Handle) -> Result<Telemetry, TelemetryError> {
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let lines = match config.log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // A line needs both filters: the configured one cannot enable lower levels of these libraries.
    let silenced = SILENCED.map(|part| (part, LevelFilter::INFO));
    let allowed = Targets::new().with_default(LevelFilter::TRACE).with_targets(silenced);
    let lines = lines.with_filter(parse_filter(&config.log.filter)?.and(allowed));
    let telemetry = &config.telemetry;
    let start =
        |url: &String| Exporter::start(url, telemetry, config.node.name.as_str(), runtime.clone());
    let exporter = telemetry.otlp_endpoint.as_ref().map(start).transpose()?;
    let traces = exporter.as_ref().map(|exporter| {
        let ours = Targets::new().with_target(pabal_core::ports::TRACE_TARGET, LevelFilter::TRACE);
        exporter.layer().with_filter(ours)
    });
    if tracing_subscriber::registry().with(lines).with(traces).try_init().is_err() {
        tracing::debug!("logging was already started");
    }
    Ok(Telemetry { exporter })
}

impl Telemetry {
    /// Sends the remaining traces. Blocks for at most two seconds; the runtime must still run.
    pub fn finish(self) {
        if let Some(exporter) = self.exporter {
            exporter.finish(FINISH_TIMEOUT);
        }
    }
}

/// Reads `log.filter`: levels for everything, or for targets by prefix, separated by commas. Filters
/// of spans and fields, which need regular expressions, are not part of it.
pub(crate) fn parse_filter(text: &str) -> Result<Targets, ConfigError> {
    let parts: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Ok(Targets::new().with_default(LevelFilter::ERROR));
    }
    parts.join(",").parse().map_err(|error: ParseError| ConfigError::Value {
        key: "log.filter".to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_sets_levels_for_everything_and_for_targets() {
        let filter = parse_filter(" warn, pabal_core=debug,").expect("is valid");
        assert!(filter.would_enable("pabal_core::engine", &Level::DEBUG));
        assert!(filter.would_enable("fjall", &Level::WARN));
        assert!(!filter.would_enable("fjall", &Level::INFO));
        assert!(parse_filter("").expect("is valid").would_enable("fjall", &Level::ERROR));
        assert!(parse_filter("a=b=c").is_err());
        assert!(parse_filter("pabal_core=loud").is_err());
    }
}
