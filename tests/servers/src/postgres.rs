//! PostgreSQL: a server with a superuser of its own and as many databases as tests need.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::{Missing, Process, Program, port, ready};

const HOW: &str = "make servers, or: apt-get install postgresql";
/// The folders of Debian's packages for programs that are not meant for users.
const FOLDERS: &[&str] = &["/usr/lib/postgresql/*/bin"];
const SERVER: Program = Program { name: "postgres", how: HOW, folders: FOLDERS };
const INITDB: Program = Program { name: "initdb", how: HOW, folders: FOLDERS };
const PSQL: Program = Program { name: "psql", how: HOW, folders: FOLDERS };

/// The superuser.
const USER: &str = "pabal";
const PASSWORD: &str = "a courier's password";

/// How many ports are tried before another error is assumed.
const TRIES: usize = 5;

/// A PostgreSQL server. A commit is on disk when its response arrives.
#[derive(Debug)]
pub struct Postgres {
    // Before the folder, which is removed once no process writes into it.
    process: Process,
    runs: AtomicBool,
    port: u16,
    psql: PathBuf,
    server: PathBuf,
    settings: Vec<(String, String)>,
    databases: AtomicU32,
    folder: TempDir,
}

impl Postgres {
    /// Starts one.
    ///
    /// # Errors
    /// [`Missing`].
    pub async fn start() -> Result<Self, Missing> {
        Self::start_with(&[]).await
    }

    /// Starts one with settings of `postgresql.conf`, such as `("max_connections", "20")`.
    ///
    /// # Errors
    /// [`Missing`].
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self, Missing> {
        let (server, initdb, psql) = (SERVER.find()?, INITDB.find()?, PSQL.find()?);
        let folder = TempDir::with_prefix("pabal-postgres-").expect("a folder for the server");
        initialise(&initdb, folder.path());
        let log = folder.path().join("log");
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for _ in 0..TRIES {
            let port = port::spare_ports(1)[0];
            let mut settings: Vec<_> =
                settings.iter().map(|(name, value)| own(name, value)).collect();
            settings.extend([
                own("listen_addresses", "127.0.0.1"),
                own("unix_socket_directories", ""),
                own("port", &port.to_string()),
            ]);
            let mut command = to_run(&server, &settings, folder.path());
            let started = Process::start_until("postgres", &mut command, &log, async || {
                responds(&psql, port).await
            })
            .await;
            if let Some(process) = started {
                let (runs, databases) = (AtomicBool::new(true), AtomicU32::new(0));
                return Ok(Self { process, runs, port, psql, server, settings, databases, folder });
            }
        }
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        panic!("postgres does not come up:\n{log}");
    }

    /// The port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Creates an empty database and returns its URL.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn database(&self) -> String {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let response = self.command(&format!("CREATE DATABASE {name}")).await;
        assert_eq!(response, "CREATE DATABASE", "the server makes a database");
        self.url(USER, PASSWORD, &name)
    }

    /// The URL of a database for this user.
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        let password = password.replace(' ', "%20").replace('\'', "%27");
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Pauses the server by SIGSTOP. Its connections stay open.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self) {
        self.process.pause();
        // Each of these processes leads a process group.
        for child in self.children() {
            // A process may have ended just now.
            let _ = kill_process(child, Signal::STOP);
        }
    }

    /// Resumes a paused server.
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&self) {
        for child in self.children() {
            let _ = kill_process(child, Signal::CONT);
        }
        self.process.resume();
    }

    /// `kill -9` to all of its processes.
    pub fn kill(&self) {
        let children = self.children();
        self.runs.store(false, Ordering::Relaxed);
        self.process.kill();
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
    }

    /// Restarts the server on its port and its data, after a kill if it runs, and waits until it responds.
    ///
    /// # Panics
    /// If it does not become ready.
    pub async fn restart(&self) {
        let children = self.children();
        self.kill();
        // It does not start while one of the old processes holds the shared memory.
        ready::until("the old processes end", async || {
            let gone = children.iter().all(|child| test_kill_process(*child).is_err());
            gone.then_some(())
        })
        .await;
        let mut command = to_run(&self.server, &self.settings, self.folder.path());
        self.runs.store(true, Ordering::Relaxed);
        self.process.start_again(&mut command).expect("postgres starts");
        let up = self.process.responds(async || responds(&self.psql, self.port).await).await;
        assert!(up, "postgres does not come up again:\n{}", self.process.log());
    }

    /// The result of a statement as `psql` prints it, without headings and with `|` between values.
    pub async fn command(&self, statement: &str) -> String {
        ask(&self.psql, self.port, "postgres", statement).await
    }

    /// The processes of its connections and of its background work; empty if it does not run.
    fn children(&self) -> Vec<Pid> {
        let runs = self.runs.load(Ordering::Relaxed) && self.process.ended().is_none();
        if runs { children_of(self.process.id()) } else { Vec::new() }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// By `/proc/*/stat`: `id (name) state parent …`.
fn children_of(parent: u32) -> Vec<Pid> {
    let processes = Path::new("/proc").read_dir().expect("processes").flatten();
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |id: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        behind_name.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    ids.filter(is_child).filter_map(Pid::from_raw).collect()
}

/// Creates an empty database cluster in a folder.
fn initialise(initdb: &Path, folder: &Path) {
    let password = folder.join("password");
    std::fs::write(&password, PASSWORD).expect("the folder takes a file");
    if let Some(id) = system_user() {
        for path in [folder, &password] {
            chown(path, Some(id), Some(id)).expect("root may change owners");
        }
    }
    let mut command = as_system_user(initdb);
    command
        .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .arg(format!("--username={USER}"))
        .arg(format!("--pwfile={}", password.display()))
        .arg(data(folder));
    let output = command.output().expect("initdb runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb makes a cluster: {said}");
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn to_run(server: &Path, settings: &[(String, String)], folder: &Path) -> Command {
    let mut command = as_system_user(server);
    command.arg("-D").arg(data(folder));
    for (name, value) in settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command
}

/// PostgreSQL's programs refuse to run as root, and run as the user of the package then.
fn as_system_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(id) = system_user() {
        command.uid(id).gid(id).current_dir("/");
    }
    command
}

fn system_user() -> Option<u32> {
    if !geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("users");
    let user = users.lines().find_map(|line| line.strip_prefix("postgres:"));
    let id = user.and_then(|fields| fields.split(':').nth(1)?.parse().ok());
    Some(id.expect("the package of postgres made its user"))
}

async fn responds(psql: &Path, port: u16) -> bool {
    ask(psql, port, "postgres", "SELECT 1").await == "1"
}

async fn ask(psql: &Path, port: u16, database: &str, statement: &str) -> String {
    let output = tokio::process::Command::new(psql)
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--host=127.0.0.1"])
        .arg(format!("--port={port}"))
        .arg(format!("--username={USER}"))
        .arg(format!("--dbname={database}"))
        .arg(format!("--command={statement}"))
        .env("PGPASSWORD", PASSWORD)
        .env("PGCONNECT_TIMEOUT", "10")
        .kill_on_drop(true)
        .output()
        .await
        .expect("psql runs");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
