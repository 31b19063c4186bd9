//! Fan-out of one stored message to 1,000 WebSocket sessions, in comparison with a bare tokio-tungstenite
//! broadcaster and a lower bound; and the same group over long polling.

use pabal_lab::group::{Counted, Round};

use super::Setting;
use super::scene::{CONTENT, LISTENERS, Scene, Transport};
use crate::Outcome;
use crate::report::{Claim, Report, Target, figure, median};

/// The turns of one server with one window.
struct Turns(Vec<Round>);

impl Turns {
    fn cpu_us(&self) -> f64 {
        median(self.0.iter().map(Round::cpu_us))
    }

    fn rate(&self) -> f64 {
        median(self.0.iter().map(Round::rate))
    }

    fn note(&self, name: &str, window: u64, report: &mut Report) {
        let of = |take: fn(&Round) -> f64| median(self.0.iter().map(take));
        let latency = |share| median(self.0.iter().map(|round| round.latency_ms(share)));
        report.note(format!(
            "W{window} {name}: {} deliveries/s, {} µs a delivery, latency p50 {} p99 {} ms, \
             {} messages a frame, server {:.0} % of its core, generator {:.0} % of its own",
            figure(self.rate()),
            figure(self.cpu_us()),
            figure(latency(0.5)),
            figure(latency(0.99)),
            figure(of(|round| round.counted.deliveries as f64 / round.counted.units as f64)),
            of(Round::server_share) * 100.0,
            of(Round::generator_share) * 100.0,
        ));
    }
}

/// Measures the scenes in turns.
fn take_turns(setting: &Setting, scenes: &mut [&mut Scene], window: u64) -> Outcome<Vec<Turns>> {
    let mut turns: Vec<_> = scenes.iter().map(|_| Turns(Vec::new())).collect();
    for turn in 0..setting.turns() {
        for (scene, turns) in scenes.iter_mut().zip(&mut turns) {
            eprint!("\r  W{window}, turn {} of {} \r", turn + 1, setting.turns());
            let pid = scene.server.pid();
            turns.0.push(scene.group.run(pid, window, setting.span())?);
        }
    }
    Ok(turns)
}

/// One server without peers.
fn alone(setting: &Setting, transport: Transport, report: &mut Report) -> Outcome<()> {
    let mut scene = Scene::pabal(setting, transport)?;
    for &window in &setting.windows {
        eprintln!("  Pabal is process {}", scene.server.pid());
        let turns = take_turns(setting, &mut [&mut scene], window)?;
        turns[0].note("Pabal", window, report);
    }
    Ok(())
}

/// The WebSocket claims.
///
/// # Errors
/// If a server fails or a message is lost.
pub fn websocket(setting: &Setting, report: &mut Report) -> Outcome<()> {
    if setting.alone {
        return alone(setting, Transport::WebSocket, report);
    }
    let mut pabal = Scene::pabal(setting, Transport::WebSocket)?;
    // A short run yields the length of a frame with one message.
    pabal.group.run(pabal.server.pid(), 1, std::time::Duration::from_millis(200))?;
    let bytes = pabal.group.sample().len();
    let mut tungstenite = Scene::bare(setting, "bare_tungstenite", bytes)?;
    let mut frames = Scene::bare(setting, "bare_frames", bytes)?;
    let sync = pabal.bare_sync()?;
    report.note(format!(
        "fan-out to {LISTENERS} WebSockets, {CONTENT} bytes of content, frames of {bytes} bytes; \
         the disk syncs {}/s one at a time",
        figure(sync.per_second)
    ));
    for &window in &setting.windows {
        let scenes = &mut [&mut pabal, &mut tungstenite, &mut frames];
        let turns = take_turns(setting, scenes, window)?;
        for (turns, name) in turns.iter().zip(["Pabal", "tungstenite", "bare frames"]) {
            turns.note(name, window, report);
        }
        let [ours, bare, limit] = &turns[..] else {
            return Err("three servers".into());
        };
        let claim = |what: &str, ours, theirs, unit: &str, target| {
            let (cell, unit) = ("fanout".into(), unit.into());
            let what = format!("W{window} {what}");
            Claim { cell, what, ours, theirs: Some(theirs), unit, target }
        };
        let (cpu, rate) = match window {
            1 => (Target::AtMost(1.1), Target::None),
            _ => (Target::None, Target::AtLeast(0.6)),
        };
        let what = "CPU a delivery, to bare tungstenite";
        report.claim(claim(what, ours.cpu_us(), bare.cpu_us(), "µs", cpu));
        let what = "deliveries a second, to bare tungstenite";
        report.claim(claim(what, ours.rate(), bare.rate(), "/s", rate));
        let what = "CPU a delivery, to bare frames";
        report.claim(claim(what, ours.cpu_us(), limit.cpu_us(), "µs", Target::None));
    }
    Ok(())
}

/// The long-polling claims.
///
/// # Errors
/// If a server fails or a message is lost.
pub fn long_poll(setting: &Setting, report: &mut Report) -> Outcome<()> {
    if setting.alone {
        return alone(setting, Transport::LongPolling, report);
    }
    let mut websocket = Scene::pabal(setting, Transport::WebSocket)?;
    let mut polling = Scene::pabal(setting, Transport::LongPolling)?;
    report.note(format!("{LISTENERS} sessions over long polling, and as many over WebSocket"));
    for &window in &setting.windows {
        let turns = take_turns(setting, &mut [&mut websocket, &mut polling], window)?;
        let [frames, polls] = &turns[..] else {
            return Err("two servers".into());
        };
        frames.note("WebSocket", window, report);
        polls.note("long polling", window, report);
        report.claim(Claim {
            cell: "long-poll".into(),
            what: format!("W{window} CPU a delivery, to WebSocket"),
            ours: polls.cpu_us(),
            theirs: Some(frames.cpu_us()),
            unit: "µs".into(),
            target: Target::AtMost(2.0),
        });
        let last = &polls.0[polls.0.len() - 1].counted;
        let bytes = Breakdown::of(last, polling.group.sample().len());
        report.claim(Claim {
            cell: "long-poll".into(),
            what: format!("W{window} bytes a delivery, both ways"),
            ours: bytes.all(),
            theirs: None,
            unit: "bytes".into(),
            target: Target::AtMost(260.0),
        });
        report.note(format!("W{window} {bytes}"));
    }
    Ok(())
}

/// The parts of the bytes of a delivery.
struct Breakdown {
    request: f64,
    response_head: f64,
    batch: f64,
    event: f64,
    content: f64,
}

impl Breakdown {
    fn of(counted: &Counted, one_event: usize) -> Self {
        /// `{"events":[],"next":""}` and about five digits.
        const BATCH: f64 = 28.0;
        let a_delivery = |bytes: u64| bytes as f64 / counted.deliveries as f64;
        let batch = BATCH * counted.units as f64 / counted.deliveries as f64;
        let content = CONTENT as f64;
        debug_assert!(one_event > CONTENT, "an event holds its content");
        Self {
            request: a_delivery(counted.request_bytes),
            response_head: a_delivery(counted.head_bytes),
            batch,
            event: a_delivery(counted.body_bytes) - batch - content,
            content,
        }
    }

    fn all(&self) -> f64 {
        self.request + self.response_head + self.batch + self.event + self.content
    }
}

impl std::fmt::Display for Breakdown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "bytes a delivery: request {:.0}, status line and headers {:.0}, batch {:.0}, the event \
             around the content {:.0}, content {:.0}",
            self.request, self.response_head, self.batch, self.event, self.content
        )
    }
}
