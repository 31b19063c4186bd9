//! The plots. Each answers the question in its title; its caption says what from.

use std::time::Duration;

use pabal_load::{Headers, Http, Transport};

use super::Findings;
use super::svg::{Axis, Look, Mark, Region, Row, Series, bars, dots, lines, map};
use super::text::{figure, percent};
use crate::grid::{self, PACE};
use crate::model::{
    CANDIDATES, Candidate, Cost, Habit, Predicted, as_it_was, break_even_seconds, cheapest, month,
};
use crate::peers::Task;
use crate::record::{Cell, Family, Record, transport_name};

/// A plot with its question.
pub(super) struct Figure {
    /// Its place in the page.
    pub id: &'static str,
    /// The question.
    pub title: &'static str,
    /// Where the answer comes from, and how to read it.
    pub caption: String,
    /// The drawing.
    pub svg: String,
}

impl Figure {
    fn new(
        id: &'static str,
        title: &'static str,
        caption: impl Into<String>,
        draw: impl FnOnce(&str, &str) -> String,
    ) -> Self {
        let caption = caption.into();
        let svg = draw(title, &caption);
        Self { id, title, caption, svg }
    }
}

/// The look of a transport, the same in every plot.
pub(super) fn look(transport: Transport) -> Look {
    let dash = match transport {
        Transport::ShortPolling { every_ms } => match every_ms {
            ..1_000 => "1 3",
            1_000..5_000 => "",
            5_000..30_000 => "6 3",
            _ => "10 3 2 3",
        },
        _ => "",
    };
    let (hue, mark) = match Family::of(transport) {
        Family::ShortPolling => ("polling", Mark::Circle),
        Family::LongPolling => ("long", Mark::Square),
        Family::Sse => ("sse", Mark::Triangle),
        Family::WebSocket => ("socket", Mark::Diamond),
    };
    Look { hue, dash, mark }
}

/// The transports of the lines.
pub(super) const ALL: [Transport; 7] = [
    Transport::ShortPolling { every_ms: 200 },
    Transport::ShortPolling { every_ms: 1_000 },
    Transport::ShortPolling { every_ms: 5_000 },
    Transport::ShortPolling { every_ms: 30_000 },
    Transport::LongPolling,
    Transport::Sse,
    Transport::WebSocket,
];

/// Those of the month and of break-even.
const FEW: [Transport; 5] = [ALL[1], ALL[3], ALL[4], ALL[5], ALL[6]];

/// All that can be drawn of what was found.
pub(super) fn figures(findings: &Findings) -> Vec<Figure> {
    let mut figures = vec![
        latency(findings),
        requests(findings),
        empty(findings),
        bytes(findings),
        cpu(findings),
        idle(findings),
        memory(findings),
        wrapping(findings),
        cheapest_map(findings, "cheapest-cpu", "Which transport costs least CPU?", |cost| {
            cost.cpu_us
        }),
        cheapest_map(findings, "cheapest-bytes", "Which transport needs least traffic?", |cost| {
            cost.bytes
        }),
        month_cores(findings),
        month_traffic(findings),
        model_error(findings),
    ];
    figures.extend(peers(findings));
    figures
}

/// The valid cells that differ from the centre in nothing but transport and rate, of one transport.
fn line_of(findings: &Findings, transport: Transport) -> Vec<&Record> {
    let on_line = |record: &&Record| {
        let mut cell = grid::centre(transport);
        cell.plan.per_minute = record.cell.plan.per_minute;
        record.cell == cell
    };
    let mut records: Vec<_> = findings.valid().filter(on_line).collect();
    let rate = |record: &Record| record.cell.plan.per_minute;
    records.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
    records
}

/// The valid record of a cell.
pub(super) fn record_of(findings: &Findings, cell: Cell) -> Option<&Record> {
    findings.valid().find(|record| record.cell == cell)
}

fn rates() -> impl Iterator<Item = f64> {
    (0..=60).map(|step| 0.5 * 2_400f64.powf(f64::from(step) / 60.0))
}

/// A figure a delivery against the rate: what was measured as marks, what the model says as lines.
fn against_rate(
    findings: &Findings,
    measured: impl Fn(&Record) -> Option<f64>,
    predicted: impl Fn(Predicted) -> f64,
) -> Vec<Series> {
    let series = ALL.into_iter().map(|transport| {
        let points = line_of(findings, transport)
            .into_iter()
            .filter_map(|record| Some((as_it_was(record).plan.per_minute, measured(record)?)));
        let line = rates().map(|rate| {
            let mut cell = grid::centre(transport);
            cell.plan.per_minute = rate;
            let deliveries = cell.plan.clients as f64 * rate / 60.0;
            (rate, predicted(findings.model.predict(&cell, PACE)) / deliveries)
        });
        let name = short_name(transport);
        Series { name, look: look(transport), points: points.collect(), line: line.collect() }
    });
    series.filter(|series| !series.points.is_empty()).collect()
}

fn short_name(transport: Transport) -> String {
    match transport {
        Transport::ShortPolling { every_ms } => format!("poll {} s", every_ms as f64 / 1e3),
        Transport::LongPolling => "long poll".to_owned(),
        other => transport_name(other),
    }
}

fn per_minute() -> Axis {
    Axis::log("messages a client hears in a minute")
}

const LINES: &str = "Marks: measured. Lines: the model.";

fn latency(findings: &Findings) -> Figure {
    let rows: Vec<_> = ALL
        .into_iter()
        .filter_map(|transport| {
            let record = record_of(findings, grid::centre(transport))?;
            let latency = record.latency?;
            let values = vec![latency.p50, latency.p90, latency.p99];
            let note = format!("{} · {} ms", figure(latency.p50), figure(latency.p99));
            Some(Row { name: transport_name(transport), look: look(transport), values, note })
        })
        .collect();
    Figure::new(
        "latency",
        "How long does a message take?",
        "From when the schedule wanted it sent to receipt, at 60 messages a client and minute: 50, 90 and \
         99 % of the deliveries. Written out: p50 · p99.",
        |title, caption| dots(title, caption, Axis::log("milliseconds"), &rows),
    )
}

fn requests(findings: &Findings) -> Figure {
    let series = against_rate(findings, Record::requests_per_delivery, |cost| cost.requests);
    let series: Vec<_> = series
        .into_iter()
        .filter(|series| series.points.iter().any(|(_, requests)| *requests > 0.0))
        .collect();
    Figure::new(
        "requests",
        "How many requests does a message need?",
        format!("Streams and WebSockets need none. Long polls wait 10 s here. {LINES}"),
        |title, caption| lines(title, caption, (per_minute(), Axis::log("requests")), &series),
    )
}

fn empty(findings: &Findings) -> Figure {
    let series: Vec<_> = ALL[..5]
        .iter()
        .filter_map(|&transport| {
            let records = line_of(findings, transport);
            let points: Vec<_> = records
                .into_iter()
                .filter(|record| record.cell.plan.per_minute > 0.0)
                .filter_map(|record| {
                    Some((as_it_was(record).plan.per_minute, record.empty_share()?))
                })
                .collect();
            let line = rates().map(|rate| {
                (rate, crate::model::polls(transport, rate / 60.0, PACE.wait_seconds).empty)
            });
            let name = short_name(transport);
            let line = line.collect();
            (!points.is_empty()).then_some(Series { name, look: look(transport), points, line })
        })
        .collect();
    Figure::new(
        "empty",
        "How many polls come back empty?",
        "Marks: measured. Lines: e to the power of -rate × interval, as for messages that come at \
         random. Long polls wait 10 s here, by default 60 s.",
        |title, caption| {
            let share = Axis::linear("share of the answers").within(0.0, 1.0).written(percent);
            lines(title, caption, (per_minute(), share), &series)
        },
    )
}

fn bytes(findings: &Findings) -> Figure {
    let series = against_rate(findings, Record::bytes_per_delivery, |cost| cost.bytes);
    Figure::new(
        "bytes",
        "How many bytes does a message take?",
        format!(
            "Both ways, with headers and frames, for 128 bytes of content; TCP and IP add 52 a packet, \
             Ethernet 14 more. {LINES}"
        ),
        |title, caption| lines(title, caption, (per_minute(), Axis::log("bytes")), &series),
    )
}

fn cpu(findings: &Findings) -> Figure {
    let series = against_rate(findings, Record::cpu_us_per_delivery, |cost| cost.cpu_us);
    Figure::new(
        "cpu",
        "What does a message cost the server?",
        format!(
            "CPU for each client that it reaches, storing it (once for 20 clients) and whatever else \
             the node does included. {LINES}"
        ),
        |title, caption| lines(title, caption, (per_minute(), Axis::log("microseconds")), &series),
    )
}

fn idle(findings: &Findings) -> Figure {
    let rows: Vec<_> = ALL
        .into_iter()
        .filter_map(|transport| {
            let record = record_of(findings, grid::silent(transport))?;
            let value = record.cpu_us_per_client_second();
            let name = transport_name(transport);
            let note = format!("{} µs", figure(value));
            Some(Row { name, look: look(transport), values: vec![value], note })
        })
        .collect();
    Figure::new(
        "idle",
        "What does a client cost that hears nothing?",
        "CPU of the server for a client and second, of 5,000. Long polls wait 10 s and sockets are \
         pinged every 10 s here; by default 60 and 25 s, which costs less.",
        |title, caption| bars(title, caption, Axis::linear("microseconds a second"), &rows),
    )
}

fn memory(findings: &Findings) -> Figure {
    let rows: Vec<_> = ALL
        .into_iter()
        .flat_map(|transport| {
            let rows = [false, true].map(|tls| {
                let cell = Cell { tls, ..grid::silent(transport) };
                let record = record_of(findings, cell)?;
                let values = vec![record.rss_per_client / 1e3, record.kernel_per_client / 1e3];
                let name = transport_name(transport) + if tls { ", TLS" } else { "" };
                let note = format!("{} + {} kB", figure(values[0]), figure(values[1]));
                Some(Row { name, look: look(transport), values, note })
            });
            rows.into_iter().flatten()
        })
        .collect();
    Figure::new(
        "memory",
        "How much memory does a client need?",
        "Resident memory of the server (full) and the kernel's buffers for both ends of its sockets \
         (pale), for each of 5,000 clients at rest.",
        |title, caption| bars(title, caption, Axis::linear("kB a client"), &rows),
    )
}

fn wrapping(findings: &Findings) -> Figure {
    type Change = fn(&mut Cell);
    let variants: [(&str, Change); 4] = [
        ("", |_| {}),
        (", TLS", |cell| cell.tls = true),
        (", HTTP/2", |cell| cell.plan.http = Http::Two),
        (", browser", |cell| cell.plan.headers = Headers::Browser),
    ];
    let mut rows = Vec::new();
    for transport in [ALL[1], ALL[4], ALL[5], ALL[6]] {
        let of = |change: Change| {
            let mut cell = grid::centre(transport);
            change(&mut cell);
            record_of(findings, cell)?.cpu_us_per_delivery()
        };
        let Some(plain) = of(|_| {}) else { continue };
        for (what, change) in variants {
            if let Some(value) = of(change) {
                let note = match what {
                    "" => format!("{} µs", figure(value)),
                    _ => format!("{} µs, × {:.1}", figure(value), value / plain),
                };
                let name = transport_name(transport) + what;
                rows.push(Row { name, look: look(transport), values: vec![value], note });
            }
        }
    }
    Figure::new(
        "wrapping",
        "What do TLS, HTTP/2 and a browser's headers add?",
        "CPU of the server for a message that reaches a client, at 60 messages a client and minute.",
        |title, caption| bars(title, caption, Axis::linear("microseconds"), &rows),
    )
}

/// How a candidate is called, and looks.
fn candidate(candidate: Candidate) -> Region {
    let (name, transport) = match candidate {
        Candidate::ShortPolling => ("short polling", ALL[1]),
        Candidate::LongPolling => ("long polling", ALL[4]),
        Candidate::WebSocket => ("WebSocket", ALL[6]),
    };
    Region { name, look: look(transport) }
}

fn cheapest_map(
    findings: &Findings,
    id: &'static str,
    title: &'static str,
    measure: fn(Cost) -> f64,
) -> Figure {
    let model = &findings.model;
    let rates = || (0..=80).map(|step| 0.01 * 1e5f64.powf(f64::from(step) / 80.0));
    let series: Vec<_> = [Transport::LongPolling, Transport::WebSocket]
        .into_iter()
        .map(|transport| Series {
            name: short_name(transport),
            look: Look { dash: "4 3", ..look(transport) },
            points: Vec::new(),
            line: rates()
                .filter_map(|rate| {
                    let seconds = break_even_seconds(model, transport, rate, measure)?;
                    (0.1..=60.0).contains(&seconds).then_some((rate, seconds))
                })
                .collect(),
        })
        .filter(|series| series.line.len() > 1)
        .collect();
    let caption = "For a client that hears so many messages and can wait so long; polls come as seldom \
                   as that allows. Dashed: from there up short polling costs no more than long \
                   polling (blue) and than a WebSocket (purple). By the model, with the server's \
                   defaults, HTTP/1.1, no TLS.";
    Figure::new(id, title, caption, |title, caption| {
        let x = per_minute().within(0.01, 1_000.0);
        let y = Axis::log("seconds it can wait").within(0.1, 60.0);
        let region = |rate: f64, seconds: f64| {
            let patience = Duration::from_secs_f64(seconds);
            candidate(cheapest(model, rate, patience, measure, 0.0))
        };
        map(title, caption, (x, y), region, &series)
    })
}

/// Who uses it, in the month's plots.
pub(super) const HABITS: [(Habit, &str); 3] = [
    (Habit { hours_per_day: 8.0, per_minute: 0.1 }, "6 messages an hour"),
    (Habit { hours_per_day: 8.0, per_minute: 1.0 }, "1 a minute"),
    (Habit { hours_per_day: 8.0, per_minute: 20.0 }, "20 a minute"),
];

fn month_rows(
    findings: &Findings,
    value: impl Fn(crate::model::Month) -> f64,
    unit: &str,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (habit, words) in HABITS {
        for transport in FEW {
            let value = value(month(&findings.model, transport, 100_000, habit));
            let name = format!("{}, {words}", transport_name(transport));
            let note = format!("{} {unit}", figure(value));
            rows.push(Row { name, look: look(transport), values: vec![value], note });
        }
    }
    rows
}

fn month_cores(findings: &Findings) -> Figure {
    let rows = month_rows(findings, |month| month.cores, "cores");
    Figure::new(
        "month-cores",
        "How many cores do 100,000 users need?",
        "While all are connected at once, by the model; messages are heard in groups of 50.",
        |title, caption| bars(title, caption, Axis::linear("cores that are busy"), &rows),
    )
}

fn month_traffic(findings: &Findings) -> Figure {
    let rows = month_rows(findings, |month| month.gigabytes, "GB");
    Figure::new(
        "month-traffic",
        "What traffic do 100,000 users make in a month?",
        "Connected for 8 hours a day, by the model. Both ways, without headers of TCP and IP.",
        |title, caption| bars(title, caption, Axis::linear("GB a month"), &rows),
    )
}

fn model_error(findings: &Findings) -> Figure {
    let check = &findings.check;
    let shares = || check.held.iter().map(|one| one.cpu_us / 1e4);
    let (low, high) = (shares().fold(f64::INFINITY, f64::min), shares().fold(0.0, f64::max));
    let mut series: Vec<_> = Family::ALL
        .into_iter()
        .filter_map(|family| {
            let of = |record: usize| findings.fitted.get(record).map(|one| one.cell.plan.transport);
            let mut looks = None;
            let points: Vec<_> = check
                .held
                .iter()
                .filter_map(|one| {
                    let transport = of(one.record).filter(|one| Family::of(*one) == family)?;
                    looks = Some(Look { dash: "", ..look(transport) });
                    Some((one.cpu_us / 1e4, one.cpu_us_predicted / 1e4))
                })
                .collect();
            Some(Series { name: family.name().to_owned(), look: looks?, points, line: Vec::new() })
        })
        .collect();
    let exact = Look { hue: "plain", dash: "2 3", mark: Mark::Circle };
    if high > 0.0 {
        let line = vec![(low, low), (high, high)];
        series.push(Series { name: "exact".to_owned(), look: exact, points: Vec::new(), line });
    }
    Figure::new(
        "model",
        "How far is the model off?",
        format!(
            "CPU of the server in each cell, predicted by a fit that did not see that cell: half are \
             off by at most {}, the worst by {}.",
            percent(check.cpu_all.median),
            percent(check.cpu_all.worst)
        ),
        |title, caption| {
            let axes =
                (Axis::log("per cent of a core, measured"), Axis::log("per cent, predicted"));
            lines(title, caption, axes, &series)
        },
    )
}

fn peers(findings: &Findings) -> Vec<Figure> {
    let rows = |task: fn(Task) -> bool, value: fn(&crate::peers::PeerRow) -> Option<f64>, unit| {
        let rows = findings.peers.iter().filter(|row| task(row.task)).filter_map(|row| {
            let value = value(row)?;
            let transport = match row.transport.as_str() {
                "websocket" => Transport::WebSocket,
                "long_polling" => Transport::LongPolling,
                _ => Transport::Sse,
            };
            let name = format!("{}, {}", row.system, row.transport.replace('_', " "));
            let note = format!("{} {unit}", figure(value));
            Some(Row { name, look: look(transport), values: vec![value], note })
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by(|one, other| one.values[0].total_cmp(&other.values[0]));
        rows
    };
    let fan_out = |task| matches!(task, Task::FanOut { in_flight: 1 });
    let idle = |task| matches!(task, Task::Idle);
    let pairs = |task| matches!(task, Task::Pairs);
    [
        (
            "peers-cpu",
            "What does a delivery cost Pabal and others?",
            "One message at a time to 1,000 subscribers of a channel; CPU of all processes of the \
             system. Only Pabal stores the message before anybody hears it.",
            "microseconds",
            rows(fan_out, |row| row.cpu_us_per_delivery, "µs"),
        ),
        (
            "peers-memory",
            "How much memory does an idle client need, there and elsewhere?",
            "Resident memory of all processes of the system for a client that is connected and hears \
             nothing.",
            "kB",
            rows(idle, |row| row.rss_per_client.filter(|bytes| *bytes > 0.0).map(|bytes| bytes / 1e3), "kB"),
        ),
        (
            "peers-pairs",
            "How many round trips do 100 pairs make in a second?",
            "Each sends its next message when the last one was answered. More is better.",
            "a second",
            rows(pairs, |row| row.round_trips_per_second, ""),
        ),
    ]
    .into_iter()
    .filter(|(.., rows)| !rows.is_empty())
    .map(|(id, title, caption, unit, rows)| {
        Figure::new(id, title, caption, |title, caption| {
            bars(title, caption, Axis::linear(unit), &rows)
        })
    })
    .collect()
}

/// The candidates of the advice, for the page's words.
pub(super) fn candidates() -> String {
    CANDIDATES.map(|one| candidate(one).name).join(", ")
}
