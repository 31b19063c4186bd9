//! Other systems at the same work, in comparison with Pabal.

use std::cmp::Ordering;

use pabal_cost::Transport;

use super::figures::{Figure, look};
use super::tables::Table;
use super::text::{figure, maybe, percent};
use crate::peers::{DISTURBED, NAMES, PABAL, PeerRow, Task};
use crate::record::{Family, transport_name};
use crate::svg::Axis;
use crate::svg::charts::{Row, bars, dots};

/// A figure by which systems are compared.
struct Quantity {
    name: &'static str,
    unit: &'static str,
    of: fn(&PeerRow) -> Option<f64>,
    more_is_better: bool,
}

const QUANTITIES: [Quantity; 9] = [
    Quantity {
        name: "deliveries a second",
        unit: "",
        // In pairs, deliveries are twice the round trips.
        of: |row| row.deliveries_per_second.filter(|_| row.round_trips_per_second.is_none()),
        more_is_better: true,
    },
    less("CPU a delivery", "µs", |row| row.cpu_us_per_delivery),
    less("bytes a delivery", "", |row| row.bytes_per_delivery),
    less("requests a delivery", "", |row| row.requests_per_delivery),
    less("p50", "ms", |row| row.p50_ms),
    less("p99", "ms", |row| row.p99_ms),
    Quantity {
        name: "round trips a second",
        unit: "",
        of: |row| row.round_trips_per_second,
        more_is_better: true,
    },
    less("RSS a client", "kB", rss_kilobytes),
    less("kernel memory a client", "kB", |row| row.kernel_per_client.map(|bytes| bytes / 1e3)),
];

const fn less(name: &'static str, unit: &'static str, of: fn(&PeerRow) -> Option<f64>) -> Quantity {
    Quantity { name, unit, of, more_is_better: false }
}

/// A client needs some memory: 0 means that clients reused memory that was free before they connected.
fn rss_kilobytes(row: &PeerRow) -> Option<f64> {
    row.rss_per_client.filter(|bytes| *bytes > 0.0).map(|bytes| bytes / 1e3)
}

impl Quantity {
    fn title(&self) -> String {
        if self.unit.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}, {}", self.name, self.unit)
        }
    }

    /// A figure with its unit.
    fn say(&self, value: f64) -> String {
        format!("{} {}", figure(value), self.unit).trim_end().to_owned()
    }
}

fn transport(row: &PeerRow) -> Transport {
    match row.transport.as_str() {
        "websocket" => Transport::WebSocket,
        "long_polling" => Transport::LongPolling,
        _ => Transport::Sse,
    }
}

fn task(task: Task) -> String {
    match task {
        Task::FanOut { in_flight } => format!("one to 1,000, {in_flight} in flight"),
        Task::Idle => "clients at rest".to_owned(),
        Task::Pairs => "100 pairs".to_owned(),
    }
}

/// All systems by one quantity of the same work.
struct Comparison<'a> {
    work: String,
    quantity: &'static Quantity,
    pabal: Option<f64>,
    /// At least one.
    others: Vec<(&'a str, f64)>,
}

impl Comparison<'_> {
    /// The systems that are ahead of Pabal (`Greater`) or level with it (`Equal`), by the figures as they are
    /// printed.
    fn others(&self, rank: Ordering) -> Vec<(&str, f64)> {
        let compare = |pabal: f64, other: f64| match figure(pabal) == figure(other) {
            true => Ordering::Equal,
            false if self.quantity.more_is_better => other.total_cmp(&pabal),
            false => pabal.total_cmp(&other),
        };
        let has_rank = |other: f64| self.pabal.is_some_and(|pabal| compare(pabal, other) == rank);
        self.others.iter().copied().filter(|(_, other)| has_rank(*other)).collect()
    }

    fn is_ahead_or_level(&self) -> bool {
        self.pabal.is_some() && self.others(Ordering::Greater).is_empty()
    }

    /// The rank of Pabal: ahead, level or behind.
    fn rank(&self) -> String {
        let all = self.others.len();
        let names = |others: Vec<(&str, f64)>| match others.len() {
            count if count > 1 && count == all => "all".to_owned(),
            _ => others.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", "),
        };
        let better = names(self.others(Ordering::Greater));
        let level = names(self.others(Ordering::Equal));
        match (self.pabal, better.as_str(), level.as_str()) {
            (None, ..) => "unknown".to_owned(),
            (_, "", "") => "ahead".to_owned(),
            (_, "", level) => format!("level with {level}"),
            (_, better, _) => format!("behind {better}"),
        }
    }

    /// The figures of Pabal and of the systems that are ahead of it.
    fn words(&self) -> String {
        let what = format!("{}: {}", self.work, self.quantity.name);
        let say = |others: Vec<(&str, f64)>| {
            let others = others.into_iter();
            let others = others.map(|(name, other)| format!("{name} {}", self.quantity.say(other)));
            others.collect::<Vec<_>>().join(", ")
        };
        match self.pabal {
            Some(pabal) => format!(
                "{what}, {} against {}",
                self.quantity.say(pabal),
                say(self.others(Ordering::Greater))
            ),
            None => format!("{what}, unknown against {}", say(self.others.clone())),
        }
    }
}

/// Every quantity of every work that another system was measured at.
fn comparisons(rows: &[PeerRow]) -> Vec<Comparison<'_>> {
    let mut works: Vec<(Task, &str)> = Vec::new();
    for row in rows {
        let work = (row.task, row.transport.as_str());
        if !works.contains(&work) {
            works.push(work);
        }
    }
    let mut comparisons = Vec::new();
    for work in works {
        let same = || rows.iter().filter(|row| (row.task, row.transport.as_str()) == work);
        let name = same().next().map(|row| transport_name(transport(row))).unwrap_or_default();
        for quantity in &QUANTITIES {
            let figures = same().filter_map(|row| Some((row.system.as_str(), (quantity.of)(row)?)));
            let (pabal, others): (Vec<_>, Vec<_>) = figures.partition(|(name, _)| *name == PABAL);
            if !others.is_empty() {
                comparisons.push(Comparison {
                    work: format!("{} over {name}", task(work.0)),
                    quantity,
                    pabal: pabal.first().map(|(_, value)| *value),
                    others,
                });
            }
        }
    }
    comparisons
}

/// The result for Pabal: how often it is ahead, and a line for each figure in which it is not.
pub(super) struct Ranking {
    /// In one sentence.
    pub sentence: String,
    /// Figures in which another system is ahead, or that Pabal does not have.
    pub behind: Vec<String>,
}

/// The result of the rows; none without rows.
pub(super) fn ranking(rows: &[PeerRow]) -> Option<Ranking> {
    if rows.is_empty() {
        return None;
    }
    let comparisons = comparisons(rows);
    let behind: Vec<_> = comparisons.iter().filter(|one| !one.is_ahead_or_level()).collect();
    let ahead = comparisons.len() - behind.len();
    let mut sentence = format!(
        "In {ahead} of {} figures of the same work Pabal is ahead of each other system, or level with it",
        comparisons.len()
    );
    sentence += if behind.is_empty() { "." } else { "; in these it is not:" };
    let absent = NAMES.iter().filter(|name| rows.iter().all(|row| row.system != **name));
    let absent: Vec<_> = absent.copied().collect();
    if !absent.is_empty() {
        sentence = format!("Not measured: {}. {sentence}", absent.join(", "));
    }
    Some(Ranking { sentence, behind: behind.into_iter().map(Comparison::words).collect() })
}

/// A sentence on the load of other programs, if it was high.
pub(super) fn disturbed(rows: &[PeerRow]) -> Option<String> {
    let most = rows.iter().filter_map(|row| row.others_busy).fold(0.0, f64::max);
    (most > DISTURBED).then(|| {
        format!(
            " Other programs used up to {} of the servers' core: rates are too low and times too long, \
             compare CPU.",
            percent(most)
        )
    })
}

/// The systems side by side, and the rank of Pabal.
pub(super) fn side_by_side(rows: &[PeerRow]) -> Table {
    let systems = || std::iter::once(&PABAL).chain(&NAMES);
    let seen: Vec<_> =
        systems().filter(|name| rows.iter().any(|row| row.system == **name)).collect();
    let lines = comparisons(rows).into_iter().map(|one| {
        let mut line = vec![one.work.clone(), one.quantity.title()];
        line.extend(seen.iter().map(|name| match **name {
            PABAL => maybe(one.pabal),
            other => maybe(one.others.iter().find(|(name, _)| *name == other).map(|one| one.1)),
        }));
        line.push(one.rank());
        line
    });
    let mut head = vec!["work".to_owned(), "figure".to_owned()];
    head.extend(seen.iter().map(|name| (**name).to_owned()));
    head.push("Pabal is".to_owned());
    Table { rows: lines.collect(), head }
}

/// All figures of every system.
pub(super) fn all(rows: &[PeerRow]) -> Table {
    let lines = rows.iter().map(|row| {
        let mut line = vec![
            format!("{} {}", row.system, row.version),
            transport_name(transport(row)),
            task(row.task),
            if row.durable { "yes" } else { "no" }.to_owned(),
        ];
        line.extend(QUANTITIES.iter().map(|quantity| maybe((quantity.of)(row))));
        line.push(percent(row.generator_busy));
        line.push(row.others_busy.map_or("–".to_owned(), percent));
        line
    });
    let mut head = ["system", "transport", "task", "durable"].map(str::to_owned).to_vec();
    head.extend(QUANTITIES.iter().map(Quantity::title));
    head.push("generator's core".to_owned());
    head.push("others on the servers' core".to_owned());
    Table { rows: lines.collect(), head }
}

/// The plots of other systems, as far as there is something to draw.
pub(super) fn figures(rows: &[PeerRow]) -> Vec<Figure> {
    type Values = fn(&PeerRow) -> Option<Vec<f64>>;
    let one = |task| matches!(task, Task::FanOut { in_flight: 1 });
    let many = |task| matches!(task, Task::FanOut { in_flight: 32 });
    let pairs = |task| matches!(task, Task::Pairs);
    let idle = |task| matches!(task, Task::Idle);
    // Per transport, because the work is the same within it; the best first.
    let drawn = |of: fn(Task) -> bool, more: bool, unit: &str, values: Values| {
        let mut drawn: Vec<_> = rows
            .iter()
            .filter(|row| of(row.task))
            .filter_map(|row| Some((Family::of(transport(row)), row, values(row)?)))
            .collect();
        drawn.sort_by(|one, other| {
            let by_value = one.2[0].total_cmp(&other.2[0]);
            let by_value = if more { by_value.reverse() } else { by_value };
            other.0.cmp(&one.0).then(by_value)
        });
        let drawn = drawn.into_iter().map(|(family, row, values)| {
            let name = format!("{}, {}", row.system, family.name());
            let said: Vec<_> = values.iter().map(|value| figure(*value)).collect();
            let note = format!("{} {unit}", said.join(" · ")).trim_end().to_owned();
            let strong = row.system == PABAL;
            Row { note, strong, ..Row::of(name, look(transport(row)), values) }
        });
        drawn.collect::<Vec<_>>()
    };
    let bar = |rows: Vec<Row>, id, title, caption: &str, unit| {
        Figure::of(&rows, id, title, caption, |title, caption| {
            bars(title, caption, Axis::linear(unit), &rows)
        })
    };
    let latency = drawn(one, false, "ms", |row| Some(vec![row.p50_ms?, row.p99_ms?]));
    let figures = [
        bar(
            drawn(one, false, "µs", |row| Some(vec![row.cpu_us_per_delivery?])),
            "peers-cpu",
            "What does a delivery cost Pabal and others?",
            "One message at a time to 1,000 subscribers of a channel; CPU of all processes of the \
             system. Only Pabal stores the message before any client receives it.",
            "microseconds",
        ),
        bar(
            drawn(many, true, "", |row| Some(vec![row.deliveries_per_second?])),
            "peers-rate",
            "How many deliveries does one core make in a second?",
            "32 messages at a time to 1,000 subscribers of a channel, all processes of a system on one core. \
             More is better.",
            "deliveries a second",
        ),
        Figure::of(
            &latency,
            "peers-latency",
            "How long does a message to 1,000 take, here and elsewhere?",
            "From send to receipt, one message at a time: 50 and 99 % of the deliveries. The last of 1,000 \
             has waited for all others.",
            |title, caption| dots(title, caption, Axis::log("milliseconds"), &latency),
        ),
        bar(
            drawn(pairs, true, "", |row| Some(vec![row.round_trips_per_second?])),
            "peers-pairs",
            "How many round trips do 100 pairs make in a second?",
            "A player sends its next message when its partner's has arrived; all processes of a system on one \
             core. More is better.",
            "round trips a second",
        ),
        bar(
            drawn(idle, false, "kB", |row| Some(vec![rss_kilobytes(row)?])),
            "peers-memory",
            "How much memory does an idle client need, here and elsewhere?",
            "Resident memory of all processes of the system for a connected client that receives \
             nothing.",
            "kB a client",
        ),
    ];
    figures.into_iter().flatten().collect()
}
