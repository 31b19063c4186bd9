//! The program `pabal`. `serve` is in this file: config → build → run → drain. The other commands
//! are in `commands`, the terminal client, the lab and the load generator.

mod commands;

use std::convert::Infallible;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pabal_core::memory::SystemClock;
use pabal_core::ports::Clock;
use pabal_gateway::app::{App, BuildError, cores};
use pabal_gateway::config::{Config, ConfigError, ServeFlags, environment};
use pabal_gateway::server::{BindError, Listeners, Server};
use pabal_gateway::telemetry;
use pabal_gateway::tls::Tls;
use rustix::fs::Mode;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::commands::{Cli, Command, CommandError, NotBuilt};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why the program failed: one line for standard error.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Telemetry(#[from] telemetry::TelemetryError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[cfg(feature = "chat")]
    #[error(transparent)]
    Chat(#[from] pabal_terminal::Failure),
    #[cfg(feature = "lab")]
    #[error(transparent)]
    Lab(#[from] pabal_lab::command::Failure),
    #[cfg(feature = "load")]
    #[error(transparent)]
    Load(#[from] pabal_load::Failure),
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    #[error("the operating system refused: {0}")]
    System(#[from] io::Error),
    #[error("history could not make a write durable; see the log, and start the node again")]
    Engine,
    #[error("stopped at the second signal, without waiting for requests in progress")]
    Aborted,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Files that the program writes are for its own user only, also in a folder that others can
    // read.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let outcome = match &command {
        Command::Serve(flags) => serve(flags),
        Command::Config(config) => config.run().map_err(Failure::from),
        Command::Migrate(migrate) => on_runtime(migrate.run()),
        Command::User(user) => on_runtime(user.run()),
        Command::Check(check) => on_runtime(check.run()),
        Command::Repair(repair) => on_runtime(repair.run()),
        Command::Clock(clock) => on_runtime(clock.run()),
        Command::Backup(backup) => on_runtime(backup.run()),
        Command::Restore(restore) => on_runtime(restore.run()),
        #[cfg(feature = "chat")]
        Command::Chat(chat) => pabal_terminal::run(chat).map_err(Failure::from),
        #[cfg(feature = "lab")]
        Command::Lab(lab) => pabal_lab::command::run(lab).map_err(Failure::from),
        #[cfg(feature = "load")]
        Command::Load(load) => pabal_load::run(load).map_err(Failure::from),
        #[cfg(not(feature = "chat"))]
        Command::Chat(_) => Err(NotBuilt("chat").into()),
        #[cfg(not(feature = "lab"))]
        Command::Lab(_) => Err(NotBuilt("lab").into()),
        #[cfg(not(feature = "load"))]
        Command::Load(_) => Err(NotBuilt("load").into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pabal: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: &ServeFlags) -> Result<(), Failure> {
    let config = Config::load(flags, environment())?;
    let runtime = runtime()?;
    let telemetry = telemetry::start(&config, runtime.handle())?;
    let outcome = runtime.block_on(run(&config));
    telemetry.finish();
    // Only password hashes of dropped requests may still be running.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Runs an asynchronous command.
fn on_runtime(command: impl Future<Output = Result<(), CommandError>>) -> Result<(), Failure> {
    Ok(runtime()?.block_on(command)?)
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(cores()).enable_all().build()
}

async fn run(config: &Config) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let listeners = Listeners::bind(&config.server)?;
    let tls = listeners.tls();
    if let Some(tls) = &tls {
        warn_if_invalid(tls);
    }
    let address = listeners.address()?;
    let app = App::build(config, address, tls.clone()).await?;
    let server = Server::start(listeners, app.services(), config);
    let scheme = if tls.is_some() { "https" } else { "http" };
    announce(&format!("listening on {scheme}://{address}"));
    let reason = tokio::select! {
        () = signals.next() => Ok(()),
        () = app.failed() => Err(Failure::Engine),
        never = reload(&mut hangup, tls.as_deref()) => match never {},
    };
    let grace = Duration::from_millis(config.server.shutdown_grace_ms);
    tokio::select! {
        () = drain(server, app, grace) => reason,
        () = signals.next() => Err(Failure::Aborted),
    }
}

/// Refuses new connections, moves sessions to other nodes, lets requests in progress end, and
/// closes the stores.
async fn drain(server: Server, app: App, grace: Duration) {
    tracing::info!("stopping");
    server.close();
    app.drain(grace).await;
    server.finish(grace).await;
    app.shutdown(grace).await;
    tracing::info!("stopped");
}

/// Reads the certificate again on every SIGHUP. An invalid one is logged, and the old one stays in
/// use.
async fn reload(hangup: &mut Signal, tls: Option<&Tls>) -> Infallible {
    loop {
        if hangup.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let Some(tls) = tls else {
            tracing::info!("SIGHUP: no certificate is configured");
            continue;
        };
        match tls.reload() {
            Ok(()) => {
                tracing::info!("SIGHUP: the certificate was read again");
                warn_if_invalid(tls);
            }
            Err(error) => tracing::error!(%error, "SIGHUP: keeping the certificate in use"),
        }
    }
}

/// Logs a warning if the certificate is not valid now. It is used nevertheless: clients decide by
/// their own clocks.
fn warn_if_invalid(tls: &Tls) {
    if let Some(complaint) = tls.complaint(SystemClock.now()) {
        tracing::warn!("{complaint}");
    }
}

/// Writes the only line on standard output. A process that started the program waits for it.
fn announce(line: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        tracing::warn!(%error, line, "standard output is closed");
    }
}

/// The signals that stop the program: SIGTERM, and SIGINT from Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
