//! The control socket: through it another process sends a request to the node that has a data
//! folder open. The socket is in the data folder, whose permissions decide about access (decision
//! 0008). The protocol is one line of JSON in each direction.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backup::Backup;
use crate::stores::ClockGuard;

/// The longest line: a path and its JSON.
const LINE_BYTES: u64 = 16 * 1024;
/// The time limit for reading or writing a line.
const LINE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a failed accept.
const RETRY: Duration = Duration::from_millis(100);

/// A request to a running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Write a backup into this folder, which exists and is empty.
    Backup(PathBuf),
    /// Accept the clock as it is, although it has jumped.
    AcceptClock,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The request succeeded.
    Done,
    /// The request failed, for this reason.
    Failed(String),
}

/// A bound control socket. Dropping it removes the file.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Binds the socket in the data folder `data`, replacing one that a crashed node has left.
    ///
    /// # Errors
    /// Those of the operating system, which refuses paths longer than about a hundred bytes.
    pub fn bind(data: &Path) -> io::Result<Self> {
        let path = socket_in(data);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Serves one request at a time until `stop` is cancelled, which also cancels a backup in
    /// progress.
    pub async fn run(self, backup: Backup, clock: ClockGuard, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let served = match accepted {
                Ok((stream, _)) => serve(stream, &backup, &clock, &stop).await,
                Err(error) => {
                    tokio::time::sleep(RETRY).await;
                    Err(error)
                }
            };
            if let Err(error) = served {
                tracing::warn!(%error, "a request on the control socket failed");
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // If this fails, the next node on the folder removes the file.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(
    stream: UnixStream,
    backup: &Backup,
    clock: &ClockGuard,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let line = tokio::select! {
        line = timeout(LINE_TIMEOUT, line(&mut stream)) => line??,
        () = stop.cancelled() => return Ok(()),
    };
    let reply = match serde_json::from_str(&line) {
        Ok(Request::Backup(folder)) => match backup.write(&folder, stop.clone()).await {
            Ok(()) => Reply::Done,
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "cannot write the backup");
                Reply::Failed(error.to_string())
            }
        },
        Ok(Request::AcceptClock) => {
            clock.accept();
            Reply::Done
        }
        Err(error) => Reply::Failed(format!("unknown request: {error}")),
    };
    timeout(LINE_TIMEOUT, send(&mut stream, &reply)).await?
}

/// Sends a request to the node that has the data folder `data` open, and waits for the outcome.
/// Returns `None` if no node runs on the folder.
///
/// # Errors
/// If the node stopped before it responded.
pub async fn ask(data: &Path, request: &Request) -> io::Result<Option<Reply>> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let stream = match UnixStream::connect(socket_in(data)).await {
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
        stream => stream?,
    };
    let mut stream = BufReader::new(stream);
    timeout(LINE_TIMEOUT, send(&mut stream, request)).await??;
    // Without a time limit: a backup may take long, and the wait ends if the node stops.
    Ok(Some(serde_json::from_str(&line(&mut stream).await?)?))
}

fn socket_in(data: &Path) -> PathBuf {
    data.join("control.sock")
}

async fn line(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.take(LINE_BYTES).read_line(&mut line).await?;
    if line.ends_with('\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

async fn send(stream: &mut BufReader<UnixStream>, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await
}
