//! Attacks below requests: frames without content, and bodies that nothing asked for.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::scene::Scene;
use crate::http2::{END_HEADERS, END_STREAM, frame, get, kind};

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(5);
/// The type of a PRIORITY frame, RFC 9113, section 6.3.
const PRIORITY: u8 = 2;

/// Writes `batch` again and again until the time is over or the node ends the connection, and reads what comes.
/// Returns how often it was written.
async fn pour(stream: TcpStream, batch: &[u8]) -> u64 {
    let (mut read, mut write) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut bytes = vec![0; 16 * 1024];
        while matches!(read.read(&mut bytes).await, Ok(1..)) {}
    });
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < FLOOD {
        match timeout(FLOOD, write.write_all(batch)).await {
            Ok(Ok(())) => count += 1,
            // The node ended the connection, or reads no more.
            _ => break,
        }
    }
    reading.abort();
    count
}

/// Floods on a new connection whenever the node has ended one, until the time is over.
async fn flood(scene: &Scene, opening: &[u8], batch: &[u8], frames: u64) -> u64 {
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < FLOOD {
        let Ok(mut stream) = TcpStream::connect(scene.node.address().get()).await else { break };
        if stream.write_all(opening).await.is_ok() {
            // Also for the response to a handshake: frames before it would not be frames.
            sleep(Duration::from_millis(100)).await;
            sent += frames * pour(stream, batch).await;
        }
    }
    sent
}

pub(super) async fn empty_continuations(scene: &Scene) -> u64 {
    const FRAMES: usize = 2_000;
    let handshake = format!(
        "GET /v1/websocket HTTP/1.1\r\nhost: pabal\r\nauthorization: Bearer {}\r\nupgrade: websocket\r\n\
         connection: upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        scene.eve.token
    );
    // The first frame of a text message, masked, which never ends.
    let opening = [handshake.as_bytes(), &[0x01, 0x80, 0, 0, 0, 0]].concat();
    let batch = [0x00, 0x80, 0, 0, 0, 0].repeat(FRAMES);
    flood(scene, &opening, &batch, FRAMES as u64).await
}

fn http2_opening(scene: &Scene) -> Vec<u8> {
    let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    opening.extend(frame(kind::SETTINGS, 0, 0, &[]));
    let request = get("/v1/me", &scene.eve.token);
    opening.extend(frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &request));
    opening
}

pub(super) async fn priorities(scene: &Scene) -> u64 {
    const FRAMES: usize = 1_000;
    let batch = frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 16]).repeat(FRAMES);
    flood(scene, &http2_opening(scene), &batch, FRAMES as u64).await
}

pub(super) async fn window_updates(scene: &Scene) -> u64 {
    const FRAMES: usize = 1_000;
    let batch = frame(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(FRAMES);
    flood(scene, &http2_opening(scene), &batch, FRAMES as u64).await
}

pub(super) async fn unfinished_bodies(scene: &Scene) -> u64 {
    const BODIES: usize = 1_000;
    const BYTES: usize = 256 * 1024;
    let head = format!(
        "POST /v1/users HTTP/1.1\r\nhost: pabal\r\ncontent-type: application/json\r\ncontent-length: {BYTES}\r\n\r\n"
    );
    let most = vec![b' '; BYTES - 1];
    let mut connections = Vec::new();
    for _ in 0..BODIES {
        let Ok(mut stream) = TcpStream::connect(scene.node.address().get()).await else { break };
        // All but the last byte: the node must not wait for it with the rest in memory.
        let whole = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&most).await
        };
        // The node may refuse the request before its body.
        let _ = timeout(Duration::from_secs(1), whole).await;
        connections.push(stream);
    }
    sleep(FLOOD).await;
    connections.len() as u64
}
