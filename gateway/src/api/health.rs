//! `/healthz`, `/readyz` and `/metrics`: for the operator of the node.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Reply};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, FORWARDED, HeaderName};
use pabal_core::model::{ChannelId, UserId};
use pabal_core::protocol::{Problem, ProblemCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::unknown_path;
use super::request::DirectPeer;
use super::{Api, Failure};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

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
///
/// On the administration listener always. On the listener for clients only for a process on the same
/// machine that connects directly, so without `Forwarded` and `X-Forwarded-For`, unless
/// `server.public_metrics` is set.
#[utoipa::path(get, path = "/metrics", tag = "operation", security(()),
    responses(
        (status = 200, description = "The metrics", body = String,
            content_type = "application/openmetrics-text"),
        (status = 404, description = "`not_found`: the metrics are not for this client"),
    ))]
pub(super) async fn metrics_for_client(
    api: State<Api>,
    peer: Option<Extension<DirectPeer>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let local = peer.is_some_and(|Extension(peer)| is_local(peer, &headers));
    if api.public_metrics || local {
        return metrics(api).await.map(IntoResponse::into_response);
    }
    Err(unknown_path().await)
}

/// Whether a request comes from this machine, by no proxy that names a client. A proxy on this machine
/// passes on the requests of others.
fn is_local(DirectPeer(peer): DirectPeer, headers: &HeaderMap) -> bool {
    let forwarded = headers.contains_key(FORWARDED) || headers.contains_key(X_FORWARDED_FOR);
    peer.to_canonical().is_loopback() && !forwarded
}

/// The metrics, on the administration listener.
pub(super) async fn metrics(
    State(api): State<Api>,
) -> Result<([(HeaderName, &'static str); 1], String), Failure> {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match api.metrics.render() {
        Ok(page) => Ok(([(CONTENT_TYPE, TYPE)], page)),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be rendered");
            Err(Problem::new(ProblemCode::Internal, "the metrics cannot be rendered").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_this_machine_has_a_loopback_peer_and_names_no_client() {
        let local = |peer: &str, header: Option<HeaderName>| {
            let headers = header.map(|name| (name, http::HeaderValue::from_static("x")));
            is_local(DirectPeer(peer.parse().expect("an address")), &headers.into_iter().collect())
        };
        for peer in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert!(local(peer, None), "{peer}");
            assert!(!local(peer, Some(FORWARDED)) && !local(peer, Some(X_FORWARDED_FOR)), "{peer}");
        }
        for peer in ["192.0.2.1", "10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1"] {
            assert!(!local(peer, None), "{peer}");
        }
    }
}
