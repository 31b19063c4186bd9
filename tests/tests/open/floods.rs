//! Clients that flood a node with HTTP/2 frames: streams that they reset at once
//! (CVE-2023-44487), endless headers (CVE-2024-27316), settings and pings (CVE-2019-9512, -9515).

use std::cell::Cell;
use std::future::Future;
use std::net::Ipv4Addr;

use http::Method;
use pabal_tests::account::Account;
use pabal_tests::http2::{
    END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, Frames, Http2, block, frame, get, kind,
};
use pabal_tests::metrics::Metrics;
use pabal_tests::node::Node;
use pabal_tests::wait;

/// How much more memory a node may hold after a flood than before: what an allocator keeps.
const KEPT_MEBIBYTES: f64 = 24.0;

const CONNECTIONS: &str = "pabal_connections";

/// A node, a client of it, and its memory before the flood.
struct Stage {
    node: Node,
    ann: Account,
    before: Metrics,
}

impl Stage {
    async fn start() -> Self {
        let settings = [("PABAL_SERVER_WRITE_TIMEOUT_MS", "1000")];
        let node = Node::start_watched(Ipv4Addr::LOCALHOST.into(), &settings).await;
        let ann = Account::sign_up(node.address(), "ann").await;
        ann.must(Method::GET, "/v1/me", None, 200).await;
        // Without the connection of the sign-up.
        let before = wait::until("one connection", async || {
            let metrics = node.metrics().await;
            (metrics.get(CONNECTIONS) == 1.0).then_some(metrics)
        })
        .await;
        Self { node, ann, before }
    }

    /// Runs a flood during which other clients are served, and checks what it leaves.
    async fn bear(&self, flood: impl Future<Output = ()>) {
        let over = Cell::new(false);
        let flood = async {
            wait::soon("the flood ends", flood).await;
            over.set(true);
        };
        // On connections of their own, which end with them.
        let other = self.ann.via(self.node.address());
        let others = async {
            while !over.get() {
                other.must(Method::GET, "/v1/me", None, 200).await;
            }
        };
        tokio::join!(flood, others);
        drop(other);
        wait::until("the connections end", async || {
            let left = self.node.metrics().await.get(CONNECTIONS);
            (left <= self.before.get(CONNECTIONS)).then_some(())
        })
        .await;
        let (before, after) = (self.before.mebibytes(), self.node.metrics().await.mebibytes());
        assert!(after < before + KEPT_MEBIBYTES, "{before} MiB before, {after} MiB after");
    }

    fn request(&self) -> Vec<u8> {
        get("/v1/me", &self.ann.token)
    }

    async fn open(&self) -> (Http2, Frames) {
        Http2::open(self.node.address().get(), &[], None).await.expect("a connection")
    }
}

/// Reads until the connection ends, and returns the last GOAWAY.
async fn ended(frames: &mut Frames) -> Option<Frame> {
    let mut goaway = None;
    // The connection is reset if more was sent than was read.
    while let Ok(Some(frame)) = frames.next().await {
        if frame.kind == kind::GOAWAY {
            goaway = Some(frame);
        }
    }
    goaway
}

/// Writes `more` repeatedly until the connection accepts none.
async fn pour(http2: &mut Http2, mut more: impl FnMut() -> Vec<u8>) {
    while http2.write(&more()).await.is_ok() {}
}

/// Writes until the server ends the connection, which it must do with this error.
async fn pour_until_told(stage: &Stage, error: u32, more: impl FnMut() -> Vec<u8>) {
    let (mut http2, mut frames) = stage.open().await;
    let (goaway, ()) = tokio::join!(ended(&mut frames), pour(&mut http2, more));
    let goaway = goaway.expect("the server says why");
    assert_eq!(goaway.error(), error, "{}", String::from_utf8_lossy(&goaway.payload[8..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_end_their_connection() {
    let stage = Stage::start().await;
    let request = stage.request();
    let flood = async {
        for _ in 0..20 {
            let mut stream = 1;
            pour_until_told(&stage, ENHANCE_YOUR_CALM, || {
                let mut frames = Vec::new();
                for _ in 0..100 {
                    frames.extend(frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &request));
                    frames.extend(frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
                    stream += 2;
                }
                frames
            })
            .await;
        }
    };
    stage.bear(flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_end_their_connection() {
    let stage = Stage::start().await;
    let field = block(&[("x-more", &"x".repeat(10_000))]);
    let flood = async {
        for _ in 0..20 {
            let mut begun = false;
            pour_until_told(&stage, ENHANCE_YOUR_CALM, || {
                if begun {
                    return frame(kind::CONTINUATION, 0, 1, &field);
                }
                begun = true;
                frame(kind::HEADERS, 0, 1, &stage.request())
            })
            .await;
        }
    };
    stage.bear(flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_without_reading_responses_is_closed() {
    let stage = Stage::start().await;
    let settings = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(100);
    let pings = frame(kind::PING, 0, 0, &[7; 8]).repeat(100);
    let flood = async {
        for more in [&settings, &pings] {
            let opened = Http2::open(stage.node.address().get(), &[], Some(4_096)).await;
            let (mut http2, _unread) = opened.expect("a connection");
            pour(&mut http2, || more.clone()).await;
        }
    };
    stage.bear(flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_without_content_end_their_connection() {
    let stage = Stage::start().await;
    let flood = async {
        for (kind, payload) in [
            (kind::SETTINGS, &[0, 4, 0, 1, 0, 0][..]),
            (kind::PING, &[7; 8]),
            (kind::WINDOW_UPDATE, &[0, 0, 0, 1]),
        ] {
            let more = frame(kind, 0, 0, payload).repeat(100);
            pour_until_told(&stage, ENHANCE_YOUR_CALM, || more.clone()).await;
        }
    };
    stage.bear(flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_requests_explain_are_served_and_leave_no_memory_behind() {
    const ROUNDS: u32 = 2_000;
    let stage = Stage::start().await;
    let ping = frame(kind::PING, 0, 0, &[7; 8]);
    let end = END_HEADERS | END_STREAM;
    let flood = async {
        let (mut http2, mut frames) = stage.open().await;
        // Room for all responses: the client updates no window as it reads.
        let window = (1_u32 << 30).to_be_bytes();
        http2.send(kind::WINDOW_UPDATE, 0, 0, &window).await.expect("the window is taken");
        for round in 0..ROUNDS {
            http2.write(&ping.repeat(4)).await.expect("pings are taken");
            let stream = 2 * round + 1;
            http2.send(kind::HEADERS, end, stream, &stage.request()).await.expect("a request");
            loop {
                let frame = frames.next().await.expect("a frame").expect("no end");
                if frame.stream == stream && frame.flags & END_STREAM != 0 {
                    break;
                }
            }
        }
    };
    stage.bear(flood).await;
}
