//! A build without the drivers of servers: a configuration that names one is refused.

use std::sync::Arc;

use pabal_core::ports::Clock;

use super::{OpenDirectory, Servers, StoresError};
use crate::config::Storage;

/// Refuses the first setting of `storage` that names a server.
pub(super) async fn connect(
    storage: &Storage,
    _clock: &Arc<dyn Clock>,
) -> Result<Servers, StoresError> {
    refuse("storage.queue", storage.queue.as_ref())?;
    refuse("storage.history", storage.history.as_ref())?;
    refuse("storage.directory", storage.directory.as_ref())?;
    Ok(Servers::default())
}

/// Refuses a directory on a server.
pub(super) async fn connect_directory(
    storage: &Storage,
    _connections: u32,
) -> Result<Option<OpenDirectory>, StoresError> {
    refuse("storage.directory", storage.directory.as_ref())?;
    Ok(None)
}

/// Refuses a server that would be migrated.
pub(super) async fn migrate(storage: &Storage) -> Result<Vec<&'static str>, StoresError> {
    refuse("storage.directory", storage.directory.as_ref())?;
    refuse("storage.history", storage.history.as_ref())?;
    Ok(Vec::new())
}

fn refuse(key: &'static str, url: Option<&String>) -> Result<(), StoresError> {
    match url {
        Some(_) => Err(StoresError::NotBuilt(key)),
        None => Ok(()),
    }
}
