//! Cassandra: one node. It is a Java program, whose parts `install.sh` puts into a cache.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Missing, Process, Program, port};

const HOW: &str = "make servers, or: tests/servers/install.sh (Java 17, Maven)";
const JAVA: Program = Program { name: "java", how: HOW, folders: &["/usr/lib/jvm/*17*/bin"] };
const MISSING: Missing = Missing { program: "cassandra", how: HOW };

/// The name that `install.sh` gives to the folder of the parts.
const PARTS: &str = "pabal/cassandra-5.0.5";

const JAVA_ARGS: &str = include_str!("../cassandra/java.args");
const LOGBACK: &str = include_str!("../cassandra/logback.xml");

/// How many ports are tried before another error is assumed.
const TRIES: usize = 5;

/// An OPTIONS request of the native protocol, version 4. The first byte of every response is the version with the
/// bit of a response.
const OPTIONS: [u8; 9] = [0x04, 0, 0, 0, 0x05, 0, 0, 0, 0];
const RESPONSE: u8 = 0x84;

/// A Cassandra node, which takes about half a minute to start: tests should [share](crate::Shared) one. A write is
/// on disk when its response arrives.
#[derive(Debug)]
pub struct Cassandra {
    // Before the folder, which is removed once no process writes into it.
    process: Process,
    port: u16,
    java: PathBuf,
    parts: PathBuf,
    keyspaces: AtomicU32,
    folder: TempDir,
}

impl Cassandra {
    /// Starts one.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start() -> Result<Self, Missing> {
        Self::start_with("").await
    }

    /// Starts one with more lines of `cassandra.yaml`, such as
    /// `"authenticator: PasswordAuthenticator"`.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start_with(settings: &str) -> Result<Self, Missing> {
        let java = JAVA.find()?;
        let parts = parts().filter(|folder| folder.is_dir()).ok_or(MISSING)?;
        let folder = TempDir::with_prefix("pabal-cassandra-").expect("a folder for the server");
        let log = folder.path().join("log");
        for _ in 0..TRIES {
            let ports = port::spare_ports(2);
            write_settings(folder.path(), ports[0], ports[1], settings);
            let mut command = to_run(&java, &parts, folder.path());
            let port = ports[0];
            let started = Process::start_until("cassandra", &mut command, &log, async || {
                responds(port).await
            })
            .await;
            if let Some(process) = started {
                let keyspaces = AtomicU32::new(0);
                return Ok(Self { process, port, java, parts, keyspaces, folder });
            }
        }
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        panic!("cassandra does not come up:\n{log}");
    }

    /// The port for CQL on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of a new keyspace.
    pub fn keyspace(&self) -> String {
        let number = self.keyspaces.fetch_add(1, Ordering::Relaxed);
        format!("cassandra://127.0.0.1:{}/k{number}?replication_factor=1", self.port)
    }

    /// Pauses the server by SIGSTOP. Its connections stay open.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Resumes a paused server.
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Restarts the server on its port and its data, after a kill if it runs, and waits until it responds.
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn restart(&self) {
        let mut command = to_run(&self.java, &self.parts, self.folder.path());
        self.process.start_again(&mut command).expect("java starts");
        let up = self.process.responds(async || responds(self.port).await).await;
        assert!(up, "cassandra does not come up again:\n{}", self.process.log());
    }
}

/// The folder with the parts of Cassandra, as in `install.sh`.
fn parts() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join(PARTS))
}

fn write_settings(folder: &Path, port: u16, storage_port: u16, more: &str) {
    let data = folder.display();
    // `batch`: the response to a write follows its sync to disk. Timeouts suit a machine that is busy with
    // other tests.
    let settings = format!(
        "cluster_name: pabal
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: \"127.0.0.1:{storage_port}\"
listen_address: 127.0.0.1
storage_port: {storage_port}
rpc_address: 127.0.0.1
native_transport_port: {port}
endpoint_snitch: SimpleSnitch
data_file_directories: [\"{data}/data\"]
commitlog_directory: \"{data}/commitlog\"
saved_caches_directory: \"{data}/saved_caches\"
hints_directory: \"{data}/hints\"
commitlog_sync: batch
auto_snapshot: false
read_request_timeout: 30s
range_request_timeout: 30s
write_request_timeout: 30s
truncate_request_timeout: 60s
{more}
"
    );
    let files =
        [("cassandra.yaml", &*settings), ("java.args", JAVA_ARGS), ("logback.xml", LOGBACK)];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).expect("the folder takes a file");
    }
}

fn to_run(java: &Path, parts: &Path, folder: &Path) -> Command {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut command = Command::new(java);
    command
        .arg(format!("@{}", at("java.args")))
        .arg(format!("-Dcassandra.config=file://{}", at("cassandra.yaml")))
        .arg(format!("-Dcassandra.storagedir={}", folder.display()))
        .arg(format!("-Dlogback.configurationFile=file://{}", at("logback.xml")))
        .arg(format!("-Djava.io.tmpdir={}", folder.display()))
        .arg("-cp")
        .arg(parts.join("*"))
        .arg("org.apache.cassandra.service.CassandraDaemon");
    command
}

async fn responds(port: u16) -> bool {
    let asked = tokio::task::spawn_blocking(move || {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        connection.write_all(&OPTIONS)?;
        let mut first = [0];
        connection.read_exact(&mut first)?;
        std::io::Result::Ok(first[0] == RESPONSE)
    });
    asked.await.is_ok_and(|response| response.unwrap_or(false))
}
