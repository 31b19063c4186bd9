//! `/healthz`, `/readyz` and `/metrics`: for the operator of the node.

use std::time::Duration;

use axum::Json as Reply;
use axum::extract::State;
use http::header::CONTENT_TYPE;
use pabal_core::model::{ChannelId, UserId};
use pabal_core::protocol::{Problem, ProblemCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Failure};

/// How long the readiness check waits for the stores. Shorter than the usual timeout of a probe, so
/// that the probe receives the reason.
const STORES_TIMEOUT: Duration = Duration::from_millis(900);

/// The state of the node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Check that the process is alive
///
/// Does not check the stores: a node whose stores are unavailable must not be restarted for it.
#[utoipa::path(get, path = "/healthz", tag = "operation", security(()),
    responses((status = 200, description = "Alive", body = Health)))]
pub(super) async fn alive() -> Reply<Health> {
    Reply(Health { status: "ok" })
}

/// Check that the node can serve clients
///
/// The directory and history must be available, the files of the data folder must be in place, and
/// the node must not be draining.
#[utoipa::path(get, path = "/readyz", tag = "operation", security(()),
    responses(
        (status = 200, description = "Ready", body = Health),
        (status = 503, description = "`unavailable`, `draining`"),
    ))]
pub(super) async fn ready(State(api): State<Api>) -> Result<Reply<Health>, Failure> {
    if api.draining.is_cancelled() {
        return Err(Problem::new(ProblemCode::Draining, "this node is stopping").into());
    }
    if let Some(reason) = api.sends.folder_gone() {
        tracing::warn!(%reason, "not ready");
        let detail = "the data folder of this node is gone";
        return Err(Problem::new(ProblemCode::Unavailable, detail).into());
    }
    let ports = api.engine.ports();
    let no_channel = [ChannelId::new(0)];
    let reads = async {
        ports.directory.user(UserId::new(0)).await?;
        ports.history.heads(&no_channel).await?;
        Ok::<(), Problem>(())
    };
    match tokio::time::timeout(STORES_TIMEOUT, reads).await {
        Ok(Ok(())) => Ok(Reply(Health { status: "ok" })),
        Ok(Err(problem)) => Err(problem.into()),
        Err(_) => {
            let detail = "the directory or history did not respond in time";
            Err(Problem::new(ProblemCode::Unavailable, detail).into())
        }
    }
}

/// Get metrics for Prometheus, in the OpenMetrics text format
#[utoipa::path(get, path = "/metrics", tag = "operation", security(()),
    responses((status = 200, description = "The metrics", body = String,
        content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(
    State(api): State<Api>,
) -> Result<([(http::HeaderName, &'static str); 1], String), Failure> {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match api.metrics.render() {
        Ok(page) => Ok(([(CONTENT_TYPE, TYPE)], page)),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be rendered");
            Err(Problem::new(ProblemCode::Internal, "the metrics cannot be rendered").into())
        }
    }
}
