//! `pabal`: config → build → run → drain, unless another command is asked for.

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
use pabal_gateway::server::{BindError, Listeners, Server, Tls};
use pabal_gateway::telemetry;
use rustix::fs::Mode;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::commands::{Cli, Command, CommandError, NotBuilt};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why the program ended otherwise than by being asked to.
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
    #[error("{0}")]
    NotBuilt(#[from] NotBuilt),
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
    #[error("history could not make a write durable; see the log, and start again")]
    Engine,
    #[error("stopped without waiting for requests in progress")]
    Impatient,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Whatever the program writes is for its own user, in a folder that others may read as well.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let done = match &command {
        Command::Serve(flags) => serve(flags),
        Command::Config(config) => config.run().map_err(Failure::from),
        Command::Migrate(migrate) => on_runtime(migrate.run()),
        Command::User(user) => on_runtime(user.run()),
        Command::Check(check) => on_runtime(check.run()),
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
    match done {
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
    // Nothing is left to wait for but a password that nobody waits for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Runs a command that waits for things.
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
        doubt(tls);
    }
    let address = listeners.address()?;
    let app = App::build(config, address, tls.clone()).await?;
    let server = Server::start(listeners, &app, config);
    let scheme = if tls.is_some() { "https" } else { "http" };
    announce(&format!("listening on {scheme}://{address}"));
    let reason = tokio::select! {
        () = signals.next() => Ok(()),
        () = app.failed() => Err(Failure::Engine),
        never = reload(&mut hangup, tls.as_deref()) => match never {},
    };
    let grace = Duration::from_millis(config.server.shutdown_grace_ms);
    let stop = async {
        tracing::info!("stopping");
        server.close();
        app.drain(grace).await;
        server.finish(grace).await;
        app.shutdown(grace).await;
        tracing::info!("stopped");
    };
    tokio::select! {
        () = stop => reason,
        () = signals.next() => Err(Failure::Impatient),
    }
}

/// Reads the certificate again whenever SIGHUP asks for it. A bad one is logged, and changes nothing.
async fn reload(hangup: &mut Signal, tls: Option<&Tls>) -> Infallible {
    loop {
        if hangup.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let Some(tls) = tls else {
            tracing::info!("SIGHUP: there is no certificate to read again");
            continue;
        };
        match tls.reload() {
            Ok(()) => {
                tracing::info!("SIGHUP: the certificate was read again");
                doubt(tls);
            }
            Err(error) => tracing::error!(%error, "SIGHUP: the certificate stays as it was"),
        }
    }
}

/// Says so if no client can trust the certificate. It is used all the same: the clocks of the clients
/// decide, and one of theirs may be better than this one.
fn doubt(tls: &Tls) {
    if let Some(complaint) = tls.complaint(SystemClock.now()) {
        tracing::warn!("{complaint}");
    }
}

/// The one line on standard output, for whoever started the program and waits for it.
fn announce(line: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        tracing::warn!(%error, line, "standard output is closed");
    }
}

/// What asks the program to stop: SIGTERM, and Ctrl-C.
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
