//! The tables of the report: for the page, the terminal, Markdown and spreadsheets.

use std::fmt::Write;

use pabal_cost::{Headers, Http, Transport, break_even_seconds, cost, month};

use super::Findings;
use super::figures::{ALL, marked_name, record_of};
use super::predictions::HABITS;
use super::text::{escape, figure, maybe, percent};
use crate::grid;
use crate::record::{Family, Record, transport_name};

/// A table, as text.
pub(super) struct Table {
    /// The heads of the columns.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let head = head.iter().map(|&name| name.to_owned()).collect();
    Table { head, rows: rows.into_iter().collect() }
}

impl Table {
    /// As HTML; the first column names the row.
    pub(super) fn html(&self, caption: &str) -> String {
        let mut html = format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table>\
             <caption><span>{0}</span></caption><thead><tr>",
            escape(caption)
        );
        for name in &self.head {
            // Writing to a string cannot fail, here and below.
            let _ = write!(html, "<th scope=\"col\">{}</th>", escape(name));
        }
        html.push_str("</tr></thead><tbody>\n");
        for row in &self.rows {
            html.push_str("<tr>");
            for (number, value) in row.iter().enumerate() {
                let _ = match number {
                    0 => write!(html, "<th scope=\"row\">{}</th>", escape(value)),
                    _ => write!(html, "<td>{}</td>", escape(value)),
                };
            }
            html.push_str("</tr>\n");
        }
        html + "</tbody></table></div>\n"
    }

    /// As Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|---", self.head.join(" | "));
        text += &"|--:".repeat(self.head.len() - 1);
        text += "|\n";
        for row in &self.rows {
            text += &format!("| {} |\n", row.join(" | "));
        }
        text
    }

    /// In columns of a terminal.
    pub(super) fn plain(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| &row[column]).chain([&self.head[column]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.head.len()).map(width).collect();
        let mut text = String::new();
        for row in std::iter::once(&self.head).chain(&self.rows) {
            for (number, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = match number {
                    0 => write!(text, "{cell:<width$}"),
                    _ => write!(text, "  {cell:>width$}"),
                };
            }
            text.push('\n');
        }
        text
    }
}

/// The transports side by side, in the centre of the grid.
pub(super) fn side_by_side(findings: &Findings) -> Table {
    let rows = ALL.into_iter().filter_map(|transport| {
        let record = record_of(findings, grid::centre(transport));
        let silent = findings.silent(transport, false);
        record.or(silent)?;
        let idle = silent.map(Record::cpu_us_per_client_second);
        let latency = record.and_then(|record| record.latency);
        Some(vec![
            record.map_or_else(|| transport_name(transport), marked_name),
            maybe(latency.map(|latency| latency.p50)),
            maybe(latency.map(|latency| latency.p99)),
            maybe(record.and_then(Record::requests_per_delivery)),
            record.and_then(Record::empty_share).map_or("–".to_owned(), percent),
            maybe(record.and_then(Record::bytes_per_delivery)),
            maybe(record.and_then(Record::cpu_us_per_delivery)),
            maybe(idle),
            maybe(silent.map(|record| record.rss_per_client / 1e3)),
        ])
    });
    table(
        &[
            "transport",
            "p50 ms",
            "p99 ms",
            "requests a message",
            "empty responses",
            "bytes a message",
            "CPU µs a message",
            "CPU µs an idle second",
            "kB a client",
        ],
        rows,
    )
}

/// Everything that was measured, a row a cell.
pub(super) fn cells(findings: &Findings) -> Table {
    let rows = findings.records.iter().map(|record| {
        let latency = |of: fn(crate::record::Latency) -> f64| maybe(record.latency.map(of));
        let mut remarks = Vec::new();
        if !record.is_valid() {
            let verdict = record.verdict;
            remarks.push(format!(
                "INVALID: {} lost, {} repeated, {} reordered",
                verdict.lost, verdict.repeated, verdict.reordered
            ));
        }
        if record.generator_bound {
            remarks.push("generator was the bottleneck".to_owned());
        }
        vec![
            record.cell.name(),
            figure(record.counts.deliveries as f64),
            latency(|latency| latency.p50),
            latency(|latency| latency.p90),
            latency(|latency| latency.p99),
            maybe(record.latency.and_then(|latency| latency.p999)),
            maybe(record.requests_per_delivery()),
            record.empty_share().map_or("–".to_owned(), percent),
            maybe(record.bytes_per_delivery()),
            maybe(record.cpu_us_per_delivery()),
            figure(record.cpu_us_per_client_second()),
            figure(record.rss_per_client / 1e3),
            figure(record.kernel_per_client / 1e3),
            percent(record.server_cpu_us / record.seconds / 1e6),
            percent(record.generator_cpu_us / record.seconds / 1e6),
            figure(record.late_p99_ms),
            if remarks.is_empty() { "clean".to_owned() } else { remarks.join("; ") },
        ]
    });
    table(
        &[
            "cell",
            "deliveries",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "p99.9 ms",
            "requests a message",
            "empty",
            "bytes a message",
            "CPU µs a message",
            "CPU µs a client·s",
            "RSS kB a client",
            "kernel kB a client",
            "server's core",
            "generator's core",
            "sends late p99 ms",
            "verdict",
        ],
        rows,
    )
}

/// A month of N users.
pub(super) fn months(findings: &Findings) -> Table {
    let mut rows = Vec::new();
    for (habit, words) in HABITS {
        for transport in ALL {
            let mut row = vec![format!("{}, {words}", transport_name(transport))];
            for users in [1_000, 10_000, 100_000, 1_000_000] {
                let month = month(&findings.model, transport, users, habit);
                row.push(figure(month.requests));
                row.push(figure(month.gigabytes));
                row.push(figure(month.cores));
                row.push(figure(month.memory_gigabytes));
            }
            rows.push(row);
        }
    }
    let mut head = vec!["transport, messages received".to_owned()];
    for users in ["1 k", "10 k", "100 k", "1 M"] {
        for what in ["requests", "GB", "cores", "GB of memory"] {
            head.push(format!("{users} users: {what}"));
        }
    }
    Table { head, rows }
}

/// The cost of a client, and the interval from which short polling costs no more.
pub(super) fn break_even(findings: &Findings) -> Table {
    let model = &findings.model;
    let transports = [ALL[1], ALL[2], ALL[3], ALL[4], ALL[5], ALL[6]];
    let rows = [0.01, 0.1, 1.0, 6.0, 20.0, 60.0, 600.0].map(|rate| {
        let mut row = vec![figure(rate)];
        row.extend(transports.map(|transport| figure(cost(model, transport, rate).cpu_us)));
        for other in [Transport::LongPolling, Transport::WebSocket] {
            let seconds = break_even_seconds(model, other, rate, |cost| cost.cpu_us);
            row.push(
                seconds.map_or("never".to_owned(), |seconds| format!("{} s", figure(seconds))),
            );
        }
        row
    });
    let mut head = vec!["messages a minute".to_owned()];
    head.extend(transports.map(|transport| format!("{}: µs a second", transport_name(transport))));
    head.push("polling costs no more than long polling from".to_owned());
    head.push("polling costs no more than a WebSocket from".to_owned());
    Table { head, rows: rows.into() }
}

/// The errors of the model.
pub(super) fn errors(findings: &Findings) -> Table {
    let check = &findings.check;
    let mut rows = Vec::new();
    for family in Family::ALL {
        let (Some(cpu), Some(bytes)) = (check.cpu.get(&family), check.bytes.get(&family)) else {
            continue;
        };
        rows.push((family.name().to_owned(), *cpu, *bytes));
    }
    rows.push(("all".to_owned(), check.cpu_all, check.bytes_all));
    let rows = rows.into_iter().map(|(name, cpu, bytes)| {
        let errors = [cpu.median, cpu.worst, bytes.median, bytes.worst].map(percent);
        let mut row = vec![name, cpu.cells.to_string()];
        row.extend(errors);
        row
    });
    let head = ["transport", "cells", "CPU, median", "CPU, worst", "bytes, median", "bytes, worst"];
    table(&head, rows)
}

/// The prices of the model.
pub(super) fn prices(findings: &Findings) -> Table {
    let model = &findings.model;
    let names = pabal_cost::Terms::NAMES.iter();
    let prices = model.cpu_us.to_array().into_iter().zip(model.bytes.to_array());
    let prices = prices.zip(model.memory_bytes.to_array());
    let rows = names.zip(prices).filter(|(_, ((cpu, bytes), memory))| cpu + bytes + memory > 0.0);
    table(
        &["unit of", "CPU µs", "bytes", "bytes of memory"],
        rows.map(|(name, ((cpu, bytes), memory))| {
            let some = |value: f64| maybe(Some(value).filter(|value| *value > 0.0));
            vec![name.replace('_', " "), some(cpu), some(bytes), some(memory)]
        }),
    )
}

/// The differences between the figures of the generator and of the kernel.
pub(super) fn outside(findings: &Findings) -> Table {
    let ratio = |value: Option<f64>| {
        value.map_or("–".to_owned(), |ratio| format!("{:+.1} %", (ratio - 1.0) * 100.0))
    };
    table(
        &["cell", "bytes metered, to packets counted", "CPU by threads, to the kernel's rusage"],
        findings.records.iter().map(|record| {
            let accounts = record.accounts;
            let cpu =
                (accounts.by_rusage_us > 0.0).then(|| accounts.by_clock_us / accounts.by_rusage_us);
            vec![record.cell.name(), ratio(record.metered_by_counted()), ratio(cpu)]
        }),
    )
}

/// The columns of `cells.csv`, each with its value in a record. Numbers are not rounded; a missing value is
/// empty.
type Column = (&'static str, fn(&Record) -> String);

const COLUMNS: &[Column] = &[
    ("cell", |record| record.cell.name()),
    ("transport", |record| match Family::of(record.cell.plan.transport) {
        Family::ShortPolling => "short_polling".to_owned(),
        Family::LongPolling => "long_polling".to_owned(),
        Family::Sse => "sse".to_owned(),
        Family::WebSocket => "websocket".to_owned(),
    }),
    ("every_ms", |record| match record.cell.plan.transport {
        Transport::ShortPolling { every_ms } => every_ms.to_string(),
        _ => String::new(),
    }),
    ("clients", |record| record.cell.plan.clients.to_string()),
    ("group", |record| record.cell.plan.group.to_string()),
    ("per_minute", |record| record.cell.plan.per_minute.to_string()),
    ("content_bytes", |record| record.cell.plan.content_bytes.to_string()),
    ("http", |record| if record.cell.plan.http == Http::Two { "2" } else { "1.1" }.to_owned()),
    ("headers", |record| match record.cell.plan.headers {
        Headers::Minimal => "minimal".to_owned(),
        Headers::Browser => "browser".to_owned(),
    }),
    ("tls", |record| record.cell.tls.to_string()),
    ("seconds", |record| record.seconds.to_string()),
    ("messages", |record| record.counts.messages.to_string()),
    ("deliveries", |record| record.counts.deliveries.to_string()),
    ("requests", |record| record.counts.requests.to_string()),
    ("answers", |record| record.counts.answers.to_string()),
    ("empty", |record| record.counts.empty.to_string()),
    ("bytes_in", |record| record.counts.bytes_in.to_string()),
    ("bytes_out", |record| record.counts.bytes_out.to_string()),
    ("speaker_bytes", |record| record.counts.speaker_bytes.to_string()),
    ("p50_ms", |record| value(record.latency.map(|latency| latency.p50))),
    ("p90_ms", |record| value(record.latency.map(|latency| latency.p90))),
    ("p99_ms", |record| value(record.latency.map(|latency| latency.p99))),
    ("p999_ms", |record| value(record.latency.and_then(|latency| latency.p999))),
    ("server_cpu_us", |record| record.server_cpu_us.to_string()),
    ("generator_cpu_us", |record| record.generator_cpu_us.to_string()),
    ("requests_per_delivery", |record| value(record.requests_per_delivery())),
    ("empty_share", |record| value(record.empty_share())),
    ("bytes_per_delivery", |record| value(record.bytes_per_delivery())),
    ("cpu_us_per_delivery", |record| value(record.cpu_us_per_delivery())),
    ("cpu_us_per_client_second", |record| record.cpu_us_per_client_second().to_string()),
    ("rss_per_client", |record| record.rss_per_client.to_string()),
    ("kernel_per_client", |record| record.kernel_per_client.to_string()),
    ("loopback_packets", |record| record.loopback.packets.to_string()),
    ("loopback_bytes", |record| record.loopback.bytes.to_string()),
    ("cpu_by_clock_us", |record| record.accounts.by_clock_us.to_string()),
    ("cpu_by_rusage_us", |record| record.accounts.by_rusage_us.to_string()),
    ("late_p99_ms", |record| record.late_p99_ms.to_string()),
    ("generator_bound", |record| record.generator_bound.to_string()),
    ("lost", |record| record.verdict.lost.to_string()),
    ("repeated", |record| record.verdict.repeated.to_string()),
    ("reordered", |record| record.verdict.reordered.to_string()),
];

fn value(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// `cells.csv` (RFC 4180; no value holds a comma or a quote).
pub(super) fn csv(records: &[Record]) -> String {
    let mut csv = COLUMNS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",");
    csv.push_str("\r\n");
    for record in records {
        let row: Vec<_> = COLUMNS.iter().map(|(_, of)| of(record)).collect();
        csv += &row.join(",");
        csv.push_str("\r\n");
    }
    csv
}
