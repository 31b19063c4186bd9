//! A faulty proxy in front of a server, for checking that load tools detect faults. Runs until Ctrl-C or
//! SIGTERM.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use pabal_tests::address::Address;
use pabal_tests::faulty_proxy::{Corruption, FaultyProxy};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "faulty_proxy --upstream ADDRESS --corruption lose|repeat|reorder|forget|late
             [--every NUMBER] [--listen ADDRESS]
  --upstream    address of the server, such as 127.0.0.1:8080
  --corruption  what happens to messages, or with the last two to acknowledgements of sends
  --every       how many of them pass for each one that is corrupted, itself included (1000)
  --listen      address for clients, which speak HTTP/1.1 (127.0.0.1:0, a free port)
--lie is an older name of --corruption.";

struct Flags {
    upstream: SocketAddr,
    listen: SocketAddr,
    corruption: Corruption,
    every: u64,
}

fn flags() -> Result<Flags, String> {
    let (mut upstream, mut corruption) = (None, None);
    let (mut listen, mut every) = (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1_000);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word}: the value is missing"))?;
        let wrong = |error: &dyn std::fmt::Display| format!("{word} {value}: {error}");
        match word.as_str() {
            "--upstream" => upstream = Some(value.parse().map_err(|error| wrong(&error))?),
            "--listen" => listen = value.parse().map_err(|error| wrong(&error))?,
            "--corruption" | "--lie" => {
                corruption = Some(value.parse().map_err(|error| wrong(&error))?);
            }
            "--every" => every = value.parse().map_err(|error| wrong(&error))?,
            _ => return Err(format!("unknown flag {word}")),
        }
    }
    if every == 0 {
        return Err("--every 0: must be at least 1".to_owned());
    }
    Ok(Flags {
        upstream: upstream.ok_or("--upstream is missing")?,
        listen,
        corruption: corruption.ok_or("--corruption is missing")?,
        every,
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    let Flags { upstream, listen, corruption, every } = match flags() {
        Ok(flags) => flags,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        eprintln!("signal handlers cannot be installed");
        return ExitCode::FAILURE;
    };
    let proxy = match FaultyProxy::on(listen, &Address::new(upstream), corruption, every).await {
        Ok(proxy) => proxy,
        Err(error) => {
            eprintln!("{listen}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("listening on http://{}", proxy.address().get());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    println!("{} messages or acknowledgements were corrupted", proxy.corrupted());
    ExitCode::SUCCESS
}
