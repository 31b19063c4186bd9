//! A load balancer as dumb as they come: each connection to the next node in turn, whatever it is
//! for. It neither looks into requests nor remembers clients.

use std::net::Ipv4Addr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::address::Address;

/// A proxy in front of several nodes. Ends with its connections when dropped.
#[derive(Debug)]
pub struct Balancer {
    address: Address,
    accepting: JoinHandle<()>,
}

impl Balancer {
    /// A balancer in front of these.
    pub async fn before(nodes: Vec<Address>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = Address::new(listener.local_addr().expect("a bound port"));
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for node in nodes.iter().cycle() {
                // Those that have ended are not kept.
                while connections.try_join_next().is_some() {}
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                connections.spawn(relay(client, node.clone()));
            }
        });
        Self { address, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(mut client: TcpStream, node: Address) {
    let Ok(mut server) = TcpStream::connect(node.get()).await else {
        return;
    };
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    // Either end may break the connection whenever it likes.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
