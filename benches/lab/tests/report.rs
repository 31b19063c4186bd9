//! The report of records that were made up: what is in it, and that it is well-formed.

use std::fs;

use pabal_cost::{Cell, Model, Terms, Transport};
use pabal_lab::grid::{PACE, Size, Step, steps};
use pabal_lab::peers::{PeerRow, Task};
use pabal_lab::record::{CpuAccounts, Latency, Loopback, Record};
use pabal_lab::report::{Findings, Origin};
use pabal_load::{Counts, Verdict};

/// What things cost where the records come from.
fn world() -> Model {
    Model {
        machine: String::new(),
        cells: 0,
        cpu_error: 0.0,
        cpu_us: Terms {
            node: 900.0,
            message: 140.0,
            delivery: 1.0,
            content_byte: 0.001,
            frame_websocket: 8.0,
            frame_sse: 9.0,
            frame_http2: 6.0,
            exchange: 13.0,
            exchange_http2: 34.0,
            wait: 6.0,
            full: 1.5,
            browser: 2.0,
            browser_http2: 3.0,
            tls_exchange: 6.0,
            tls_frame: 3.0,
            ping_websocket: 14.0,
            ping_sse: 9.0,
            ..Terms::default()
        },
        bytes: Terms {
            delivery: 240.0,
            content_byte: 1.0,
            exchange: 320.0,
            exchange_http2: 180.0,
            wait: 20.0,
            frame_sse: 12.0,
            frame_websocket: 4.0,
            tls_exchange: 58.0,
            tls_frame: 29.0,
            ping_websocket: 8.0,
            ping_sse: 6.0,
            ..Terms::default()
        },
        memory_bytes: Terms {
            held_polling: 9_000.0,
            held_long_polling: 10_000.0,
            held_sse: 13_000.0,
            held_websocket: 11_000.0,
            held_tls: 14_000.0,
            held_http2: 20_000.0,
            ..Terms::default()
        },
    }
}

fn measured(cell: Cell, noise: f64) -> Record {
    let (seconds, world) = (10.0, world());
    let cost = world.predict(&cell, PACE);
    let plan = cell.plan;
    let deliveries = (plan.clients as f64 * plan.per_minute / 60.0 * seconds).round();
    let work = Terms::of(&cell, PACE);
    let polls = work.exchange + work.exchange_http2;
    let bytes = (cost.bytes * seconds) as u64;
    let mean_ms = match plan.transport {
        Transport::ShortPolling { every_ms } => every_ms as f64 / 2.0,
        _ => 1.2 * noise,
    };
    Record {
        cell,
        seconds,
        counts: Counts {
            messages: (deliveries / plan.group as f64) as u64,
            deliveries: deliveries as u64,
            requests: (polls * seconds) as u64,
            answers: (polls * seconds) as u64,
            empty: ((polls - work.full) * seconds) as u64,
            bytes_in: bytes / 2,
            bytes_out: bytes - bytes / 2,
            ..Counts::default()
        },
        latency: (deliveries > 0.0).then_some(Latency {
            p50: mean_ms,
            p90: mean_ms * 1.8,
            p99: mean_ms * 2.0,
            p999: (deliveries >= 1e4).then_some(mean_ms * 2.2),
        }),
        server_cpu_us: cost.cpu_us * seconds * noise,
        generator_cpu_us: 3e6,
        loopback: Loopback { packets: 100_000, bytes: bytes + 5_200_000 },
        accounts: CpuAccounts { by_clock_us: 1.00e6, by_rusage_us: 1.01e6 },
        rss_per_client: world.memory_per_client(&cell) * noise,
        kernel_per_client: 4_300.0,
        verdict: Verdict::default(),
        late_p99_ms: 0.4,
        generator_bound: false,
    }
}

fn origin() -> Origin {
    Origin {
        machine: "2 × a machine <of no name> & more".to_owned(),
        version: "0.1.0".to_owned(),
        command: "pabal lab --out \"there\"".to_owned(),
        day: "2026-11-22".to_owned(),
    }
}

fn whole() -> Vec<Record> {
    let noise = [1.0, 1.12, 0.91, 1.05, 0.96, 1.2, 0.88];
    steps(Size::Whole)
        .into_iter()
        .zip(noise.into_iter().cycle())
        .map(|(step, noise)| measured(step.cell, noise))
        .collect()
}

/// What a task measures; nothing else.
fn peer(system: &str, task: Task, figure: f64) -> PeerRow {
    let (idle, pairs) = (task == Task::Idle, task == Task::Pairs);
    let spoken = |figure: f64| Some(figure).filter(|_| !idle);
    let silent = |figure: f64| Some(figure).filter(|_| idle);
    PeerRow {
        system: system.to_owned(),
        version: "1".to_owned(),
        transport: "websocket".to_owned(),
        task,
        durable: system == "Pabal",
        deliveries_per_second: spoken(1e5),
        cpu_us_per_delivery: spoken(figure),
        bytes_per_delivery: spoken(250.0),
        requests_per_delivery: spoken(1.0),
        p50_ms: spoken(3.0),
        p99_ms: spoken(7.0),
        round_trips_per_second: spoken(5e4).filter(|_| pairs),
        rss_per_client: silent(figure * 1e3),
        kernel_per_client: silent(4_000.0),
        generator_busy: 0.4,
        others_busy: None,
    }
}

const TASKS: [Task; 4] =
    [Task::FanOut { in_flight: 1 }, Task::FanOut { in_flight: 32 }, Task::Pairs, Task::Idle];

fn peers() -> Vec<PeerRow> {
    let of = |system: &'static str, figure| TASKS.map(|task| peer(system, task, figure));
    [of("Pabal", 8.0), of("nchan", 7.9), of("Socket.IO", 13.2)].concat()
}

#[test]
fn the_page_has_every_section_and_is_well_formed() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&folder).expect("a folder");
    let findings = Findings::new(origin(), whole(), Vec::new(), peers());
    assert!(findings.is_clean() && findings.fitted_here);
    let page = findings.write(&folder).expect("written");
    let html = fs::read_to_string(page).expect("there");
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&html, options).expect("well-formed");
    let ids: Vec<_> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    for id in [
        "latency",
        "requests",
        "empty",
        "bytes",
        "cpu",
        "idle",
        "memory",
        "wrapping-cpu",
        "wrapping-bytes",
        "cheapest-cpu",
        "cheapest-bytes",
        "month-cores",
        "month-traffic",
        "model",
        "peers-cpu",
        "peers-rate",
        "peers-latency",
        "peers-pairs",
        "peers-memory",
        "months",
        "breakeven",
        "error",
        "peers",
        "behind",
        "cells",
        "outside",
        "method",
    ] {
        assert!(ids.contains(&id), "no {id}");
    }
    let drawings = document
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "svg")));
    for drawing in drawings {
        let child = |name: &str| drawing.children().find(|node| node.tag_name().name() == name);
        assert!(
            child("title").and_then(|title| title.text()).is_some_and(|text| text.ends_with('?'))
        );
        assert!(child("desc").and_then(|desc| desc.text()).is_some_and(|text| text.len() > 20));
        assert!(drawing.attribute("viewBox").is_some() && drawing.attribute("width").is_none());
        let drawn = drawing.descendants().filter(|node| {
            ["line", "bar", "area", "mark"].iter().any(|kind| {
                node.attribute("class").is_some_and(|class| class.split(' ').next() == Some(kind))
            })
        });
        assert!(drawn.count() > 2, "an empty drawing");
        for path in drawing.descendants().filter_map(|node| node.attribute("d")) {
            assert!(!path.contains("NaN") && !path.contains("inf"), "{path}");
        }
    }
    for outside in ["src=", "url(", "@import", "http://", "https://"] {
        let found = html.matches(outside).count();
        let known = html.matches("http://www.w3.org/").count();
        assert_eq!(found, if outside == "http://" { known } else { 0 }, "{outside}");
    }
    let csv = fs::read_to_string(folder.join("cells.csv")).expect("there");
    let columns: Vec<_> = csv.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns.len(), findings.records.len() + 1);
    assert!(columns.iter().all(|count| *count == columns[0]), "{columns:?}");
    let json = fs::read(folder.join("lab.json")).expect("there");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["records"].as_array().map(Vec::len), Some(findings.records.len()));
    let markdown = findings.markdown();
    let (transports, systems) = markdown.split_once("## Other systems").expect("both");
    let rows = |text: &str| text.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!((rows(transports), rows(systems)), (8, 1 + 2 * 6 + 6 + 2));
}

/// What makes another system's row better or worse.
type Change = fn(&mut PeerRow);

/// Pabal and another system that is as good in all, but for what `change` does to its row at a task.
fn beside(changed: Task, change: Change) -> Findings {
    let mut rows = TASKS.map(|task| peer("Pabal", task, 8.0)).to_vec();
    for task in TASKS {
        let mut row = peer("nchan", task, 8.0);
        if task == changed {
            change(&mut row);
        }
        rows.push(row);
    }
    Findings::new(origin(), whole(), Vec::new(), rows)
}

/// The lines of the page that say where Pabal is not ahead.
fn behind(html: &str) -> Vec<&str> {
    let list = html.split_once("<ul id=\"behind\">").and_then(|(_, rest)| rest.split_once("</ul>"));
    let lines = list.map(|(list, _)| list.lines().filter_map(|line| line.strip_prefix("<li>")));
    lines.into_iter().flatten().filter_map(|line| line.strip_suffix("</li>")).collect()
}

#[test]
fn every_figure_in_which_pabal_is_behind_is_named_and_no_other() {
    let (one, many) = (Task::FanOut { in_flight: 1 }, Task::FanOut { in_flight: 32 });
    let better: [(Task, Change, &str); 10] = [
        (
            many,
            |row| row.deliveries_per_second = Some(2e5),
            "one to 1,000, 32 in flight over WebSocket: deliveries a second, 100 k against nchan 200 k",
        ),
        (
            one,
            |row| row.cpu_us_per_delivery = Some(4.0),
            "one to 1,000, 1 in flight over WebSocket: CPU a delivery, 8 µs against nchan 4 µs",
        ),
        (
            Task::Pairs,
            |row| row.cpu_us_per_delivery = Some(4.0),
            "100 pairs over WebSocket: CPU a delivery, 8 µs against nchan 4 µs",
        ),
        (
            one,
            |row| row.bytes_per_delivery = Some(150.0),
            "one to 1,000, 1 in flight over WebSocket: bytes a delivery, 250 against nchan 150",
        ),
        (
            Task::Pairs,
            |row| row.requests_per_delivery = Some(0.0),
            "100 pairs over WebSocket: requests a delivery, 1 against nchan 0",
        ),
        (
            one,
            |row| row.p50_ms = Some(2.5),
            "one to 1,000, 1 in flight over WebSocket: p50, 3 ms against nchan 2.5 ms",
        ),
        (
            Task::Pairs,
            |row| row.p99_ms = Some(6.0),
            "100 pairs over WebSocket: p99, 7 ms against nchan 6 ms",
        ),
        (
            Task::Pairs,
            |row| row.round_trips_per_second = Some(6e4),
            "100 pairs over WebSocket: round trips a second, 50 k against nchan 60 k",
        ),
        (
            Task::Idle,
            |row| row.rss_per_client = Some(5_000.0),
            "clients at rest over WebSocket: RSS a client, 8 kB against nchan 5 kB",
        ),
        (
            Task::Idle,
            |row| row.kernel_per_client = Some(0.0),
            "clients at rest over WebSocket: kernel memory a client, 4 kB against nchan 0 kB",
        ),
    ];
    for (task, change, line) in better {
        let findings = beside(task, change);
        assert_eq!(behind(&findings.html()), [line]);
        for text in [findings.summary(), findings.markdown()] {
            let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("- ")).collect();
            assert_eq!(lines, [line], "{text}");
            assert!(text.contains("In 19 of 20 figures"), "{text}");
        }
        assert_eq!(findings.markdown().matches("| behind nchan |").count(), 1);
    }
}

#[test]
fn where_pabal_is_ahead_or_level_nothing_is_named() {
    let findings = beside(Task::Pairs, |row| row.cpu_us_per_delivery = Some(9.0));
    assert!(behind(&findings.html()).is_empty());
    let summary = findings.summary();
    assert!(summary.contains("In 20 of 20 figures of the same work"), "{summary}");
    assert!(summary.contains("Not measured: Socket.IO, Centrifuge."), "{summary}");
    let markdown = findings.markdown();
    assert!(markdown.contains("| 100 pairs over WebSocket | CPU a delivery, µs | 8 | 9 | ahead |"));
    assert!(markdown.contains("| 100 pairs over WebSocket | p50, ms | 3 | 3 | level with nchan |"));
}

#[test]
fn a_machine_that_did_other_things_is_named() {
    let said = |busy: f64| {
        let mut rows = peers();
        rows[0].others_busy = Some(busy);
        let findings = Findings::new(origin(), whole(), Vec::new(), rows);
        let texts = [findings.html(), findings.markdown(), findings.summary()];
        texts.map(|text| text.contains("Other programs used up to 48 % of the servers' core"))
    };
    assert_eq!(said(0.48), [true; 3]);
    assert_eq!(said(0.04), [false; 3]);
}

#[test]
fn a_figure_that_pabal_lacks_is_named() {
    let mut rows = peers();
    for row in rows.iter_mut().filter(|row| row.system == "Pabal" && row.task == Task::Idle) {
        row.rss_per_client = Some(0.0);
    }
    rows.retain(|row| row.system != "Pabal" || row.task != Task::Pairs);
    let findings = Findings::new(origin(), whole(), Vec::new(), rows);
    let html = findings.html();
    let named = behind(&html);
    let memory = "clients at rest over WebSocket: RSS a client, unknown against nchan 7.9 kB, \
                  Socket.IO 13.2 kB";
    assert!(named.contains(&memory), "{named:?}");
    let pairs =
        |line: &&&str| line.contains("100 pairs") && line.contains(", unknown against nchan");
    assert_eq!(named.iter().filter(pairs).count(), 6, "{named:?}");
}

#[test]
fn a_cell_that_lost_a_message_is_shown_and_drawn_nowhere() {
    let mut records = whole();
    let socket = records.iter().position(|one| one.cell.plan.transport == Transport::WebSocket);
    let faulty = &mut records[socket.expect("there is one")];
    faulty.verdict.lost = 3;
    let name = faulty.cell.name();
    let missing = vec![("sse/odd".to_owned(), "interrupted".to_owned())];
    let findings = Findings::new(origin(), records, missing, Vec::new());
    assert!(!findings.is_clean());
    let html = findings.html();
    assert!(html.contains(&format!("{name} is invalid: 3 lost, 0 repeated, 0 reordered")));
    assert!(html.contains("sse/odd was not measured: interrupted"));
    assert!(!html.contains("id=\"peers\""), "there were none");
    assert_eq!(findings.check.held.len(), findings.records.len() - 1, "the model does not use it");
    assert!(findings.summary().contains("3 lost"));
}

#[test]
fn few_cells_are_shown_with_the_model_that_there_is() {
    let records = steps(Size::Quick).into_iter().map(|step| measured(step.cell, 1.0)).collect();
    let findings = Findings::new(origin(), records, Vec::new(), Vec::new());
    assert!(!findings.fitted_here);
    assert_eq!(&findings.model, Model::committed());
    assert_eq!(findings.check.held.len(), findings.records.len());
    let html = findings.html();
    assert!(!html.contains("NaN"));
    for id in ["latency", "cpu", "idle", "memory", "wrapping-cpu"] {
        assert!(html.contains(&format!("<figure id=\"{id}\">")), "no {id}");
    }
    assert!(html.contains("for each of 1,280 clients at rest"), "as many as there were");
}

#[test]
fn what_was_not_measured_is_not_drawn() {
    let socket = |step: &Step| step.cell.plan.transport == Transport::WebSocket;
    let records = steps(Size::Quick).into_iter().filter(socket);
    let silent = |record: &Record| record.counts.deliveries == 0;
    let records: Vec<_> = records.map(|step| measured(step.cell, 1.0)).filter(silent).collect();
    assert_eq!(records.len(), 1);
    let findings = Findings::new(origin(), records, Vec::new(), Vec::new());
    let html = findings.html();
    for (id, drawn) in [("latency", false), ("cpu", false), ("wrapping-cpu", false), ("idle", true)]
    {
        assert_eq!(html.contains(&format!("<figure id=\"{id}\">")), drawn, "{id}");
    }
    assert!(findings.summary().contains("WebSocket"), "what it costs at rest is in a row");
}
