//! A proxy before a server that lies to its clients, to see whether load tools find it out. Until
//! Ctrl-C or SIGTERM.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use pabal_tests::address::Address;
use pabal_tests::liar::{Liar, Lie};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "liar --upstream ADDRESS --lie lose|repeat|reorder|forget|late [--every NUMBER]
       [--listen ADDRESS]
  --upstream  where the server is, as in 127.0.0.1:8080
  --lie       what is done: to messages, and by the last two to acknowledgements of sends
  --every     at every so manieth of them (1000)
  --listen    where clients come, by HTTP/1.1 (127.0.0.1:0, a free port)";

struct Asked {
    upstream: SocketAddr,
    listen: SocketAddr,
    lie: Lie,
    every: u64,
}

fn asked() -> Result<Asked, String> {
    let (mut upstream, mut lie) = (None, None);
    let (mut listen, mut every) = (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1_000);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word}: a value is missing"))?;
        let wrong = |error: &dyn std::fmt::Display| format!("{word} {value}: {error}");
        match word.as_str() {
            "--upstream" => upstream = Some(value.parse().map_err(|error| wrong(&error))?),
            "--listen" => listen = value.parse().map_err(|error| wrong(&error))?,
            "--lie" => lie = Some(value.parse().map_err(|error| wrong(&error))?),
            "--every" => every = value.parse().map_err(|error| wrong(&error))?,
            _ => return Err(format!("{word} is not known")),
        }
    }
    if every == 0 {
        return Err("--every 0: at least 1".to_owned());
    }
    Ok(Asked {
        upstream: upstream.ok_or("--upstream is missing")?,
        listen,
        lie: lie.ok_or("--lie is missing")?,
        every,
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    let Asked { upstream, listen, lie, every } = match asked() {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        eprintln!("the system does not tell when to stop");
        return ExitCode::FAILURE;
    };
    let liar = match Liar::on(listen, &Address::new(upstream), lie, every).await {
        Ok(liar) => liar,
        Err(error) => {
            eprintln!("{listen}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("listening on http://{}", liar.address().get());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    println!("{} lies were told", liar.lies());
    ExitCode::SUCCESS
}
