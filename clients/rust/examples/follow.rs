//! Prints the events of a user, on a transport of your choice:
//! `cargo run -p pabal-client --example follow -- --username mina --password … --transport sse`.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use pabal_client::{Client, Error, Event, Options, Policy, Transport};

#[derive(Debug, Parser)]
struct Flags {
    /// The URL of the server.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    #[arg(long)]
    username: String,
    #[arg(long, env = "PABAL_PASSWORD", hide_env_values = true)]
    password: String,
    /// Sign the user up first.
    #[arg(long)]
    sign_up: bool,
    #[arg(long, value_enum, default_value = "auto")]
    transport: Choice,
    /// End after this many events.
    #[arg(long)]
    events: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Choice {
    Auto,
    Websocket,
    Sse,
    LongPolling,
    ShortPolling,
}

impl From<Choice> for Policy {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Auto => Self::Auto,
            Choice::Websocket => Self::Only(Transport::WebSocket),
            Choice::Sse => Self::Only(Transport::Sse),
            Choice::LongPolling => Self::Only(Transport::LongPolling),
            Choice::ShortPolling => Self::Only(Transport::ShortPolling),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let flags = Flags::parse();
    let client = Client::builder(flags.url).build()?;
    let account = if flags.sign_up {
        client.sign_up(&flags.username, &flags.password).await?
    } else {
        client.log_in(&flags.username, &flags.password).await?
    };
    let options = Options { transports: flags.transport.into(), ..Options::default() };
    let mut connection = account.connect(options).await?;
    let mut state = connection.watch();
    println!("{} follows", account.user().username);
    let mut remaining = flags.events.unwrap_or(usize::MAX);
    while remaining > 0 {
        tokio::select! {
            event = connection.next() => match event {
                Some(Ok(Event::Message(message))) => {
                    let to = message.channel_id;
                    println!("{} to {to}: {}", message.message_from, message.content);
                    connection.read(to, message.message_id);
                    remaining -= 1;
                }
                Some(event) => {
                    println!("{:?}", event?);
                    remaining -= 1;
                }
                None => return Ok(()),
            },
            Ok(()) = state.changed() => println!("{:?}", *state.borrow_and_update()),
            () = tokio::time::sleep(Duration::from_secs(60)) => {
                println!("{:?}", connection.status().cost);
            }
        }
    }
    println!("{:?}", connection.status().cost);
    connection.close().await
}
