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
    Html(PAGE.replace("HOST", &escaped(&reached.http())))
}

/// A text as HTML shows it: what a client wrote into `Host` must not become markup, whatever the parsers
/// of URLs let pass.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

async fn add_security_headers<B>(mut response: http::Response<B>) -> http::Response<B> {
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_markup_is_escaped() {
        assert_eq!(escaped("http://a&b'\"<c>:80"), "http://a&amp;b&#39;&quot;&lt;c&gt;:80");
        assert_eq!(escaped("https://파발.example"), "https://파발.example");
    }
}
