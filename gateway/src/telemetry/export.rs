//! The export of traces to a collector, in OTLP over HTTP. Traces wait in a bounded queue, which
//! the thread of the exporter empties. While the collector is unavailable, traces that do not fit
//! are dropped; nothing else is affected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::config;
use crate::https::{Https, HttpsError, client_for};

/// The capacity of the queue, in spans. Beyond it spans are dropped.
const QUEUE_SPANS: usize = 8_192;
/// The most spans in one request.
const SPANS_PER_REQUEST: usize = 512;
/// How long spans are collected before they are sent.
const SEND_INTERVAL: Duration = Duration::from_secs(1);
/// The time limit for a response of the collector.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest response that is read, in bytes.
const RESPONSE_BYTES: usize = 64 * 1024;

/// Why the export of traces cannot start. Do not retry: correct the setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// `telemetry.otlp_endpoint` is not a URL.
    #[error("telemetry.otlp_endpoint: {0}")]
    Url(#[from] http::uri::InvalidUri),
    /// The HTTP client cannot be created.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The exporter cannot be created.
    #[error("cannot create the exporter of traces: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// A running exporter.
#[derive(Clone, Debug)]
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Starts the thread that sends traces to `endpoint`. Its requests run on `runtime`.
    pub(super) fn start(
        endpoint: &str,
        config: &config::Telemetry,
        node: &str,
        runtime: Handle,
    ) -> Result<Self, ExportError> {
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let https = client_for(&url.parse::<Uri>()?)?;
        let failing = Arc::new(AtomicBool::new(false));
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Client { https, runtime, failing })
            .with_endpoint(url)
            .with_timeout(RESPONSE_TIMEOUT)
            .build()?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS)
            .with_max_export_batch_size(SPANS_PER_REQUEST)
            .with_scheduled_delay(SEND_INTERVAL)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let resource = Resource::builder_empty()
            .with_service_name("pabal")
            .with_attribute(opentelemetry::KeyValue::new("service.instance.id", node.to_owned()))
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::TraceIdRatioBased(config.sample_ratio))
            .with_resource(resource)
            .build();
        Ok(Self(provider))
    }

    /// Makes spans of traces of them. Events stay in the log: a trace has spans, ids and nothing else.
    pub(super) fn layer<S>(&self) -> impl Layer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("pabal"));
        layer.with_location(false).with_threads(false)
    }

    /// Sends the waiting traces, for at most `limit`, and ends the thread. Blocks; the runtime must
    /// still run.
    pub(super) fn finish(self, limit: Duration) {
        if let Err(error) = self.0.shutdown_with_timeout(limit) {
            tracing::warn!(%error, "some traces were not sent before the node stopped");
        }
    }
}

/// An HTTP client that runs requests on the runtime of the node: the thread of the exporter has
/// none.
#[derive(Clone, Debug)]
struct Client {
    https: Https,
    runtime: Handle,
    /// The last request failed.
    failing: Arc<AtomicBool>,
}

impl Client {
    async fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let whole = async {
            let response = self.https.request(request.map(Full::new)).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, RESPONSE_BYTES).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(RESPONSE_TIMEOUT, whole).await?
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.clone();
        let response = self.runtime.spawn(async move { client.post(request).await }).await?;
        let error = match &response {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        // Logged at the beginning and the end of an outage, not for every request.
        let was_failing = self.failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_failing => {
                tracing::warn!(%error, "trace collector unavailable; dropping traces");
            }
            None if was_failing => tracing::info!("trace collector available again"),
            _ => {}
        }
        response
    }
}
