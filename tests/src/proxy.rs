//! A TCP proxy that injects the faults of networks (cut, delay, stall, lose a response that the server has
//! written) and of proxies (refuse a request, hold its response back).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::address::Address;
use crate::wait;

const REFUSAL: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\ncontent-length: 7\r\nconnection: close\r\n\r\nproxied";

/// How many bytes are relayed at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// The receive buffer towards the server: small, so that a stall reaches the server soon.
const RECEIVE_BYTES: u32 = 8 * 1024;

/// A proxy in front of a node. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: Address,
    faults: watch::Sender<Faults>,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

/// The current faults.
#[derive(Clone, Debug, Default)]
struct Faults {
    /// Connections of an earlier generation are cut.
    generation: u64,
    /// The delay of every chunk, in both directions.
    delay: Duration,
    /// Nothing is read from the server.
    stalled: bool,
    /// Bytes of the server are read and discarded.
    swallowing: bool,
    /// New connections are closed at once.
    blocked: bool,
    /// Requests whose path contains one of these get this response.
    refused: (Vec<&'static str>, Arc<[u8]>),
    /// Responses to requests whose path contains one of these never arrive.
    held: Vec<&'static str>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    swallowed_bytes: AtomicU64,
}

impl FaultProxy {
    /// A proxy without faults, which follows the node to another port.
    pub async fn to(node: &Address) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = Address::new(listener.local_addr().expect("a bound port"));
        let (faults, watched) = watch::channel(Faults::default());
        let counts = Arc::<Counts>::default();
        let (node, counted) = (node.clone(), Arc::clone(&counts));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::Relaxed);
                let (node, counted) = (node.clone(), Arc::clone(&counted));
                let watched = watched.clone();
                if watched.borrow().blocked {
                    continue;
                }
                tokio::spawn(async move {
                    let mut cut = watched.clone();
                    let generation = cut.borrow_and_update().generation;
                    tokio::select! {
                        () = relay(client, &node, watched, &counted) => {}
                        _ = cut.wait_for(|faults| faults.generation != generation) => {}
                    }
                });
            }
        });
        Self { address, faults, counts, accepting }
    }

    /// Where clients connect.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Breaks every connection that is open now.
    pub fn cut(&self) {
        self.faults.send_modify(|faults| faults.generation += 1);
    }

    /// Delays every chunk in both directions.
    pub fn delay(&self, delay: Duration) {
        self.faults.send_modify(|faults| faults.delay = delay);
    }

    /// Stops reading from the server, or continues.
    pub fn stall(&self, stalled: bool) {
        self.faults.send_modify(|faults| faults.stalled = stalled);
    }

    /// Begins to discard the bytes of the server, or stops it.
    pub fn swallow(&self, swallowing: bool) {
        self.faults.send_modify(|faults| faults.swallowing = swallowing);
    }

    /// Interrupts the network, or restores it. Open connections break; meanwhile new ones are closed at once.
    pub fn block(&self, blocked: bool) {
        self.faults.send_modify(|faults| {
            faults.blocked = blocked;
            faults.generation += 1;
        });
    }

    /// Refuses requests to paths that contain one of these, as a proxy does that does not support them.
    pub fn refuse(&self, paths: &[&'static str]) {
        self.respond(paths, REFUSAL);
    }

    /// Sends this response to requests to paths that contain one of these, and closes the connection.
    pub fn respond(&self, paths: &[&'static str], response: &[u8]) {
        self.faults.send_modify(|faults| faults.refused = (paths.to_vec(), response.into()));
    }

    /// Holds back the responses to requests to paths that contain one of these, as a proxy does that waits for
    /// their end.
    pub fn hold(&self, paths: &[&'static str]) {
        self.faults.send_modify(|faults| faults.held = paths.to_vec());
    }

    /// How many bytes of the server were discarded.
    pub fn swallowed_bytes(&self) -> u64 {
        self.counts.swallowed_bytes.load(Ordering::Relaxed)
    }

    /// Waits until a response of the server was discarded, then breaks the connections and relays the next
    /// ones.
    pub async fn lose_a_response(&self, since: u64) {
        wait::until("a response of the server is discarded", async || {
            (self.swallowed_bytes() > since).then_some(())
        })
        .await;
        self.cut();
        self.swallow(false);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn relay(
    client: TcpStream,
    node: &Address,
    watched: watch::Receiver<Faults>,
    counts: &Counts,
) {
    let Ok(socket) = TcpSocket::new_v4() else {
        return;
    };
    if socket.set_recv_buffer_size(RECEIVE_BYTES).is_err() {
        return;
    }
    let Ok(server) = socket.connect(node.get()).await else {
        return;
    };
    let nodelay = client.set_nodelay(true).and(server.set_nodelay(true));
    if nodelay.is_err() {
        return;
    }
    let (from_client, mut to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let holds = AtomicBool::new(false);
    let refused = tokio::select! {
        refused = pass_up(from_client, to_server, watched.clone(), &holds) => refused,
        () = pass_down(from_server, &mut to_client, watched, counts, &holds) => None,
    };
    if let Some(response) = refused {
        // The client may have closed the connection by now.
        let _ = to_client.write_all(&response).await;
    }
}

/// Relays requests. Returns the response to a request that is refused, with which it ends.
async fn pass_up(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    watched: watch::Receiver<Faults>,
    holds: &AtomicBool,
) -> Option<Arc<[u8]>> {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(size @ 1..) = from.read(&mut chunk).await {
        let delay = {
            let faults = watched.borrow();
            let (refused, response) = &faults.refused;
            if asks_for(&chunk[..size], refused) {
                return Some(Arc::clone(response));
            }
            if asks_for(&chunk[..size], &faults.held) {
                holds.store(true, Ordering::Relaxed);
            }
            faults.delay
        };
        tokio::time::sleep(delay).await;
        if to.write_all(&chunk[..size]).await.is_err() {
            return None;
        }
    }
    None
}

/// Whether a chunk begins with a request to one of these paths. Clients write the head of a request in one
/// piece.
fn asks_for(chunk: &[u8], paths: &[&str]) -> bool {
    let line = chunk.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    line.ends_with("HTTP/1.1") && paths.iter().any(|path| line.contains(path))
}

async fn pass_down(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut watched: watch::Receiver<Faults>,
    counts: &Counts,
    holds: &AtomicBool,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        if watched.wait_for(|faults| !faults.stalled).await.is_err() {
            return;
        }
        let Ok(size @ 1..) = from.read(&mut chunk).await else {
            return;
        };
        let (delay, swallowing) = {
            let faults = watched.borrow();
            (faults.delay, faults.swallowing || holds.load(Ordering::Relaxed))
        };
        if swallowing {
            counts.swallowed_bytes.fetch_add(size as u64, Ordering::Relaxed);
            continue;
        }
        tokio::time::sleep(delay).await;
        if to.write_all(&chunk[..size]).await.is_err() {
            return;
        }
    }
}
