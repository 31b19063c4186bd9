//! Checks the file of a directory.

use std::path::Path;

use super::changes::{self, Look};
use super::{SqliteDirectory, integrity, wal};
use crate::directory::error::{Failure, OpenError};
use crate::embedded::Findings;

/// The content of a directory and the findings of its check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryReport {
    /// The schema version.
    pub schema_version: i64,
    /// The number of users.
    pub users: i64,
    /// The findings.
    pub findings: Findings,
}

impl SqliteDirectory {
    /// Lets SQLite check every page, index and reference of `copy`, which must be of this release.
    /// SQLite writes a shared memory file next to the file it opens, so the check runs on a copy; the
    /// report names the `original`.
    ///
    /// # Errors
    /// [`OpenError::Unavailable`] if the file system fails; retry. Damage is not an error: it is in the
    /// report.
    pub async fn verify(copy: &Path, original: &Path) -> Result<DirectoryReport, OpenError> {
        let mut report = DirectoryReport::default();
        match changes::look(copy, original) {
            Ok(Look { torn_at, no_mark }) => {
                if let Some(at) = torn_at {
                    let log = wal::log_of(original);
                    report.findings.note(format!(
                        "directory: {} ends in the middle of a change, at byte {at}, as after a \
                         crash: it was not acknowledged, or in the last 100 ms",
                        log.display()
                    ));
                }
                if let Some(no_mark) = no_mark {
                    let what = "nothing says how far changes were acknowledged";
                    report.findings.note(format!("directory: {what}: {no_mark}"));
                }
            }
            Err(error @ OpenError::Damaged { .. }) => {
                report.findings.wrong(format!("directory: {error}"));
                return Ok(report);
            }
            Err(error) => return Err(error),
        }
        let directory = match Self::open_existing(copy).await.map_err(|error| error.of(original)) {
            Ok(directory) => directory,
            Err(error @ OpenError::Unavailable { .. }) => return Err(error),
            Err(error) => {
                report.findings.wrong(format!("directory: {error}"));
                return Ok(report);
            }
        };
        if let Err(error) = directory.check(&mut report).await {
            let error = pabal_core::ports::DirectoryError::from(error);
            report.findings.wrong(format!("directory: {error}"));
        }
        directory.close().await;
        Ok(report)
    }

    async fn check(&self, report: &mut DirectoryReport) -> Result<(), Failure> {
        let reader = &self.store.readers;
        for line in integrity(reader).await? {
            report.findings.wrong(format!("directory: {line}"));
        }
        let orphans: Vec<(String, Option<i64>, String, i64)> =
            sqlx::query_as("PRAGMA foreign_key_check").fetch_all(reader).await?;
        for (table, row, parent, _) in orphans {
            let row = row.map_or_else(String::new, |row| format!(" {row}"));
            report.findings.wrong(format!(
                "directory: row{row} of {table} refers to a missing row of {parent}"
            ));
        }
        report.schema_version = super::schema_version(reader).await?;
        report.users = sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(reader).await?;
        Ok(())
    }
}
