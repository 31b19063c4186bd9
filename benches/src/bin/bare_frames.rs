//! The lower bound of a fan-out: frames are built once, and every connection gets its pending frames in one
//! write of the same shared bytes. It implements only the handshake and the frame header of WebSocket, and
//! stores nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The write timeout of a connection that does not read.
const GIVE_UP: Duration = Duration::from_secs(5);

type Connections = Arc<Mutex<Vec<OwnedWriteHalf>>>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let connections = Connections::default();
    let (broadcast, waiting) = mpsc::channel(1024);
    tokio::spawn(write_to_all(Arc::clone(&connections), waiting));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (connections, broadcast) = (Arc::clone(&connections), broadcast.clone());
        tokio::spawn(async move {
            // The end of a connection concerns no other one.
            let _ = serve(stream, connections, broadcast).await;
        });
    }
}

async fn write_to_all(connections: Connections, mut waiting: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut frames) = waiting.recv().await {
        while let Ok(more) = waiting.try_recv() {
            frames.extend_from_slice(&more);
        }
        for connection in connections.lock().await.iter_mut() {
            let written = connection.try_write(&frames).unwrap_or(0);
            if written < frames.len() {
                let rest = connection.write_all(&frames[written..]);
                // After a timeout the stream of this client is broken.
                let _ = tokio::time::timeout(GIVE_UP, rest).await;
            }
        }
        // Read what arrived since the last round.
        tokio::task::yield_now().await;
    }
}

async fn serve(
    mut stream: TcpStream,
    connections: Connections,
    broadcast: mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    );
    stream.write_all(response.as_bytes()).await?;
    let (reader, writer) = stream.into_split();
    connections.lock().await.push(writer);
    repeat(reader, broadcast).await
}

/// Broadcasts every frame of this client without unmasking: the generator's masking key is 0.
async fn repeat(mut reader: OwnedReadHalf, broadcast: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    let (mut received, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match reader.read(&mut buffer).await? {
            0 => return Ok(()),
            read => received.extend_from_slice(&buffer[..read]),
        }
        while let Some((header, length)) = masked_frame(&received) {
            let mut frame = received[..header - 4].to_vec();
            frame[1] &= 0x7f;
            frame.extend_from_slice(&received[header..header + length]);
            received.drain(..header + length);
            if broadcast.send(frame).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Lengths of the header, mask included, and of the payload of the frame at the beginning of
/// `bytes`, if it is complete. The generator's frames are shorter than 64 KiB.
fn masked_frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (header, length) = match bytes.get(1)? & 0x7f {
        126 => (8, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        length => (6, usize::from(length)),
    };
    (bytes.len() >= header + length).then_some((header, length))
}
