//! The plots of the model: its predictions of cells that were not measured, and its errors.

use std::time::Duration;

use pabal_cost::{
    CANDIDATES, Candidate, Cost, Habit, Month, Transport, break_even_seconds, cheapest, month,
};

use super::Findings;
use super::figures::{ALL, Figure, look, per_minute, short_name};
use super::text::{figure, percent};
use crate::record::{Family, transport_name};
use crate::svg::charts::{Region, Row, bars, lines, map};
use crate::svg::{Axis, Look, Mark, Series};

/// The transports of the month.
const FEW: [Transport; 5] = [ALL[1], ALL[3], ALL[4], ALL[5], ALL[6]];

/// All of them.
pub(super) fn figures(findings: &Findings) -> Vec<Figure> {
    let figures = [
        cheapest_map(findings, "cheapest-cpu", "Which transport costs least CPU?", |cost| {
            cost.cpu_us
        }),
        cheapest_map(findings, "cheapest-bytes", "Which transport needs least traffic?", |cost| {
            cost.bytes
        }),
        month_cores(findings),
        month_traffic(findings),
    ];
    figures.into_iter().chain(model_error(findings)).collect()
}

/// The name and the look of a candidate.
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
    let caption = "For a client with this rate and this maximum latency, which is the interval of short \
                   polls. Dashed: above the line short polling costs no more than long \
                   polling (blue) and than a WebSocket (purple). By the model, with the server's \
                   defaults, HTTP/1.1, no TLS.";
    Figure::new(id, title, caption, |title, caption| {
        let x = per_minute().within(0.01, 1_000.0);
        let y = Axis::log("maximum latency, seconds").within(0.1, 60.0);
        let region = |rate: f64, seconds: f64| {
            let max_latency = Duration::from_secs_f64(seconds);
            candidate(cheapest(model, rate, max_latency, measure, 0.0))
        };
        map(title, caption, (x, y), region, &series)
    })
}

/// The users of the month's plots.
pub(super) const HABITS: [(Habit, &str); 3] = [
    (Habit { hours_per_day: 8.0, per_minute: 0.1 }, "6 messages an hour"),
    (Habit { hours_per_day: 8.0, per_minute: 1.0 }, "1 a minute"),
    (Habit { hours_per_day: 8.0, per_minute: 20.0 }, "20 a minute"),
];

fn month_rows(
    findings: &Findings,
    value: impl Fn(Month) -> f64,
    say: fn(f64) -> String,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (habit, words) in HABITS {
        for transport in FEW {
            let value = value(month(&findings.model, transport, 100_000, habit));
            let name = format!("{}, {words}", transport_name(transport));
            rows.push(Row { note: say(value), ..Row::of(name, look(transport), vec![value]) });
        }
    }
    rows
}

fn month_cores(findings: &Findings) -> Figure {
    let rows =
        month_rows(findings, |month| month.cores, |cores| format!("{} cores", figure(cores)));
    Figure::new(
        "month-cores",
        "How many cores do 100,000 users need?",
        "While all are connected at once, by the model; clients receive in groups of 50.",
        |title, caption| bars(title, caption, Axis::linear("cores that are busy"), &rows),
    )
}

fn month_traffic(findings: &Findings) -> Figure {
    let say = |gigabytes| match gigabytes {
        1_000.0.. => format!("{} TB", figure(gigabytes / 1e3)),
        _ => format!("{} GB", figure(gigabytes)),
    };
    let rows = month_rows(findings, |month| month.gigabytes, say);
    Figure::new(
        "month-traffic",
        "What traffic do 100,000 users make in a month?",
        "Connected for 8 hours a day, by the model. Both ways, without headers of TCP and IP.",
        |title, caption| bars(title, caption, Axis::linear("traffic a month"), &rows),
    )
}

fn model_error(findings: &Findings) -> Option<Figure> {
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
    Figure::of(
        // A single point has no line.
        check.held.get(1..).unwrap_or_default(),
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

/// The candidates of the advice, in the text of the page.
pub(super) fn candidates() -> String {
    CANDIDATES.map(|one| candidate(one).name).join(", ")
}
