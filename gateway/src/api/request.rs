//! Reading requests: JSON bodies, query parameters and ids in paths. Whatever is wrong with them
//! becomes a problem that names the field.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as _;
use pabal_core::model::InvalidId;
use pabal_core::protocol::{Problem, ProblemCode};
use serde::de::DeserializeOwned;

use super::{Api, Failure};
use crate::config::PublicUrl;

/// A JSON body. Unknown fields are ignored, as the contract says. An empty body counts as `{}`.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Failure> {
        let declared = request.headers().get(CONTENT_TYPE);
        if !declared.is_none_or(|value| value.to_str().is_ok_and(is_json)) {
            let detail = "send the body as application/json";
            return Err(Problem::new(ProblemCode::UnsupportedMediaType, detail).into());
        }
        let too_large = || {
            let detail = format!("the body: at most {} bytes", api.body_bytes);
            Problem::new(ProblemCode::TooLarge, detail)
        };
        // What says itself that it is too large need not arrive first.
        if request.body().size_hint().lower() > api.body_bytes as u64 {
            return Err(too_large().into());
        }
        let body = Limited::new(request.into_body(), api.body_bytes);
        let collected = tokio::time::timeout(api.body_timeout, body.collect())
            .await
            .map_err(|_| Problem::invalid("body", "took too long to arrive"))?;
        let bytes = match collected {
            Ok(collected) => collected.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(too_large().into());
            }
            Err(error) => {
                tracing::debug!(%error, "a body was cut short");
                return Err(Problem::invalid("body", "was cut short").into());
            }
        };
        // The parser would not look into fields that nobody reads.
        let text = std::str::from_utf8(&bytes);
        let text = text.map_err(|_| Problem::invalid("body", "is not UTF-8"))?;
        Ok(Self(parse(if text.is_empty() { "{}" } else { text })?))
    }
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Reads a JSON document; what is wrong is told with the path to the field.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.is_syntax() || error.is_eof() {
            return Problem::invalid("body", format!("is not JSON: {error}"));
        }
        let detail = error.to_string();
        // A missing field is reported at the object that lacks it.
        let missing =
            detail.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        match (missing, path.as_str()) {
            (Some(field), ".") => Problem::invalid(field, "is required"),
            (Some(field), path) => Problem::invalid(format!("{path}.{field}"), "is required"),
            (None, ".") => Problem::invalid("body", detail),
            (None, path) => Problem::invalid(path, detail),
        }
    })?;
    json.end().map_err(|error| Problem::invalid("body", format!("is not JSON: {error}")))?;
    Ok(value)
}

/// One id in the path, or several. What is no id names nothing, so it is not found.
#[derive(Debug)]
pub(super) struct At<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for At<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, api).await {
            Ok(Path(ids)) => Ok(Self(ids)),
            Err(_) => {
                let detail = "an id in the path is a decimal string below 2^63";
                Err(Problem::new(ProblemCode::NotFound, detail).into())
            }
        }
    }
}

/// The parameters behind the question mark.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl FromRequestParts<Api> for Parameters {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Failure> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(error) => Err(Problem::invalid("query", error.body_text()).into()),
        }
    }
}

impl Parameters {
    /// A parameter as text; the last one if it is repeated.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().rev().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// A parameter that is an id.
    pub(super) fn id<T: std::str::FromStr<Err = InvalidId>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        let parsed = self.text(name).map(str::parse).transpose();
        parsed.map_err(|error: InvalidId| Problem::invalid(name, error.to_string()))
    }

    /// A parameter that is a finite number within `range`.
    pub(super) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<f64>,
    ) -> Result<Option<f64>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (start, end) = range.into_inner();
                Err(Problem::invalid(name, format!("must be a number from {start} to {end}")))
            }
        }
    }

    /// How many entries a list is to have.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        const DEFAULT: usize = 50;
        const MOST: usize = 200;
        match self.text("limit").map(str::parse) {
            None => Ok(DEFAULT),
            Some(Ok(limit @ 1..=MOST)) => Ok(limit),
            Some(_) => Err(Problem::invalid("limit", format!("must be 1 to {MOST}"))),
        }
    }
}

/// The address that a request is counted for; put into its extensions by whoever accepted it.
#[derive(Clone, Copy, Debug)]
pub struct From(pub IpAddr);

impl FromRequestParts<Api> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(Ipv4Addr::UNSPECIFIED.into())))
    }
}

/// How this client reaches this node: as configured, else by the name it used.
#[derive(Clone, Debug)]
pub(super) struct ReachedAt(pub(super) PublicUrl);

impl FromRequestParts<Api> for ReachedAt {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        if let Some(url) = &api.public_url {
            return Ok(Self(url.clone()));
        }
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let scheme = if api.fallback_url.secure { "https" } else { "http" };
        let used =
            authority.or(host).and_then(|authority| format!("{scheme}://{authority}").parse().ok());
        Ok(Self(used.unwrap_or_else(|| api.fallback_url.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Body {
        #[expect(dead_code, reason = "only whether it can be read matters")]
        name: String,
        #[expect(dead_code, reason = "only whether it can be read matters")]
        members: Vec<pabal_core::model::UserId>,
    }

    #[test]
    fn what_is_wrong_is_named() {
        let field = |text: &str| {
            let problem = parse::<Body>(text).expect_err("wrong");
            problem.errors[0].field.clone()
        };
        assert_eq!(field(r#"{"name":"a"}"#), "members");
        assert_eq!(field(r#"{"name":7,"members":[]}"#), "name");
        assert_eq!(field(r#"{"name":"a","members":["1",2]}"#), "members[1]");
        assert_eq!(field(r#"{"name":"a","members":["x"]}"#), "members[0]");
        assert_eq!(field(r#"{"name":"#), "body");
        assert_eq!(field("[]"), "body");
        assert_eq!(field(r#"{"name":"a","members":[]} {}"#), "body");
    }

    #[test]
    fn json_has_many_names() {
        assert!(is_json("application/json"));
        assert!(is_json("Application/JSON; charset=utf-8"));
        assert!(is_json("application/vnd.api+json"));
        assert!(!is_json("text/plain"));
        assert!(!is_json("application/x-www-form-urlencoded"));
    }
}
