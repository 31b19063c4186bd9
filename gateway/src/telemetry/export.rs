//! The way of traces to a collector, in OTLP over HTTP. A collector that is away costs the node
//! nothing but the traces: they wait in a bounded queue, which the exporter's own thread empties, and
//! what does not fit is dropped.

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

/// As many spans as wait; beyond it they are dropped.
const WAITING_SPANS: usize = 8_192;
/// As many of them as a request carries.
const SPANS_PER_REQUEST: usize = 512;
/// How long spans gather before they are sent.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest answer: it has nothing to say.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why traces cannot be exported. A retry will not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The URL is none.
    #[error("telemetry.otlp_endpoint: {0}")]
    Url(#[from] http::uri::InvalidUri),
    /// No HTTP client.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The exporter cannot be made.
    #[error("the exporter of traces: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// A running exporter.
#[derive(Clone, Debug)]
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Starts the thread that sends what is collected to `endpoint`; requests run on `runtime`.
    pub(super) fn start(
        endpoint: &str,
        config: &config::Telemetry,
        node: &str,
        runtime: Handle,
    ) -> Result<Self, ExportError> {
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let https = client_for(&url.parse::<Uri>()?)?;
        let away = Arc::new(AtomicBool::new(false));
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Client { https, runtime, away })
            .with_endpoint(url)
            .with_timeout(ANSWER_WITHIN)
            .build()?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(WAITING_SPANS)
            .with_max_export_batch_size(SPANS_PER_REQUEST)
            .with_scheduled_delay(GATHER)
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

    /// Sends what waits, for as long as `within`, and ends. Blocks; the runtime must still run.
    pub(super) fn finish(self, within: Duration) {
        if let Err(error) = self.0.shutdown_with_timeout(within) {
            tracing::warn!(%error, "some traces were not sent");
        }
    }
}

/// Posts on the node's runtime, for an exporter whose thread has none.
#[derive(Clone, Debug)]
struct Client {
    https: Https,
    runtime: Handle,
    /// It is known that the collector does not answer.
    away: Arc<AtomicBool>,
}

impl Client {
    async fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let whole = async {
            let answer = self.https.request(request.map(Full::new)).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(ANSWER_WITHIN, whole).await?
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.clone();
        let answer = self.runtime.spawn(async move { client.post(request).await }).await?;
        let failed = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        // Once when it begins, once when it is over, not with every request.
        let was_away = self.away.swap(failed.is_some(), Ordering::Relaxed);
        match failed {
            Some(error) if !was_away => {
                tracing::warn!(%error, "the collector of traces is away; they are dropped");
            }
            None if was_away => tracing::info!("the collector of traces is back"),
            _ => {}
        }
        answer
    }
}
