//! Files on which a directory cannot be opened, or that turn out damaged later. The error names the
//! cause, and the file is not changed.

use std::fs;
use std::path::{Path, PathBuf};

use pabal_core::model::UserId;
use pabal_core::ports::{Directory, DirectoryError};
use pabal_storage::directory::{OpenError, SqliteDirectory};
use sqlx::Connection;
use tempfile::TempDir;

use super::{folder, open, outside, sign_up, user};

async fn refusal(path: &Path) -> OpenError {
    SqliteDirectory::open(path).await.expect_err("cannot be opened")
}

#[tokio::test]
async fn a_file_of_a_newer_release_is_refused_and_not_changed() {
    let folder = folder();
    let path = folder.path().join("directory.db");
    open(&path).await.close().await;
    let mut file = outside(&path).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9000, 'of tomorrow', TRUE, x'00', 0)",
    )
    .execute(&mut file)
    .await
    .unwrap();
    file.close().await.unwrap();
    let before = fs::read(&path).unwrap();
    let error = refusal(&path).await;
    assert!(matches!(error, OpenError::Newer { version: 9000, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("directory.db was created by a newer release"), "{text}");
    assert!(text.contains("9000"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_file_with_an_altered_migration_is_refused() {
    let folder = folder();
    let path = folder.path().join("directory.db");
    open(&path).await.close().await;
    let alter = sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1");
    alter.execute(&mut outside(&path).await).await.unwrap();
    let error = refusal(&path).await;
    assert!(matches!(error, OpenError::Altered { version: 1, .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_refused_and_not_changed() {
    let folder = folder();
    let path = folder.path().join("directory.db");
    let text = "This is a letter. ".repeat(1_000);
    fs::write(&path, &text).unwrap();
    let error = refusal(&path).await;
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("is damaged, or not a SQLite database"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

/// A closed directory with some users.
async fn filled(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("directory.db");
    let directory = open(&path).await;
    sign_up(&directory, 1..=50).await;
    directory.close().await;
    path
}

#[tokio::test]
async fn a_file_with_a_damaged_schema_is_refused() {
    let folder = folder();
    let path = filled(&folder).await;
    let mut bytes = fs::read(&path).unwrap();
    // The first page lists the tables, after the 100 bytes of the header.
    bytes[100..4_096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let error = refusal(&path).await;
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn damage_found_by_a_read_is_distinguished_from_unavailability() {
    let folder = folder();
    let path = filled(&folder).await;
    let mut file = outside(&path).await;
    let root: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'users'")
        .fetch_one(&mut file)
        .await
        .unwrap();
    file.close().await.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let start = (root as usize - 1) * 4_096;
    bytes[start..start + 4_096].fill(0xa5);
    // While the file is open: at the start the damage is noticed.
    let directory = open(&path).await;
    fs::write(&path, bytes).unwrap();
    let read = directory.user(UserId::new(1)).await;
    assert!(matches!(&read, Err(e @ DirectoryError::Damaged(_)) if !e.retryable()), "{read:?}");
}

#[tokio::test]
async fn a_value_outside_the_model_is_damage() {
    let folder = folder();
    let path = filled(&folder).await;
    let mut file = outside(&path).await;
    sqlx::query("UPDATE users SET created_at = -1 WHERE user_id = 1")
        .execute(&mut file)
        .await
        .unwrap();
    let directory = open(&path).await;
    let read = directory.user(UserId::new(1)).await;
    assert!(matches!(read, Err(DirectoryError::Damaged(_))), "{read:?}");
    assert_eq!(directory.user(UserId::new(2)).await.unwrap(), Some(user(2)));
}

#[tokio::test]
async fn a_missing_folder_is_unavailable() {
    let folder = folder();
    let error = refusal(&folder.path().join("none").join("directory.db")).await;
    assert!(matches!(error, OpenError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("directory.db cannot be opened"), "{error}");
}
