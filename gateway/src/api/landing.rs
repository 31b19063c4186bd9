//! `/`, `/openapi.json` and `/docs`: what people see who come with a browser. Nothing on these pages
//! is fetched from anywhere else.

use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderName, HeaderValue};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::Api;
use super::request::ReachedAt;

const PAGE: &str = include_str!("landing.html");
/// Only what this server serves itself; Swagger UI writes styles into its page.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";

/// Beside what all answers have. No `Strict-Transport-Security`: it would bind the whole host, with
/// whatever else is served there, and is for whoever runs that.
const GUARDS: [(HeaderName, &str); 3] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The pages, with `document` as the description they show.
pub(super) fn pages(document: &utoipa::openapi::OpenApi) -> serde_json::Result<Router<Api>> {
    let json = Bytes::from(serde_json::to_vec(document)?);
    // The validator badge would send the document to a third party.
    let config = Config::new(["/openapi.json"])
        .validator_url("none")
        .persist_authorization(false)
        .try_it_out_enabled(true)
        .use_base_layout();
    let docs: Router<Api> = SwaggerUi::new("/docs").config(config).into();
    let shared = Arc::new(json);
    let openapi = move || {
        let json = Bytes::clone(&shared);
        async move { ([(CONTENT_TYPE, "application/json")], json) }
    };
    let guarded = docs.route("/", get(landing)).layer(axum::middleware::map_response(guard));
    Ok(guarded.route("/openapi.json", get(openapi)))
}

async fn landing(ReachedAt(reached): ReachedAt) -> Html<String> {
    // An authority holds none of `<`, `>` and `&`: it was parsed as part of a URL.
    Html(PAGE.replace("HOST", &reached.http()))
}

async fn guard<B>(mut response: http::Response<B>) -> http::Response<B> {
    for (name, value) in GUARDS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
