//! The path of a server's program, and what happens if it is not installed.

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A program of a server, and how to install it.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its file name.
    pub name: &'static str,
    /// How to install it, as a sentence without a full stop.
    pub how: &'static str,
    /// Folders to search after `PATH`; `*` matches one name.
    pub folders: &'static [&'static str],
}

/// A server cannot be started, because a program is not installed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{program} is not installed: {how}")]
pub struct Missing {
    /// The program.
    pub program: &'static str,
    /// How to install it.
    pub how: &'static str,
}

impl Program {
    /// The path of the program.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn find(&self) -> Result<PathBuf, Missing> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let listed = self.folders.iter().flat_map(|folder| matching(Path::new(folder)));
        std::env::split_paths(&path)
            .chain(listed)
            .map(|folder| folder.join(self.name))
            .find(|file| file.is_file())
            .ok_or(Missing { program: self.name, how: self.how })
    }
}

/// The folders that match a pattern, the highest name first.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        if part.as_os_str() == "*" {
            let mut below: Vec<PathBuf> = found
                .iter()
                .filter_map(|folder| folder.read_dir().ok())
                .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
                .collect();
            below.sort_unstable_by(|a, b| b.cmp(a));
            found = below;
        } else {
            found = found.into_iter().map(|folder| folder.join(part)).collect();
        }
    }
    found
}

impl Missing {
    /// See [`leave_out`].
    ///
    /// # Panics
    /// See [`leave_out`].
    pub fn leave_out(&self) {
        leave_out(self);
    }
}

/// Reports on standard error that the running test is skipped and why, even if libtest captures output.
///
/// # Panics
/// If `PABAL_LEAVE_NOTHING_OUT` is set, as it is in CI: a machine that cannot run a test must not
/// report it as passed.
pub fn leave_out(why: impl Display) {
    assert!(std::env::var_os("PABAL_LEAVE_NOTHING_OUT").is_none(), "{why}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("left out: {test}, because {why}\n");
    // If standard error cannot be written, the message is lost; the test is skipped nevertheless.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_on_the_path_and_in_its_folders() {
        let shell = Program { name: "sh", how: "", folders: &[] };
        assert!(shell.find().expect("a shell").is_absolute());
        let folder = tempfile::tempdir().expect("a folder");
        for version in ["15", "16"] {
            let below = folder.path().join(version).join("bin");
            std::fs::create_dir_all(&below).expect("a folder");
            std::fs::write(below.join("pabal-no-such"), "").expect("a file");
        }
        let pattern = folder.path().join("*/bin").to_str().expect("UTF-8").to_owned();
        let folders: &'static [&'static str] = vec![&*pattern.leak()].leak();
        let program = Program { name: "pabal-no-such", how: "", folders };
        assert!(program.find().expect("a program").ends_with("16/bin/pabal-no-such"));
    }

    #[test]
    fn a_missing_program_is_named_with_how_to_install_it() {
        let program = Program { name: "pabal-no-such", how: "write it", folders: &[] };
        let missing = program.find().expect_err("no program");
        assert_eq!(missing.to_string(), "pabal-no-such is not installed: write it");
    }
}
