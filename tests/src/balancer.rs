//! A simple load balancer: it relays each connection to the next node in turn that accepts it. It neither
//! parses requests nor remembers clients.

use std::net::Ipv4Addr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::address::Address;

/// A proxy in front of several nodes. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Balancer {
    address: Address,
    accepting: JoinHandle<()>,
}

impl Balancer {
    /// A balancer in front of `nodes`, on a free port.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn before(nodes: Vec<Address>) -> Self {
        Self::on(0, nodes).await.expect("a free port")
    }

    /// A balancer in front of `nodes`, on this port of the loopback interface.
    ///
    /// # Errors
    /// If the port is in use.
    pub async fn on(port: u16, nodes: Vec<Address>) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = Address::new(listener.local_addr().expect("a bound port"));
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for turn in 0usize.. {
                // Connections that have ended are removed.
                while connections.try_join_next().is_some() {}
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                let mut nodes = nodes.clone();
                let first = turn % nodes.len();
                nodes.rotate_left(first);
                connections.spawn(relay(client, nodes));
            }
        });
        Ok(Self { address, accepting })
    }

    /// The address at which it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Relays to the first of `nodes` that accepts a connection.
async fn relay(mut client: TcpStream, nodes: Vec<Address>) {
    let mut server = None;
    for node in nodes {
        server = TcpStream::connect(node.get()).await.ok();
        if server.is_some() {
            break;
        }
    }
    let Some(mut server) = server else {
        return;
    };
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    // Either side may close the connection at any time.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
