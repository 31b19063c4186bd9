//! The read path of each transport over loopback: a poll of held events, and the delivery of one message
//! from the engine to the client's socket.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pabal_benches::node::{GROUP, Node, memory};
use pabal_lab::api::{Account, Client};
use pabal_lab::wire::next_of;
use tokio::runtime::Runtime;

/// A session and the URLs of its transports.
struct Reader {
    client: Client,
    path: String,
    token: String,
}

impl Reader {
    fn request(&self, transport: &str, after: u64) -> String {
        let Self { path, token, .. } = self;
        format!(
            "GET {path}/{transport}?after={after} HTTP/1.1\r\nhost: n1\r\n\
             authorization: Bearer {token}\r\n\r\n"
        )
    }

    fn poll(&mut self, transport: &str, after: u64) -> u64 {
        let request = self.request(transport, after);
        let body = self.client.exchange(request.as_bytes()).expect("a response");
        next_of(&body).expect("a batch")
    }
}

/// A node with one user on a loopback port.
struct Scene {
    runtime: Runtime,
    node: Node,
    address: std::net::SocketAddr,
}

impl Scene {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let node = runtime.block_on(Node::start(memory(), 1)).expect("a node");
        let address = runtime.block_on(node.serve()).expect("a port");
        Self { runtime, node, address }
    }

    fn open(&self) -> Reader {
        let mut client = Client::connect(self.address).expect("a connection");
        let user = Account { user_id: "1".into(), token: Node::token(0) };
        let path = client.session(&user).expect("a session");
        let path = path.trim_end_matches("/long-poll").to_owned();
        Reader { client, path, token: user.token }
    }

    fn send(&self) {
        let sent = self.runtime.block_on(self.node.send(0, GROUP, &"x".repeat(128)));
        sent.expect("sent");
    }

    fn hold(&self, count: u64) -> Reader {
        let mut reader = self.open();
        for _ in 0..count {
            self.send();
        }
        while reader.poll("poll", 0) < count {}
        reader
    }
}

/// Polls with an immediate response, which holds the same events each time because none is confirmed.
fn polls(c: &mut Criterion) {
    let scene = Scene::new();
    let mut group = c.benchmark_group("transports/poll");
    for count in [1u64, 32] {
        let mut reader = scene.hold(count);
        group.throughput(Throughput::Elements(count));
        for transport in ["poll", "long-poll"] {
            group.bench_function(BenchmarkId::new(transport, count), |b| {
                b.iter(|| reader.poll(transport, 0));
            });
        }
    }
    let mut reader = scene.open();
    group.throughput(Throughput::Elements(1));
    group.bench_function("poll/empty", |b| b.iter(|| reader.poll("poll", 0)));
    group.finish();
}

/// From the send of a message in this process until the client has read it.
fn messages(c: &mut Criterion) {
    let scene = Scene::new();
    let mut group = c.benchmark_group("transports/message");
    let mut reader = scene.open();
    let mut after = 0;
    group.bench_function("poll", |b| {
        b.iter(|| {
            scene.send();
            let wanted = after + 1;
            while after < wanted {
                after = reader.poll("poll", after);
            }
        });
    });
    let mut reader = scene.open();
    let mut after = 0;
    group.bench_function("long-poll", |b| {
        b.iter(|| {
            let request = reader.request("long-poll", after);
            reader.client.write(request.as_bytes()).expect("sent");
            scene.send();
            let body = reader.client.body().expect("a response");
            after = next_of(&body).expect("a batch");
        });
    });
    for transport in ["websocket", "events"] {
        let mut reader = scene.open();
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let request = match transport {
            "websocket" => reader.request(transport, 0).replacen("\r\n\r\n", "\r\n", 1) + upgrade,
            _ => reader.request(transport, 0),
        };
        reader.client.write(request.as_bytes()).expect("sent");
        let opened: &[u8] = if transport == "websocket" { b"101" } else { b"200" };
        reader.client.until(opened).expect("a response");
        reader.client.until(b"\r\n\r\n").expect("headers");
        group.bench_function(transport, |b| {
            b.iter(|| {
                scene.send();
                reader.client.until(b"\"next\":").expect("a batch");
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = pabal_benches::criterion_of!(Criterion);
    targets = polls, messages
}
criterion_main!(benches);
