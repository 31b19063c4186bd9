//! The paths of the API service, and the middleware of all of them.

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{unknown_method, unknown_path};
use super::{
    Api, blocks, channels, devices, discover, friends, health, landing, login, me, members,
    messages, openapi, password, sync, users,
};

/// Every path with its handler and its description.
fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(users::sign_up, users::search))
        .routes(routes!(users::show))
        .routes(routes!(login::log_in))
        .routes(routes!(login::log_out))
        .routes(routes!(me::show, me::change))
        .routes(routes!(me::show_settings, me::change_settings))
        .routes(routes!(password::change))
        .routes(routes!(devices::list))
        .routes(routes!(devices::delete))
        .routes(routes!(friends::list))
        .routes(routes!(friends::put, friends::delete))
        .routes(routes!(blocks::list))
        .routes(routes!(blocks::put, blocks::delete))
        .routes(routes!(channels::direct))
        .routes(routes!(channels::create, channels::list))
        .routes(routes!(channels::show, channels::rename, channels::delete))
        .routes(routes!(members::list))
        .routes(routes!(members::put, members::delete))
        .routes(routes!(messages::send, messages::list))
        .routes(routes!(sync::sync))
        .routes(routes!(discover::discover))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics_for_client))
}

/// The OpenAPI document of everything that is served over HTTP.
pub fn document() -> utoipa::openapi::OpenApi {
    openapi::complete(described().split_for_parts().1)
}

/// The API service.
///
/// # Errors
/// If the OpenAPI document cannot be serialised, which is a defect.
pub fn router(api: Api) -> serde_json::Result<Router> {
    let (paths, _) = described().split_for_parts();
    let pages = landing::pages(&document())?;
    Ok(complete(paths.merge(pages), api))
}

/// The paths of the administration listener.
pub fn administration(api: Api) -> Router {
    let paths = Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics));
    complete(paths, api)
}

fn complete(paths: Router<Api>, api: Api) -> Router {
    paths
        .route_layer(middleware::from_fn_with_state(api.clone(), meter))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .with_state(api)
}

/// Counts a request under the template of its path.
async fn meter(
    State(api): State<Api>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let (begun, method) = (Instant::now(), request.method().clone());
    let response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    api.metrics.record_request(known(&method), path.as_str(), status, took);
    response
}

/// The method as a label. Clients may invent methods, and must not create time series by it.
fn known(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" | "HEAD" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
