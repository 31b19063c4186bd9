//! A copy of a database that fjall can open and change, while the original stays as it is: copies of
//! the small files, links to the tables.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::look::Torn;

/// Copies the `database` of a store to the folder `to`, which exists. A torn write is left out.
pub(super) fn database(database: &Path, to: &Path, torn: Option<&Torn>) -> io::Result<()> {
    copy(database, to)?;
    if let Some(torn) = torn
        && let Some(name) = torn.journal.file_name()
    {
        fs::File::options().write(true).open(to.join(name))?.set_len(torn.at)?;
    }
    Ok(())
}

fn copy(folder: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            copy(&from, &to)?;
        } else if folder.ends_with("tables") {
            // A table is never changed once it is written.
            symlink(fs::canonicalize(&from)?, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

/// Removes the folder of a copy, if there is one.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
