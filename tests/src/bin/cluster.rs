//! `make cluster`: Redis, PostgreSQL, Cassandra and three nodes behind a load balancer, on loopback
//! ports, until Ctrl-C or SIGTERM. Their data is removed at the end.

use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;

use futures::future::{join_all, try_join3};
use pabal_servers::{Cassandra, Missing, Postgres, Redis, spare_ports};
use pabal_tests::balancer::Balancer;
use pabal_tests::cluster::migrate;
use pabal_tests::node::{Node, Port};
use tokio::signal::unix::{SignalKind, signal};

/// The port of the balancer, if it is free.
const BALANCER: u16 = 8080;
/// The ports of the nodes, if they are free.
const PORTS: [u16; 3] = [8081, 8082, 8083];

/// Everything that runs. Nodes end before the servers that they use.
struct Running {
    balancer: Balancer,
    nodes: Vec<Node>,
    _servers: (Redis, Postgres, Cassandra),
}

impl Running {
    async fn start() -> Result<Self, Missing> {
        println!("Redis, PostgreSQL and Cassandra are starting, which takes about half a minute");
        let servers = try_join3(Redis::start(), Postgres::start(), Cassandra::start()).await?;
        let (redis, postgres, cassandra) = &servers;
        let (queue, history) = (redis.url(), cassandra.keyspace());
        let directory = postgres.database().await;
        println!("creating the tables: pabal migrate");
        migrate(&directory, &history).await;
        println!("three nodes are starting");
        let ports = if PORTS.into_iter().all(is_free) { PORTS.to_vec() } else { spare_ports(3) };
        let nodes: Vec<_> = ports
            .into_iter()
            .enumerate()
            .map(|(number, port)| {
                let name = format!("n{}", number + 1);
                Node::to_come(
                    port,
                    &[
                        ("PABAL_NODE_NAME", &name),
                        ("PABAL_SERVER_TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#),
                        ("PABAL_STORAGE_QUEUE", &queue),
                        ("PABAL_STORAGE_HISTORY", &history),
                        ("PABAL_STORAGE_DIRECTORY", &directory),
                    ],
                )
                .apart()
            })
            .collect();
        join_all(nodes.iter().map(|node| node.restart(Port::Same))).await;
        let addresses: Vec<_> = nodes.iter().map(|node| node.address().clone()).collect();
        let balancer = match Balancer::on(BALANCER, addresses.clone()).await {
            Ok(balancer) => balancer,
            // The port is in use.
            Err(_) => Balancer::before(addresses).await,
        };
        Ok(Self { balancer, nodes, _servers: servers })
    }

    fn welcome(&self) {
        let urls: Vec<_> =
            self.nodes.iter().map(|node| format!("http://{}", node.address().get())).collect();
        println!("ready: {}", urls.join(" "));
        println!("chat on two nodes:");
        for (url, user) in urls.iter().zip(["mina", "joon"]) {
            println!("  pabal chat --url {url} --user {user} --sign-up");
        }
        println!("or through the load balancer, which relays connections to any running node:");
        println!("  pabal chat --url http://{} --user mina", self.balancer.address().get());
        println!("to see what happens when a node dies:");
        for (node, url) in self.nodes.iter().zip(&urls) {
            println!("  kill -9 {}   # the node at {url}", node.id());
        }
        println!("Ctrl-C stops everything");
    }

    /// Drains the nodes. The servers end when `self` is dropped.
    async fn stop(self) {
        println!("stopping");
        let living = self.nodes.iter().filter(|node| node.runs());
        join_all(living.map(async |node| {
            node.ask_to_stop();
            let status = node.ended().await;
            if !status.success() {
                println!("the node at {} ended with {status}", node.address().get());
            }
        }))
        .await;
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[tokio::main]
async fn main() -> ExitCode {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        eprintln!("signal handlers cannot be installed");
        return ExitCode::FAILURE;
    };
    let mut asked = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let running = tokio::select! {
        running = Running::start() => running,
        // Dropping the future ends what has started.
        () = asked() => return ExitCode::SUCCESS,
    };
    match running {
        Ok(running) => {
            running.welcome();
            asked().await;
            running.stop().await;
            ExitCode::SUCCESS
        }
        Err(missing) => {
            eprintln!("{missing}");
            ExitCode::FAILURE
        }
    }
}
