//! `/healthz`, `/readyz` and `/metrics`: for whoever runs the node.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use http::header::CONTENT_TYPE;
use pabal_core::model::{ChannelId, UserId};
use pabal_core::protocol::{Problem, ProblemCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Failure};

/// How long the stores get to answer. Shorter than the usual deadline of a probe, so that the probe
/// hears what is wrong.
const ANSWER_WITHIN: Duration = Duration::from_millis(900);

/// The state of the node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the process is alive.
///
/// Asks nothing else: a node whose stores are away must not be restarted for it.
#[utoipa::path(get, path = "/healthz", tag = "operation", security(()),
    responses((status = 200, description = "Alive", body = Health)))]
pub(super) async fn alive() -> Answer<Health> {
    Answer(Health { status: "ok" })
}

/// Whether the node can serve clients now.
///
/// The directory and history must answer, and the node must not be about to stop.
#[utoipa::path(get, path = "/readyz", tag = "operation", security(()),
    responses(
        (status = 200, description = "Ready", body = Health),
        (status = 503, description = "`unavailable`, `draining`"),
    ))]
pub(super) async fn ready(State(api): State<Api>) -> Result<Answer<Health>, Failure> {
    if api.draining.is_cancelled() {
        return Err(Problem::new(ProblemCode::Draining, "this node is stopping").into());
    }
    let ports = api.engine.ports();
    let nobody = [ChannelId::new(0)];
    let answers = async {
        ports.directory.user(UserId::new(0)).await?;
        ports.history.heads(&nobody).await?;
        Ok::<(), Problem>(())
    };
    match tokio::time::timeout(ANSWER_WITHIN, answers).await {
        Ok(Ok(())) => Ok(Answer(Health { status: "ok" })),
        Ok(Err(problem)) => Err(problem.into()),
        Err(_) => {
            let detail = "the directory or history does not answer in time";
            Err(Problem::new(ProblemCode::Unavailable, detail).into())
        }
    }
}

/// Figures for Prometheus, in its text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", security(()),
    responses((status = 200, description = "The figures", body = String,
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
