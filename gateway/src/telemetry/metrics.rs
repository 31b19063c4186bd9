//! The metrics page: what the engine, the API and the process have counted, in the text format of
//! Prometheus. Counters stay where they are counted; they are read when the page is asked for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pabal_core::engine::Engine;
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
use crate::server::Tls;

/// Upper bounds in seconds: a lookup takes less than a millisecond, a password a few tens.
const DURATION_BOUNDS: [f64; 11] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

type Labels = Vec<(&'static str, String)>;

/// Where the figures come from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The engine's counters.
    pub engine: Engine,
    /// What the transports meter.
    pub transports: Transports,
    /// The connections of clients.
    pub admission: Admission,
    /// The verifications of passwords.
    pub passwords: Passwords,
    /// The other nodes.
    pub(crate) peers: Peers,
    /// The certificate, if clients come by TLS.
    pub tls: Option<Arc<Tls>>,
}

/// Counts API requests, and renders everything.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// A page of what `sources` count.
    pub fn new(sources: Sources) -> Self {
        let mut registry = Registry::default();
        let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        registry.register("pabal_build", "The running program", Info::new(build));
        let requests = Family::default();
        registry.register(
            "pabal_api_requests",
            "Requests of the API service by path template and status",
            requests.clone(),
        );
        let durations: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BOUNDS));
        registry.register_with_unit(
            "pabal_api_request_duration",
            "Time from the headers of a request of the API service to its answer",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register_collector(Box::new(Arc::new(sources)));
        Self { registry, requests, durations }
    }

    /// A request was answered. `path` is a template, never what the client sent: the number of
    /// series stays bounded.
    pub fn answered(&self, method: &str, path: &str, status: u16, took: Duration) {
        let labels = |status: Option<u16>| {
            let mut labels = vec![("method", method.to_owned()), ("path", path.to_owned())];
            labels.extend(status.map(|status| ("status", status.to_string())));
            labels
        };
        self.requests.get_or_create(&labels(Some(status))).inc();
        self.durations.get_or_create(&labels(None)).observe(took.as_secs_f64());
    }

    /// The page as it stands now.
    ///
    /// # Errors
    /// Never in practice: text grows in memory.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.engine.stats();
        gauge(&mut encoder, "pabal_sessions", "Sessions alive", None, stats.sessions)?;
        let owned = "Partitions whose messages this node stores and routes";
        gauge(&mut encoder, "pabal_partitions", owned, None, stats.partitions)?;
        let counters = [
            ("messages_stored", "Messages accepted and durable", stats.messages_stored),
            ("sends_repeated", "Sends that repeated a stored message", stats.sends_repeated),
            (
                "sends_not_confirmed",
                "Sends whose sender was told not_confirmed",
                stats.sends_not_confirmed,
            ),
            (
                "history_batches",
                "Batches appended to history; messages per batch is what group commit gains",
                stats.history_batches,
            ),
            ("deliveries", "Copies of messages and events put into mailboxes", stats.deliveries),
            (
                "events_dropped",
                "Events that are no messages, dropped because too many waited to be routed",
                stats.events_dropped,
            ),
            (
                "pushes_queued",
                "Notifications given to the push queue, or to nobody without a webhook",
                stats.pushes_queued,
            ),
            (
                "pushes_dropped",
                "Notifications dropped because a queue was full or away",
                stats.pushes_dropped,
            ),
            (
                "passwords_verified",
                "Passwords compared with a hash, those of unknown users among them",
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
            ("sessions_expired", "Sessions ended because nobody read them", stats.sessions_expired),
        ];
        for (name, help, value) in counters {
            counter(&mut encoder, &format!("pabal_{name}"), help, None, value)?;
        }
        connections(&mut encoder, &self.admission)?;
        transports(&mut encoder, &self.transports.meters().read())?;
        if let Some(tls) = &self.tls {
            gauge(
                &mut encoder,
                "pabal_tls_certificate_expires_timestamp",
                "When the certificate in use, or one behind it, ends, in Unix time",
                Some(&Unit::Seconds),
                tls.validity().until.as_millis() / 1_000,
            )?;
        }
        if let Ok(runtime) = Handle::try_current() {
            let tasks = runtime.metrics().num_alive_tasks() as u64;
            gauge(
                &mut encoder,
                "pabal_tasks",
                "Tasks of the runtime that have not ended",
                None,
                tasks,
            )?;
        }
        let Some(process) = ProcessReading::now() else {
            return Ok(());
        };
        gauge(
            &mut encoder,
            "process_resident_memory",
            "Memory of the process in RAM",
            Some(&Unit::Bytes),
            process.resident_bytes,
        )?;
        gauge(
            &mut encoder,
            "process_open_fds",
            "Open file descriptors, sockets among them",
            None,
            process.open_fds,
        )?;
        counter(
            &mut encoder,
            "process_cpu",
            "CPU time used, in user and system mode",
            Some(&Unit::Seconds),
            process.cpu_seconds,
        )
    }
}

/// Connections of clients, and those that there was no place for.
fn connections(encoder: &mut DescriptorEncoder<'_>, admission: &Admission) -> fmt::Result {
    let held = "Connections of clients, WebSockets among them";
    gauge(encoder, "pabal_connections", held, None, admission.held() as u64)?;
    let (name, help) = ("pabal_connections_refused", "Connections beyond a bound, by which it was");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    let refused = admission.refused();
    for (bound, count) in [("node", refused.full), ("address", refused.address_full)] {
        ConstCounter::new(count).encode(family.encode_family(&[("bound", bound)])?)?;
    }
    Ok(())
}

/// A family for each thing that is metered, with a series for each transport.
fn transports(encoder: &mut DescriptorEncoder<'_>, readings: &[MeterReading]) -> fmt::Result {
    type Read = fn(&MeterReading) -> u64;
    let families: [(&str, &str, Option<&Unit>, Read); 5] = [
        ("requests", "Requests, and frames from clients", None, |it| it.requests),
        ("empty_answers", "Answers to polls without an event", None, |it| it.empty_answers),
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
    let (name, help) = ("pabal_transport_attached", "Connections and requests that read a session");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for reading in readings {
        let labels = [("transport", reading.name)];
        let attached = ConstGauge::new(reading.attached as u64);
        attached.encode(family.encode_family(&labels)?)?;
    }
    let (name, help) = ("pabal_delivery_latency", "From accepting a message to writing it");
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
