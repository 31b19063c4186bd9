//! A node: the real binary as a child process on a data folder of its own, killed on drop.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::address::Address;
use crate::metrics::Metrics;
use crate::{binary, wait};

/// A running node. Its folder is removed with it; its log is shown if the test fails.
#[derive(Debug)]
pub struct Node {
    folder: TempDir,
    address: Address,
    /// The address of this machine at which it listens.
    ip: IpAddr,
    administration: Option<SocketAddr>,
    settings: Vec<(String, String)>,
    apart: bool,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    reader: Option<JoinHandle<()>>,
}

/// The port of a node after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The same port.
    Same,
    /// Another free port.
    Other,
}

impl Node {
    /// Starts a node with the settings given as environment, `PABAL_…`.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), None, settings).await
    }

    /// Starts a node whose metrics can be read, on any address of this machine.
    pub async fn start_watched(ip: IpAddr, settings: &[(&str, &str)]) -> Self {
        Self::start_at(ip, Some(spare_for_administration()), settings).await
    }

    async fn start_at(
        ip: IpAddr,
        administration: Option<SocketAddr>,
        settings: &[(&str, &str)],
    ) -> Self {
        let node = Self::new(ip, administration, settings);
        node.run(0).await;
        node
    }

    /// A node whose metrics can be read, which [`restart`](Self::restart) with [`Port::Same`] starts
    /// on this port of the loopback interface. Its address is known before it runs.
    pub fn to_come(port: u16, settings: &[(&str, &str)]) -> Self {
        let ip = Ipv4Addr::LOCALHOST.into();
        let node = Self::new(ip, Some(spare_for_administration()), settings);
        node.address.set(SocketAddr::from((ip, port)));
        node
    }

    fn new(ip: IpAddr, administration: Option<SocketAddr>, settings: &[(&str, &str)]) -> Self {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            folder: TempDir::with_prefix("pabal-e2e-").expect("a folder for the node"),
            address: Address::default(),
            ip,
            administration,
            settings: settings.iter().map(own).collect(),
            apart: false,
            running: Mutex::default(),
        }
    }

    /// Runs the node in a process group of its own: Ctrl-C in the terminal reaches the program that started
    /// it and not the node.
    #[must_use]
    pub fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// The metrics of a node that was started with an administration listener.
    ///
    /// # Panics
    /// If it was not.
    pub async fn metrics(&self) -> Metrics {
        Metrics::read(self.administration.expect("an administration listener")).await
    }

    /// The same; `None` if the node does not respond.
    ///
    /// # Panics
    /// If it was not started with an administration listener.
    pub async fn try_metrics(&self) -> Option<Metrics> {
        let read = Metrics::try_read(self.administration.expect("an administration listener"));
        tokio::time::timeout(Duration::from_secs(2), read).await.ok()?.ok()
    }

    /// The node of scenarios that neither stop nor configure theirs. It ends when the last of them drops it.
    pub async fn shared() -> Arc<Self> {
        static SHARED: tokio::sync::Mutex<Weak<Node>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(node) = shared.upgrade() {
            return node;
        }
        let node = Arc::new(Self::start(&[]).await);
        *shared = Arc::downgrade(&node);
        node
    }

    /// The address at which it listens; updated by a restart.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Ends the process as a power cut would: `kill -9`.
    pub fn kill(&self) {
        if let Some(mut running) = self.lock().take() {
            running.kill();
        }
    }

    /// Asks the process to stop, as an orchestrator does: SIGTERM.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Pauses the process, as an overloaded machine does: SIGSTOP. Its connections
    /// stay.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes a paused process.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let running = self.lock();
        let child = &running.as_ref().expect("the node runs").child;
        kill_process(Pid::from_child(child), signal).expect("the process takes a signal");
    }

    /// The id of its process.
    ///
    /// # Panics
    /// If it was killed.
    pub fn id(&self) -> u32 {
        self.lock().as_ref().expect("the node runs").child.id()
    }

    /// Whether its process has not ended.
    pub fn runs(&self) -> bool {
        let mut running = self.lock();
        running.as_mut().is_some_and(|it| matches!(it.child.try_wait(), Ok(None)))
    }

    /// The log of the node.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Panics
    /// If it has not ended after [`wait::SOON`].
    pub async fn ended(&self) -> ExitStatus {
        wait::until("the process ends", async || {
            let mut slot = self.lock();
            let running = slot.as_mut().expect("the node runs");
            let status = running.child.try_wait().expect("the process can be asked")?;
            slot.take();
            Some(status)
        })
        .await
    }

    /// Restarts the node on the same data folder, after a kill if it runs.
    pub async fn restart(&self, port: Port) {
        self.kill();
        match port {
            Port::Same => self.run(self.address.get().port()).await,
            Port::Other => self.run(0).await,
        }
    }

    async fn run(&self, port: u16) {
        let log = File::options().create(true).append(true).open(self.log_path());
        let mut command = Command::new(binary::path());
        command
            .args(["serve", "--no-rate-limits"])
            .args(["--listen", &SocketAddr::from((self.ip, port)).to_string()])
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("a file for the node's log"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PABAL_") {
                command.env_remove(name);
            }
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        if let Some(address) = self.administration {
            command.args(["--admin-listen", &address.to_string()]);
        }
        if self.apart {
            command.process_group(0);
        }
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("the output is piped");
        let (announce, announced) = oneshot::channel();
        let reader = std::thread::spawn(move || {
            let mut announce = Some(announce);
            // Reads to the end, or the node would write to a closed pipe.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let url = line.strip_prefix("listening on ");
                let address = url.and_then(|url| url.split_once("://"));
                if let Some(address) = address.and_then(|(_, it)| it.parse::<SocketAddr>().ok())
                    && let Some(announce) = announce.take()
                {
                    // An error means that the test no longer waits for the address.
                    let _ = announce.send(address);
                }
            }
        });
        *self.lock() = Some(Running { child, reader: Some(reader) });
        let address = tokio::time::timeout(wait::SOON, announced).await;
        match address {
            Ok(Ok(address)) => self.address.set(address),
            other => panic!("the node did not say where it listens: {other:?}"),
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn kill(&mut self) {
        // An error means that the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// On an address where no other program takes ports, so that this one stays free until the node binds it.
fn spare_for_administration() -> SocketAddr {
    let probe = TcpListener::bind((Ipv4Addr::new(127, 9, 9, 9), 0));
    probe.and_then(|probe| probe.local_addr()).expect("a free port")
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let shown = lines.len().saturating_sub(60);
            eprintln!("--- the node's log, last lines ---\n{}", lines[shown..].join("\n"));
        }
    }
}
