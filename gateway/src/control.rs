//! The control socket: how another process asks the node that holds a data folder for something that
//! only it can do. It stands in the data folder, whose permissions decide who may ask (decision
//! 0008). One line of JSON goes in and one comes back.

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

/// The longest line: a path and a little more.
const LINE_BYTES: u64 = 16 * 1024;
/// How long a line may take to arrive, or to leave.
const LINE_WITHIN: Duration = Duration::from_secs(5);
/// How long accepting pauses when it fails.
const RETRY: Duration = Duration::from_millis(100);

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Write a backup into this folder, which is there and empty.
    Backup(PathBuf),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done,
    /// It is not, for this reason.
    Failed(String),
}

/// A socket that is bound. It is removed when this is dropped.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Binds the socket of the node that holds `data`, in place of what a node left that died.
    ///
    /// # Errors
    /// If the system refuses, as it does for a path of more than about a hundred bytes.
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

    /// Answers, one after the other, until `stop` is cancelled; a backup under way is cut off then.
    pub async fn run(self, backup: Backup, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let served = match accepted {
                Ok((stream, _)) => serve(stream, &backup, &stop).await,
                Err(error) => {
                    tokio::time::sleep(RETRY).await;
                    Err(error)
                }
            };
            if let Err(error) = served {
                tracing::warn!(%error, "the control socket failed");
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The next node removes it, if this one cannot.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, backup: &Backup, stop: &CancellationToken) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let line = tokio::select! {
        line = timeout(LINE_WITHIN, line(&mut stream)) => line??,
        () = stop.cancelled() => return Ok(()),
    };
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Backup(folder)) => match backup.write(&folder, stop.clone()).await {
            Ok(()) => Answer::Done,
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "a backup failed");
                Answer::Failed(error.to_string())
            }
        },
        Err(error) => Answer::Failed(format!("not understood: {error}")),
    };
    timeout(LINE_WITHIN, send(&mut stream, &answer)).await?
}

/// Asks the node that holds `data`. `None` if none answers there.
///
/// # Errors
/// If the node went away meanwhile.
pub async fn ask(data: &Path, request: &Request) -> io::Result<Option<Answer>> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let stream = match UnixStream::connect(socket_in(data)).await {
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
        stream => stream?,
    };
    let mut stream = BufReader::new(stream);
    timeout(LINE_WITHIN, send(&mut stream, request)).await??;
    // As long as it takes: the end of the node ends the wait.
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
