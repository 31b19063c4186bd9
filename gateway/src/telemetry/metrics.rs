//! The metrics page in the OpenMetrics text format: counters and gauges of the engine, the API, the
//! transports and the process. Each part keeps its own counters; a request of the page reads them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pabal_core::engine::{BudgetReading, Engine};
use pabal_transports::{Admission, LATENCY_BOUNDS, MeterReading, Transports};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::runtime::Handle;

use super::process::ProcessReading;
use crate::auth::Passwords;
use crate::peers::Peers;
use crate::tls::Tls;

/// Upper bounds of the buckets in seconds. A read of the directory takes less than a millisecond, a
/// password hash a few tens of milliseconds.
const DURATION_BOUNDS: [f64; 11] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

type Labels = Vec<(&'static str, String)>;

/// The parts whose counters are on the page.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The engine.
    pub engine: Engine,
    /// The transports.
    pub transports: Transports,
    /// The connections of clients.
    pub admission: Admission,
    /// The verification of passwords.
    pub passwords: Passwords,
    /// The other nodes.
    pub(crate) peers: Peers,
    /// The certificate, if the node serves TLS.
    pub tls: Option<Arc<Tls>>,
}

/// Counts requests of the API service, and renders the metrics page.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// A page with the metrics of `sources`.
    pub fn new(sources: Sources) -> Self {
        let mut registry = Registry::default();
        let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        registry.register("pabal_build", "Version of the running program", Info::new(build));
        let requests = Family::default();
        registry.register(
            "pabal_api_requests",
            "Requests of the API service, by method, path template and status",
            requests.clone(),
        );
        let durations: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BOUNDS));
        registry.register_with_unit(
            "pabal_api_request_duration",
            "Time from the request headers to the response, for requests of the API service",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register_collector(Box::new(Arc::new(sources)));
        Self { registry, requests, durations }
    }

    /// Counts a request that got a response. `path` is the template of a route, not the path that
    /// the client sent, so that the number of series is bounded.
    pub fn record_request(&self, method: &str, path: &str, status: u16, took: Duration) {
        let labels = |status: Option<u16>| {
            let mut labels = vec![("method", method.to_owned()), ("path", path.to_owned())];
            labels.extend(status.map(|status| ("status", status.to_string())));
            labels
        };
        self.requests.get_or_create(&labels(Some(status))).inc();
        self.durations.get_or_create(&labels(None)).observe(took.as_secs_f64());
    }

    /// The page with the current values.
    ///
    /// # Errors
    /// Never in practice: the text is written to memory.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.engine.stats();
        gauge(&mut encoder, "pabal_sessions", "Open sessions", None, stats.sessions)?;
        let owned = "Partitions that this node owns";
        gauge(&mut encoder, "pabal_partitions", owned, None, stats.partitions)?;
        let counters = [
            ("messages_stored", "Messages stored durably", stats.messages_stored),
            (
                "sends_repeated",
                "Repeated sends, which returned a message stored before",
                stats.sends_repeated,
            ),
            ("sends_not_confirmed", "Sends that returned not_confirmed", stats.sends_not_confirmed),
            (
                "history_batches",
                "Batches appended to history; messages per batch is the gain of group commit",
                stats.history_batches,
            ),
            (
                "deliveries",
                "Messages and events inserted into mailboxes of sessions",
                stats.deliveries,
            ),
            (
                "events_dropped",
                "Events other than messages, dropped because the routing queue was full",
                stats.events_dropped,
            ),
            (
                "pushes_queued",
                "Notifications added to the push queue, or discarded without a webhook",
                stats.pushes_queued,
            ),
            (
                "pushes_dropped",
                "Notifications dropped because a queue was full or unavailable",
                stats.pushes_dropped,
            ),
            (
                "passwords_verified",
                "Passwords compared with a hash, those of unknown users included",
                self.passwords.verified(),
            ),
            (
                "requests_forwarded",
                "Requests forwarded to other nodes, which have the session",
                self.peers.forwarded(),
            ),
            (
                "requests_passed_on",
                "Deprecated name of pabal_requests_forwarded",
                self.peers.forwarded(),
            ),
            ("sessions_opened", "Sessions opened", stats.sessions_opened),
            (
                "sessions_expired",
                "Sessions ended because no client read them within the resume window",
                stats.sessions_expired,
            ),
        ];
        for (name, help, value) in counters {
            counter(&mut encoder, &format!("pabal_{name}"), help, None, value)?;
        }
        budget(&mut encoder, &self.engine.budget().reading())?;
        connections(&mut encoder, &self.admission)?;
        transports(&mut encoder, &self.transports.meters().read())?;
        if let Some(tls) = &self.tls {
            gauge(
                &mut encoder,
                "pabal_tls_certificate_expires_timestamp",
                "Expiry of the certificate chain in use, in Unix time",
                Some(&Unit::Seconds),
                tls.validity().until.as_millis() / 1_000,
            )?;
        }
        if let Ok(runtime) = Handle::try_current() {
            let tasks = runtime.metrics().num_alive_tasks() as u64;
            gauge(&mut encoder, "pabal_tasks", "Tasks of the asynchronous runtime", None, tasks)?;
        }
        let Some(process) = ProcessReading::now() else {
            return Ok(());
        };
        gauge(
            &mut encoder,
            "process_resident_memory",
            "Resident memory of the process",
            Some(&Unit::Bytes),
            process.resident_bytes,
        )?;
        gauge(
            &mut encoder,
            "process_open_fds",
            "Open file descriptors, sockets included",
            None,
            process.open_fds,
        )?;
        counter(
            &mut encoder,
            "process_cpu",
            "CPU time, in user and system mode",
            Some(&Unit::Seconds),
            process.cpu_seconds,
        )
    }
}

/// What the node holds for its clients, and what its limits refused.
fn budget(encoder: &mut DescriptorEncoder<'_>, reading: &BudgetReading) -> fmt::Result {
    let (name, help) = ("pabal_budget", "Bytes that the node holds for its clients");
    let unit = Some(&Unit::Bytes);
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    let kinds = [
        ("answers", reading.answers),
        ("bodies", reading.bodies),
        ("catch_ups", reading.catch_ups),
        ("mailboxes", reading.mailboxes),
    ];
    for (kind, bytes) in kinds {
        let bytes = ConstGauge::new(bytes as u64);
        bytes.encode(family.encode_family(&[("kind", kind)])?)?;
    }
    let refused = "Requests refused because too many bytes were in flight";
    counter(encoder, "pabal_budget_refused", refused, None, reading.refused)?;
    let shed = "Mailboxes emptied because too many bytes were in mailboxes";
    counter(encoder, "pabal_mailboxes_shed", shed, None, reading.shed)
}

/// Connections of clients, and connections refused at capacity.
fn connections(encoder: &mut DescriptorEncoder<'_>, admission: &Admission) -> fmt::Result {
    let held = "Open connections of clients, WebSockets included";
    gauge(encoder, "pabal_connections", held, None, admission.held() as u64)?;
    let (name, help) = ("pabal_connections_refused", "Connections refused at capacity, by limit");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    let refused = admission.refused();
    for (bound, count) in [("node", refused.full), ("address", refused.address_full)] {
        ConstCounter::new(count).encode(family.encode_family(&[("bound", bound)])?)?;
    }
    Ok(())
}

/// A metric family for each counter of the transports, with a series for each transport.
fn transports(encoder: &mut DescriptorEncoder<'_>, readings: &[MeterReading]) -> fmt::Result {
    type Read = fn(&MeterReading) -> u64;
    let families: [(&str, &str, Option<&Unit>, Read); 5] = [
        ("requests", "Requests and WebSocket frames from clients", None, |it| it.requests),
        ("empty_answers", "Responses to polls without an event", None, |it| it.empty_answers),
        ("received", "Bytes received, headers included", Some(&Unit::Bytes), |it| it.bytes_in),
        ("sent", "Bytes sent, headers included", Some(&Unit::Bytes), |it| it.bytes_out),
        ("events_delivered", "Events written to clients", None, |it| it.events),
    ];
    for (name, help, unit, read) in families {
        let name = format!("pabal_transport_{name}");
        let mut family = encoder.encode_descriptor(&name, help, unit, MetricType::Counter)?;
        for reading in readings {
            let labels = [("transport", reading.name)];
            ConstCounter::new(read(reading)).encode(family.encode_family(&labels)?)?;
        }
    }
    let (name, help) =
        ("pabal_transport_attached", "Connections and requests that are reading a session");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for reading in readings {
        let labels = [("transport", reading.name)];
        let attached = ConstGauge::new(reading.attached as u64);
        attached.encode(family.encode_family(&labels)?)?;
    }
    let (name, help) =
        ("pabal_delivery_latency", "Time from accepting a message to writing it to a client");
    let unit = Some(&Unit::Seconds);
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
    for reading in readings.iter().filter(|reading| reading.events > 0) {
        let labels = [("transport", reading.name)];
        let bounds = LATENCY_BOUNDS.iter().map(|&micros| micros as f64 / 1e6);
        let bounds = bounds.chain(std::iter::once(f64::INFINITY));
        let buckets: Vec<(f64, u64)> = bounds.zip(reading.latency.iter().copied()).collect();
        let sum = reading.latency_micros as f64 / 1e6;
        let count = reading.latency.iter().sum();
        family
            .encode_family(&labels)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

fn counter<N>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: N,
) -> fmt::Result
where
    ConstCounter<N>: EncodeMetric,
{
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, unit, counter.metric_type())?)
}

fn gauge<N>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: N,
) -> fmt::Result
where
    ConstGauge<N>: EncodeMetric,
{
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
}
