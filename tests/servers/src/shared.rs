//! A server that every test of a process shares, because it is slow to start.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::sync::OnceCell;

use crate::Missing;

/// Removes the data folder after the end of the test process, which runs no destructors of a `static`. The
/// server's [`Process`](crate::Process) ends by itself then.
const SWEEP: &str = "read -r _; for _ in 1 2 3 4 5; do rm -rf -- \"$0\" && exit; sleep 1; done";

/// A server for a `static`: started by the first test that needs it, ended with the test process.
#[derive(Debug, Default)]
pub struct Shared<T>(OnceCell<Result<Held<T>, Missing>>);

#[derive(Debug)]
struct Held<T> {
    server: T,
    /// Waits for the end of a pipe that this process holds.
    _sweeper: Child,
}

impl<T> Shared<T> {
    /// No server yet.
    pub const fn new() -> Self {
        Self(OnceCell::const_new())
    }

    /// The server, which the first call starts by `start`; `folder` is its data folder.
    ///
    /// # Errors
    /// [`Missing`].
    pub async fn get(
        &self,
        start: impl AsyncFnOnce() -> Result<T, Missing>,
        folder: impl FnOnce(&T) -> &Path,
    ) -> Result<&T, Missing> {
        let held = self.0.get_or_init(async || {
            let server = start().await?;
            let _sweeper = sweep_in_the_end(folder(&server));
            Ok(Held { server, _sweeper })
        });
        held.await.as_ref().map(|held| &held.server).map_err(Clone::clone)
    }
}

fn sweep_in_the_end(folder: &Path) -> Child {
    Command::new("sh")
        .args(["-c", SWEEP])
        .arg(folder)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell starts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ready;

    #[tokio::test]
    async fn the_server_is_started_once_and_its_folder_is_removed_with_the_pipe() {
        let shared = Shared::new();
        let start = async || Ok(tempfile::tempdir().expect("a folder").keep());
        let first = shared.get(start, |folder| folder).await.expect("a folder").clone();
        let second = shared.get(start, |folder| folder).await.expect("a folder").clone();
        assert_eq!(first, second);
        assert!(first.exists());
        drop(shared.0.into_inner().expect("started").expect("a folder")._sweeper.stdin.take());
        ready::until("the folder is removed", async || (!first.exists()).then_some(())).await;
    }
}
