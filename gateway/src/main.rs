//! `pabal`: config → build → run → drain.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pabal_gateway::app::{App, BuildError, cores};
use pabal_gateway::config::{Cli, Command, Config, ConfigError, ServeFlags};
use pabal_gateway::server::{BindError, Listeners, Server};
use pabal_gateway::telemetry;
use rustix::fs::Mode;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why the program ended otherwise than by being asked to.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Chat(#[from] pabal_terminal::Failure),
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
    let outcome = match &command {
        Command::Serve(flags) => serve(flags),
        Command::Chat(flags) => pabal_terminal::run(flags).map_err(Failure::from),
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
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let config = Config::load(flags, std::env::vars_os().filter_map(text))?;
    telemetry::log::start(&config.log)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(run(&config));
    // Nothing is left to wait for but a password that nobody waits for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(cores()).enable_all().build()
}

async fn run(config: &Config) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let listeners = Listeners::bind(&config.server)?;
    let address = listeners.address()?;
    let app = App::build(config, address).await?;
    let server = Server::start(listeners, &app, config);
    announce(&format!("listening on http://{address}"));
    let reason = tokio::select! {
        () = signals.next() => Ok(()),
        () = app.failed() => Err(Failure::Engine),
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
