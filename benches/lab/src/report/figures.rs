//! The plots of the measurements. The title of each is a question; the caption says what the plot is made of.

use std::collections::BTreeSet;

use pabal_cost::{Cell, Headers, Http, Predicted, Transport, polls};

use super::Findings;
use super::text::{count, figure, percent};
use crate::fit::as_it_was;
use crate::grid::{self, PACE};
use crate::record::{Family, Record, transport_name};
use crate::svg::charts::{Row, bars, dots, lines};
use crate::svg::{Axis, Look, Mark, Series};

/// A plot with its question.
pub(super) struct Figure {
    /// Its id in the page.
    pub id: &'static str,
    /// The question.
    pub title: &'static str,
    /// What the plot is made of, and how to read it.
    pub caption: String,
    /// The drawing.
    pub svg: String,
}

impl Figure {
    pub(super) fn new(
        id: &'static str,
        title: &'static str,
        caption: impl Into<String>,
        draw: impl FnOnce(&str, &str) -> String,
    ) -> Self {
        let caption = caption.into();
        let svg = draw(title, &caption);
        Self { id, title, caption, svg }
    }

    /// The same, if there is a value to draw.
    pub(super) fn of<T>(
        what: &[T],
        id: &'static str,
        title: &'static str,
        caption: impl Into<String>,
        draw: impl FnOnce(&str, &str) -> String,
    ) -> Option<Self> {
        (!what.is_empty()).then(|| Self::new(id, title, caption, draw))
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

/// All plots with values to draw.
pub(super) fn figures(findings: &Findings) -> Vec<Figure> {
    let figures = [
        latency(findings),
        requests(findings),
        empty(findings),
        bytes(findings),
        cpu(findings),
        idle(findings),
        memory(findings),
        wrapping_cpu(findings),
        wrapping_bytes(findings),
    ];
    figures.into_iter().flatten().collect()
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

/// The transport of a record, and whether the generator limits its latency.
pub(super) fn marked_name(record: &Record) -> String {
    let mark = if record.generator_bound { ", generator-bound" } else { "" };
    transport_name(record.cell.plan.transport) + mark
}

pub(super) fn short_name(transport: Transport) -> String {
    match transport {
        Transport::ShortPolling { every_ms } => format!("poll {} s", every_ms as f64 / 1e3),
        Transport::LongPolling => "long poll".to_owned(),
        other => transport_name(other),
    }
}

pub(super) fn per_minute() -> Axis {
    Axis::log("messages a client receives in a minute")
}

const LINES: &str = "Marks: measured. Lines: the model.";

fn latency(findings: &Findings) -> Option<Figure> {
    let rows: Vec<_> = ALL
        .into_iter()
        .filter_map(|transport| {
            let record = record_of(findings, grid::centre(transport))?;
            let latency = record.latency?;
            let values = vec![latency.p50, latency.p90, latency.p99];
            let note = format!("{} · {} ms", figure(latency.p50), figure(latency.p99));
            Some(Row { note, ..Row::of(marked_name(record), look(transport), values) })
        })
        .collect();
    Figure::of(
        &rows,
        "latency",
        "How long does a message take?",
        "From when it was due to receipt, at 60 messages a client and minute: 50, 90 and \
         99 % of the deliveries. Written out: p50 · p99.",
        |title, caption| dots(title, caption, Axis::log("milliseconds"), &rows),
    )
}

fn requests(findings: &Findings) -> Option<Figure> {
    let series = against_rate(findings, Record::requests_per_delivery, |cost| cost.requests);
    let series: Vec<_> = series
        .into_iter()
        .filter(|series| series.points.iter().any(|(_, requests)| *requests > 0.0))
        .collect();
    Figure::of(
        &series,
        "requests",
        "How many requests does a message need?",
        format!("Streams and WebSockets need none. Long polls wait 10 s here. {LINES}"),
        |title, caption| lines(title, caption, (per_minute(), Axis::log("requests")), &series),
    )
}

fn empty(findings: &Findings) -> Option<Figure> {
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
            let line =
                rates().map(|rate| (rate, polls(transport, rate / 60.0, PACE.wait_seconds).empty));
            let name = short_name(transport);
            let line = line.collect();
            (!points.is_empty()).then_some(Series { name, look: look(transport), points, line })
        })
        .collect();
    Figure::of(
        &series,
        "empty",
        "How many polls return no event?",
        "Marks: measured. Lines: e to the power of −rate × interval, as for messages that arrive at \
         random. Long polls wait 10 s here, by default 60 s.",
        |title, caption| {
            let share = Axis::linear("share of the responses").within(0.0, 1.0).written(percent);
            lines(title, caption, (per_minute(), share), &series)
        },
    )
}

fn bytes(findings: &Findings) -> Option<Figure> {
    let series = against_rate(findings, Record::bytes_per_delivery, |cost| cost.bytes);
    Figure::of(
        &series,
        "bytes",
        "How many bytes does a message take?",
        format!(
            "Both ways, with headers and frames, for 128 bytes of content; TCP and IP add 52 a packet, \
             Ethernet 14 more. {LINES}"
        ),
        |title, caption| lines(title, caption, (per_minute(), Axis::log("bytes")), &series),
    )
}

fn cpu(findings: &Findings) -> Option<Figure> {
    let series = against_rate(findings, Record::cpu_us_per_delivery, |cost| cost.cpu_us);
    Figure::of(
        &series,
        "cpu",
        "What does a message cost the server?",
        format!(
            "CPU for each client that it reaches, storing it (once for 20 clients) and whatever else \
             the node does included. {LINES}"
        ),
        |title, caption| lines(title, caption, (per_minute(), Axis::log("microseconds")), &series),
    )
}

fn idle(findings: &Findings) -> Option<Figure> {
    let mut crowds = BTreeSet::new();
    let rows: Vec<_> = ALL
        .into_iter()
        .filter_map(|transport| {
            let record = findings.silent(transport, false)?;
            crowds.insert(record.cell.plan.clients);
            let value = record.cpu_us_per_client_second();
            let name = transport_name(transport);
            let note = format!("{} µs", figure(value));
            Some(Row { note, ..Row::of(name, look(transport), vec![value]) })
        })
        .collect();
    let caption = format!(
        "CPU of the server for a client and second, of {}. Long polls wait 10 s and sockets are pinged \
         every 10 s here; by default 60 and 25 s, which costs less.",
        counts(&crowds)
    );
    Figure::of(&rows, "idle", "What CPU does an idle client cost?", caption, |title, caption| {
        bars(title, caption, Axis::linear("microseconds a second"), &rows)
    })
}

fn memory(findings: &Findings) -> Option<Figure> {
    let mut crowds = BTreeSet::new();
    let mut rows = Vec::new();
    for transport in ALL {
        for tls in [false, true] {
            let Some(record) = findings.silent(transport, tls) else { continue };
            crowds.insert(record.cell.plan.clients);
            let values = vec![record.rss_per_client / 1e3, record.kernel_per_client / 1e3];
            let name = transport_name(transport) + if tls { ", TLS" } else { "" };
            let note = format!("{} + {} kB", figure(values[0]), figure(values[1]));
            rows.push(Row { note, ..Row::of(name, look(transport), values) });
        }
    }
    let caption = format!(
        "Resident memory of the server (full) and the kernel's buffers for both ends of its sockets \
         (pale), for each of {} clients at rest.",
        counts(&crowds)
    );
    Figure::of(&rows, "memory", "How much memory does a client need?", caption, |title, caption| {
        bars(title, caption, Axis::linear("kB a client"), &rows)
    })
}

/// How many clients there were, in words.
fn counts(crowds: &BTreeSet<usize>) -> String {
    crowds.iter().map(|clients| count(*clients)).collect::<Vec<_>>().join(" or ")
}

fn wrapping_cpu(findings: &Findings) -> Option<Figure> {
    let rows = wrapped(findings, Record::cpu_us_per_delivery, " µs");
    Figure::of(
        &rows,
        "wrapping-cpu",
        "What CPU do TLS, HTTP/2 and a browser's headers cost?",
        "CPU of the server for a message that reaches a client, at 60 messages a client and minute; × what \
         it is by itself. Where it falls, that is noise, and shows how much there is.",
        |title, caption| bars(title, caption, Axis::linear("microseconds"), &rows),
    )
}

fn wrapping_bytes(findings: &Findings) -> Option<Figure> {
    let rows = wrapped(findings, Record::bytes_per_delivery, "");
    Figure::of(
        &rows,
        "wrapping-bytes",
        "How many bytes do TLS, HTTP/2 and a browser's headers add?",
        "Both ways, for a message that reaches a client, at 60 messages a client and minute; × what it is \
         by itself.",
        |title, caption| bars(title, caption, Axis::linear("bytes"), &rows),
    )
}

/// Transports by themselves and with one thing around them.
fn wrapped(findings: &Findings, measure: fn(&Record) -> Option<f64>, unit: &str) -> Vec<Row> {
    type Change = fn(&mut Cell);
    let around: [(&str, Change); 3] = [
        (", TLS", |cell| cell.tls = true),
        (", HTTP/2", |cell| cell.plan.http = Http::Two),
        (", browser", |cell| cell.plan.headers = Headers::Browser),
    ];
    let mut rows = Vec::new();
    for transport in ALL {
        let of = |change: Change| {
            let mut cell = grid::centre(transport);
            change(&mut cell);
            record_of(findings, cell).and_then(measure)
        };
        let row = |what: &str, value: f64, note: String| Row {
            note,
            ..Row::of(transport_name(transport) + what, look(transport), vec![value])
        };
        let Some(plain) = of(|_| {}) else { continue };
        let with: Vec<_> = around
            .iter()
            .filter_map(|(what, change)| {
                let value = of(*change)?;
                let note = format!("{}{unit}, × {:.1}", figure(value), value / plain);
                Some(row(what, value, note))
            })
            .collect();
        if !with.is_empty() {
            rows.push(row("", plain, format!("{}{unit}", figure(plain))));
            rows.extend(with);
        }
    }
    rows
}
