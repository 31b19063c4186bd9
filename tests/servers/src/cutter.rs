//! A TCP proxy that cuts a connection after an exact number of bytes, as a network failure in the middle of a call
//! does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

const CHUNK_BYTES: usize = 16 * 1024;

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From clients to the server.
    ToServer,
    /// From the server to clients.
    ToClients,
}

/// A proxy in front of a server. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Cutter {
    port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    server: SocketAddr,
    /// For each direction how many bytes still pass before the connection that carries them is cut.
    left: [AtomicI64; 2],
    passed: [AtomicU64; 2],
    cut: AtomicBool,
}

/// No cut: more bytes than a test ever sends.
const ALL: i64 = i64::MAX;

impl Cutter {
    /// A proxy that relays connections to a port of the loopback interface.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let state = Arc::new(State {
            server: (Ipv4Addr::LOCALHOST, port).into(),
            left: [AtomicI64::new(ALL), AtomicI64::new(ALL)],
            passed: Default::default(),
            cut: AtomicBool::new(false),
        });
        let port = listener.local_addr().expect("a bound port").port();
        let serving = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, Arc::clone(&serving)));
            }
        });
        Self { port, state, accepting }
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the connection after the next `bytes` in this direction, whichever connection carries them. After
    /// that no more connections are cut.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.state.cut.store(false, Ordering::SeqCst);
        let bytes = i64::try_from(bytes).unwrap_or(ALL);
        self.state.left[direction as usize].store(bytes, Ordering::SeqCst);
    }

    /// Cancels a cut that has not happened. Returns whether it had happened.
    pub fn had_cut(&self) -> bool {
        for left in &self.state.left {
            left.store(ALL, Ordering::SeqCst);
        }
        self.state.cut.swap(false, Ordering::SeqCst)
    }

    /// How many bytes have passed in this direction.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.state.passed[direction as usize].load(Ordering::SeqCst)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(client: TcpStream, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(state.server).await else {
        return;
    };
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // The end of one direction ends the other.
    tokio::select! {
        () = pass(from_client, to_server, &state, Direction::ToServer) => {}
        () = pass(from_server, to_client, &state, Direction::ToClients) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &State,
    direction: Direction,
) {
    let (left, passed) = (&state.left[direction as usize], &state.passed[direction as usize]);
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(size @ 1..) = from.read(&mut chunk).await {
        let before = left.load(Ordering::SeqCst);
        let allowed = usize::try_from(before).unwrap_or(0).min(size);
        let is_cut = before != ALL && allowed < size;
        if before != ALL && !is_cut {
            left.fetch_sub(size as i64, Ordering::SeqCst);
        }
        let written = to.write_all(&chunk[..allowed]).await;
        passed.fetch_add(allowed as u64, Ordering::SeqCst);
        if is_cut {
            left.store(ALL, Ordering::SeqCst);
            state.cut.store(true, Ordering::SeqCst);
            // Bytes that were relayed before the cut arrive.
            let _ = to.shutdown().await;
            return;
        }
        if written.is_err() {
            return;
        }
    }
}
