//! Compares history and the directory of a data folder when a node starts: both may be whole, and yet
//! be of different folders, or one of them of another time.

use std::path::Path;

use pabal_core::ports::{Directory, HistoryError};
use pabal_storage::directory::SqliteDirectory;
use pabal_storage::history::FjallHistoryStore;

use super::StoresError;

/// How many channels are looked at.
const CHANNELS: usize = 64;

/// Looks up the senders of the oldest and the newest message of some channels.
///
/// # Errors
/// [`StoresError::Disagree`] if the directory knows none of them. A single unknown sender is no
/// damage: a backup copies the directory first, and a user may sign up and write before history is
/// copied.
pub(super) async fn check(
    folder: &Path,
    directory: &SqliteDirectory,
    history: &FjallHistoryStore,
) -> Result<(), StoresError> {
    let senders = history.some_senders(CHANNELS).await?;
    for &sender in &senders {
        let known = directory.user(sender).await;
        let known = known.map_err(|error| HistoryError::Unavailable(error.to_string()))?;
        if known.is_some() {
            return Ok(());
        }
    }
    match senders.len() {
        0 => Ok(()),
        channels => Err(StoresError::Disagree { folder: folder.to_owned(), channels }),
    }
}
