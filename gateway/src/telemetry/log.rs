//! Log lines, on standard error: standard output belongs to the one line that says the node is
//! ready.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Log, LogFormat};

/// Starts logging for the whole process. Has no effect the second time.
///
/// # Errors
/// If the filter makes no sense.
pub fn start(log: &Log) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| ConfigError::Value {
        key: "log.filter".to_owned(),
        reason: error.to_string(),
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
    Ok(())
}
