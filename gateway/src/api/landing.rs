//! `/`, `/openapi.json` and `/docs`: the pages for people with a browser. They load nothing from
//! other hosts.

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
/// Allows only what this server serves itself; Swagger UI writes styles into its page.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";

/// Headers beside those of all responses. `Strict-Transport-Security` is not among them: it binds
/// the whole host with every service on it, so the operator of the host decides about it.
const SECURITY_HEADERS: [(HeaderName, &str); 3] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The pages, which show `document` as the description of the API.
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
    let pages =
        docs.route("/", get(landing)).layer(axum::middleware::map_response(add_security_headers));
    Ok(pages.route("/openapi.json", get(openapi)))
}

async fn landing(ReachedAt(reached): ReachedAt) -> Html<String> {
    // No HTML escaping is needed: an authority, parsed as part of a URL, has no `<`, `>` or `&`.
    Html(PAGE.replace("HOST", &reached.http()))
}

async fn add_security_headers<B>(mut response: http::Response<B>) -> http::Response<B> {
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
