//! Continues with what is left of a damaged directory. What the log lost is gone; a second copy of a
//! row that differs from the row is made anew.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;

use super::{SqliteDirectory, changes, connections, integrity, wal};
use crate::directory::error::OpenError;
use crate::embedded::Findings;
use crate::mark;

impl SqliteDirectory {
    /// Repairs the file at `path`, of which the caller has a copy. No process may have it open.
    /// Returns what was wrong and what is gone.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] if the tables themselves are damaged: restore a backup.
    pub async fn repair(path: &Path) -> Result<Findings, OpenError> {
        let mut findings = Findings::default();
        let unusable = |error| OpenError::connect(path.to_owned(), error);
        let unavailable = |error| OpenError::system(path, &error);
        if let Err(OpenError::Damaged { detail, .. }) = changes::look(path, path) {
            findings.wrong(format!("directory: {detail}"));
        }
        let marked = mark::read(&changes::mark_of(path)).ok().flatten();
        let file = SqliteConnectOptions::new().filename(path);
        let pool = connections(1).connect_with(file).await.map_err(unusable)?;
        let repaired = async {
            for line in integrity(&pool).await.map_err(unusable)? {
                findings.wrong(format!("directory: {line}"));
            }
            let mut connection = pool.acquire().await.map_err(unusable)?;
            sqlx::query("REINDEX").execute(&mut *connection).await.map_err(unusable)?;
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
                .execute(&mut *connection)
                .await
                .map_err(unusable)?;
            connection.close().await.map_err(unusable)?;
            match integrity(&pool).await.map_err(unusable)?.into_iter().next() {
                None => Ok(()),
                Some(line) => {
                    let detail =
                        format!("its tables cannot be repaired ({line}); restore a backup");
                    Err(OpenError::Damaged { path: path.to_owned(), detail })
                }
            }
        };
        let repaired = repaired.await;
        pool.close().await;
        repaired?;
        if let Some(Ok(found)) = wal::look(path).map_err(unavailable)? {
            let marked = marked.as_ref().map(changes::decode);
            if let Some(lost) = marked.map(|marked| marked.wrapping_sub(found.change).cast_signed())
                && lost > 0
            {
                findings.wrong(format!("directory: the last {lost} acknowledged changes are gone"));
            }
        }
        changes::mark_copy(path).map_err(unavailable)?;
        Ok(findings)
    }
}
