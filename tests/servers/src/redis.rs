//! Redis: a single server, a Redis Cluster of three, and a primary with a replica and a Sentinel.

mod cluster;
mod sentinel;

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{Missing, Process, Program, port};

pub use cluster::RedisCluster;
pub use sentinel::RedisSentinel;

const HOW: &str = "make servers, or: apt-get install redis-server redis-tools";
const SERVER: Program = Program { name: "redis-server", how: HOW, folders: &[] };
const CLI: Program = Program { name: "redis-cli", how: HOW, folders: &[] };
const BENCHMARK: Program = Program { name: "redis-benchmark", how: HOW, folders: &[] };

/// How many ports are tried before another error is assumed.
const TRIES: usize = 5;

/// The default settings of a server. A write reaches the operating system before its response, so `kill -9` loses
/// none.
const DEFAULTS: [(&str, &str); 4] =
    [("save", ""), ("appendonly", "yes"), ("appendfsync", "everysec"), ("bind", "127.0.0.1")];

/// A Redis server.
#[derive(Debug)]
pub struct Redis {
    // Before the folder, which is removed once no process writes into it.
    process: Process,
    port: u16,
    cli: PathBuf,
    command: Vec<String>,
    folder: TempDir,
    /// Its certificate, if it has one. The file is kept while the server may read it.
    certificates: Option<TempDir>,
}

impl Redis {
    /// Starts a server that keeps every write through `kill -9`.
    ///
    /// # Errors
    /// [`Missing`].
    pub async fn start() -> Result<Self, Missing> {
        Self::start_with(&[]).await
    }

    /// Starts a server with settings of `redis.conf`, such as `("appendonly", "no")`. A value is one
    /// argument unless it has spaces in it, as in `("user", "default off")`.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self, Missing> {
        Self::start_on(settings, |_| Vec::new()).await
    }

    /// Starts a server that also accepts TLS, on a second port, with this certificate and key in PEM. Returns it
    /// with that port.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start_tls(certificate: &str, key: &str) -> Result<(Self, u16), Missing> {
        let files = TempDir::with_prefix("pabal-redis-tls-").expect("a folder for certificates");
        let file = |name: &str, pem: &str| {
            let file = files.path().join(name);
            std::fs::write(&file, pem).expect("the folder takes a file");
            file.display().to_string()
        };
        let (certificate, key) = (file("cert.pem", certificate), file("key.pem", key));
        let settings = [
            ("tls-cert-file", certificate.as_str()),
            ("tls-key-file", key.as_str()),
            ("tls-ca-cert-file", certificate.as_str()),
            ("tls-auth-clients", "no"),
        ];
        let port = |port: u16| vec![("tls-port", port.to_string())];
        let mut redis = Self::start_on(&settings, port).await?;
        redis.certificates = Some(files);
        let response = redis.command(&["CONFIG", "GET", "tls-port"]).await;
        let port = response.lines().last().and_then(|port| port.parse().ok()).expect("a port");
        Ok((redis, port))
    }

    /// As [`start_with`](Self::start_with), with settings that need a spare port besides its own.
    async fn start_on(
        settings: &[(&str, &str)],
        with_port: impl Fn(u16) -> Vec<(&'static str, String)>,
    ) -> Result<Self, Missing> {
        let settings: Vec<_> = DEFAULTS.iter().chain(settings).copied().collect();
        Self::run("redis-server", &settings, with_port, |_| Vec::new()).await
    }

    /// Starts a Sentinel with these lines of `sentinel.conf`, each without its first word.
    async fn start_sentinel(lines: &[&str]) -> Result<Self, Missing> {
        // A Sentinel writes its state into its file, and does not start without one.
        let file = |folder: &Path| {
            let file = folder.join("sentinel.conf");
            let text: String = lines.iter().map(|line| format!("sentinel {line}\n")).collect();
            std::fs::write(&file, text).expect("the folder takes a file");
            vec![file.display().to_string(), "--sentinel".to_owned()]
        };
        Self::run("redis-sentinel", &[("bind", "127.0.0.1")], |_| Vec::new(), file).await
    }

    async fn run(
        name: &str,
        settings: &[(&str, &str)],
        with_port: impl Fn(u16) -> Vec<(&'static str, String)>,
        begin: impl Fn(&Path) -> Vec<String>,
    ) -> Result<Self, Missing> {
        let (server, cli) = (SERVER.find()?, CLI.find()?);
        let folder = TempDir::with_prefix("pabal-redis-").expect("a folder for the server");
        let log = folder.path().join("log");
        for _ in 0..TRIES {
            let ports = port::spare_ports(2);
            let mut command = vec![server.display().to_string()];
            command.extend(begin(folder.path()));
            let mut set = |name: &str, value: &str| {
                command.push(format!("--{name}"));
                if value.is_empty() {
                    command.push(String::new());
                }
                command.extend(value.split_whitespace().map(ToOwned::to_owned));
            };
            for (name, value) in settings {
                set(name, value);
            }
            for (name, value) in with_port(ports[1]) {
                set(name, &value);
            }
            set("dir", &folder.path().display().to_string());
            set("port", &ports[0].to_string());
            let port = ports[0];
            let started = Process::start_until(name, &mut to_run(&command), &log, async || {
                responds(&cli, port).await
            })
            .await;
            if let Some(process) = started {
                let certificates = None;
                return Ok(Self { process, port, cli, command, folder, certificates });
            }
        }
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        panic!("{name} does not come up:\n{log}");
    }

    /// The port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of its process.
    ///
    /// # Panics
    /// If it was killed.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Pauses the server by SIGSTOP. Its connections stay open.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Resumes a paused server.
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
        self.process.start_again(&mut to_run(&self.command)).expect("redis-server starts");
        let up = self.process.responds(async || responds(&self.cli, self.port).await).await;
        assert!(up, "redis-server does not come up again:\n{}", self.process.log());
    }

    /// The response to a command as `redis-cli` prints it.
    pub async fn command(&self, words: &[&str]) -> String {
        ask(&self.cli, self.port, words).await
    }

    /// Writes a snapshot to disk. A server without `appendonly` begins with it after `kill -9`.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn snapshot(&self) {
        let response = self.command(&["SAVE"]).await;
        assert_eq!(response, "OK", "the server saves");
    }
}

/// The path of `redis-benchmark`.
///
/// # Errors
/// [`Missing`].
pub fn benchmark() -> Result<PathBuf, Missing> {
    BENCHMARK.find()
}

fn to_run(command: &[String]) -> Command {
    let mut process = Command::new(&command[0]);
    process.args(&command[1..]);
    process
}

/// Whether the server processes commands, even if only for authenticated clients.
async fn responds(cli: &Path, port: u16) -> bool {
    let response = ask(cli, port, &["PING"]).await;
    response == "PONG" || response.contains("NOAUTH")
}

async fn ask(cli: &Path, port: u16, words: &[&str]) -> String {
    let output = tokio::process::Command::new(cli)
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(words)
        .kill_on_drop(true)
        .output()
        .await
        .expect("redis-cli runs");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
