//! Two users sign up and exchange messages: `cargo run -p pabal-client --example hello -- http://127.0.0.1:8080`.

use pabal_client::{Client, Connection, Error, Event, Options};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8080".into());
    let client = Client::builder(url).build()?;
    let run = std::process::id();
    let mina = client.sign_up(&format!("mina-{run}"), "correct horse").await?;
    let joon = client.sign_up(&format!("joon-{run}"), "battery staple").await?;
    let channel = mina.direct(joon.user_id()).await?;

    let mut at_mina = mina.connect(Options::default()).await?;
    let mut at_joon = joon.connect(Options::default()).await?;

    let sent = at_mina.send(channel.channel_id, "안녕, joon!");
    println!("mina sent {}", sent.client_message_id());
    println!("durable as {}", sent.await?);

    println!("joon received: {}", next_message(&mut at_joon).await?);
    at_joon.send(channel.channel_id, "hello, mina").await?;
    // A user's own messages are events as well, so that all devices of the user agree.
    println!("mina received: {}", next_message(&mut at_mina).await?);
    println!("mina received: {}", next_message(&mut at_mina).await?);

    println!("{:?}", at_mina.status());
    at_mina.close().await?;
    at_joon.close().await
}

async fn next_message(connection: &mut Connection) -> Result<String, Error> {
    while let Some(event) = connection.next().await {
        if let Event::Message(message) = event? {
            return Ok(message.content);
        }
    }
    Err(Error::Closed)
}
