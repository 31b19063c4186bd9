//! Clients that vanish, as when a cable is pulled: no FIN, no RST, no acknowledgement. Their connections end
//! nevertheless, and their sessions are kept for the resume window.
//!
//! The cable is a pair of virtual interfaces, one of them in a network namespace of its own. That needs root and
//! iproute2.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::Command;

use http::Method;
use pabal_tests::account::{Account, Session};
use pabal_tests::node::Node;
use pabal_tests::wait;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How much more memory the node may hold afterwards: what an allocator keeps.
const KEPT_MEBIBYTES: f64 = 16.0;
/// How many messages are sent to the clients that have vanished.
const MESSAGES: usize = 5;

/// A cable between this machine and a namespace that acts as another machine.
struct Cable {
    namespace: String,
    /// The end at the other machine.
    far: String,
    near: String,
    /// This machine's address on it.
    address: Ipv4Addr,
}

impl Cable {
    /// A connected cable, or the reason why there can be none.
    fn lay() -> Result<Self, String> {
        let id = std::process::id();
        let [high, low] = [(id >> 6) as u8, (id << 2) as u8];
        let cable = Self {
            namespace: format!("pabal{id}"),
            far: format!("pabal{id}f"),
            near: format!("pabal{id}n"),
            address: Ipv4Addr::new(10, 213, high, low | 1),
        };
        let (near, far, namespace) = (&*cable.near, &*cable.far, &*cable.namespace);
        let far_address = Ipv4Addr::new(10, 213, high, low | 2);
        ip(&["netns", "add", namespace])?;
        ip(&["link", "add", near, "type", "veth", "peer", "name", far, "netns", namespace])?;
        ip(&["address", "add", &format!("{}/30", cable.address), "dev", near])?;
        ip(&["link", "set", near, "up"])?;
        ip(&["-n", namespace, "address", "add", &format!("{far_address}/30"), "dev", far])?;
        ip(&["-n", namespace, "link", "set", far, "up"])?;
        Ok(cable)
    }

    /// Connects from the other machine.
    fn connect(&self, to: SocketAddr) -> TcpStream {
        let namespace = File::open(format!("/run/netns/{}", self.namespace)).expect("a namespace");
        // A socket stays in the namespace in which it was created. The thread does not leave it again.
        let connecting = std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let stream = std::net::TcpStream::connect(to)?;
            stream.set_nonblocking(true)?;
            std::io::Result::Ok(stream)
        });
        let stream = connecting.join().expect("no panic").expect("a connection");
        TcpStream::from_std(stream).expect("a socket for the runtime")
    }

    fn pull(&self) {
        ip(&["-n", &self.namespace, "link", "set", &self.far, "down"]).expect("it can be pulled");
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // Either may not have been created; the far end is removed with its namespace.
        let _ = ip(&["link", "delete", &self.near]);
        let _ = ip(&["netns", "delete", &self.namespace]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let done = output.status.success().then_some(());
    done.ok_or_else(|| format!("ip {}: {}", arguments.join(" "), said.trim()))
}

/// Sends a request from the other machine, and reads until `begun`.
async fn begin(stream: &mut TcpStream, account: &Account, path: &str, more: &str, begun: &str) {
    let token = &account.token;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: pabal\r\nauthorization: Bearer {token}\r\n{more}\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("a request is taken");
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(begun) {
        let count = wait::soon(begun, stream.read_buf(&mut read)).await.expect("a response");
        assert!(count > 0, "closed after {}", String::from_utf8_lossy(&read));
    }
}

#[tokio::test]
async fn a_vanished_client_leaves_its_session_and_nothing_else() {
    let cable = match Cable::lay() {
        Ok(cable) => cable,
        Err(why) => {
            return pabal_servers::leave_out(format!("no cable can be laid to pull: {why}"));
        }
    };
    let settings = [
        ("PABAL_LIMITS_PING_INTERVAL_MS", "500"),
        ("PABAL_SERVER_WRITE_TIMEOUT_MS", "1500"),
        // Nothing may rest on these.
        ("PABAL_SERVER_IDLE_CONNECTION_TIMEOUT_MS", "600000"),
        ("PABAL_LIMITS_RESUME_WINDOW_MS", "600000"),
    ];
    let node = Node::start_watched(cable.address.into(), &settings).await;
    let at = node.address().get();
    let ann = Account::sign_up(node.address(), "ann").await;
    let bob = Account::sign_up(node.address(), "bob").await;
    let cho = Account::sign_up(node.address(), "cho").await;
    let channel_id = ann.direct(&bob).await;
    let before = node.metrics().await;

    let sessions = [bob.open(None).await, bob.open(None).await, bob.open(None).await];
    let quiet = cho.open(None).await;
    let mut held: Vec<TcpStream> = (0..4).map(|_| cable.connect(at)).collect();
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let path = |session: &Session, mount: &str| session.path(&format!("/{mount}"));
    let websocket = path(&sessions[0], "websocket?after=0");
    begin(&mut held[0], &bob, &websocket, upgrade, "\r\n\r\n").await;
    begin(&mut held[1], &bob, &path(&sessions[1], "events?after=0"), "", "\r\n\r\n").await;
    begin(&mut held[2], &bob, &path(&sessions[2], "long-poll?after=0&wait_ms=60000"), "", "").await;
    // One without events: the server detects the loss when it writes at the poll's deadline.
    begin(&mut held[3], &cho, &path(&quiet, "long-poll?after=0&wait_ms=2000"), "", "").await;
    let attached = async |polls: f64, streams: f64| {
        let metrics = node.metrics().await;
        let as_said = metrics.attached("long_polling") == polls
            && metrics.attached("websocket") == streams
            && metrics.attached("sse") == streams;
        as_said.then_some(())
    };
    wait::until("all are there", || attached(2.0, 1.0)).await;

    cable.pull();
    for number in 0..MESSAGES {
        ann.say(channel_id, &format!("{number} {}", "x".repeat(8_000)), None).await;
    }
    wait::until("no connection reads a session", || attached(0.0, 0.0)).await;
    // Their connections end, too.
    let (bob, _) = (bob.via(node.address()), drop((ann, bob, cho)));
    let after = wait::until("all connections end", async || {
        let metrics = node.metrics().await;
        (metrics.get("pabal_connections") == 0.0).then_some(metrics)
    })
    .await;
    assert_eq!(after.get("pabal_sessions"), 4.0, "the sessions wait");
    let (before, after) = (before.mebibytes(), after.mebibytes());
    assert!(after < before + KEPT_MEBIBYTES, "{before} MiB before, {after} MiB after");

    for session in &sessions {
        let batch = bob.must(Method::GET, &session.path("/poll?after=0"), None, 200).await;
        let messages = batch["events"].as_array().expect("a batch").iter();
        let messages: Vec<_> = messages
            .filter_map(|event| event["message"]["content"].as_str()?.split(' ').next())
            .collect();
        assert_eq!(messages, ["0", "1", "2", "3", "4"], "nothing is lost");
    }
    drop(held);
}
