//! The peer of the fan-out claims: a broadcaster on tokio-tungstenite that stores nothing. Every text
//! frame goes to every connection, including the sender's; the pending frames of a connection leave in one
//! flush.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, Sender, error::RecvError};
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The size of both buffers of a connection. With the default of 128 KiB a connection would need 137 KiB and
/// more CPU.
const BUFFER_BYTES: usize = 4096;
/// Pending messages of a connection.
const WAITING: usize = 1024;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let broadcast_sender = broadcast::channel(WAITING).0;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let broadcast_sender = broadcast_sender.clone();
        tokio::spawn(async move {
            // The end of a connection concerns no other one.
            let _ = serve(stream, broadcast_sender).await;
        });
    }
}

async fn serve(stream: TcpStream, broadcast_sender: Sender<Utf8Bytes>) -> Result<(), Error> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(256 * 1024);
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    let mut waiting = broadcast_sender.subscribe();
    loop {
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => drop(broadcast_sender.send(Utf8Bytes::from(text.as_str()))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            text = waiting.recv() => {
                match text {
                    Ok(text) => socket.feed(Message::Text(text)).await?,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return Ok(()),
                }
                while let Ok(text) = waiting.try_recv() {
                    socket.feed(Message::Text(text)).await?;
                }
                socket.flush().await?;
            }
        }
    }
}
