//! Reading requests: JSON bodies, query parameters and ids in paths. Whatever is wrong with them becomes
//! a problem that names the field. Bodies and JSON are read by the module that the transports use, too.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use pabal_core::engine::BudgetKind;
use pabal_core::model::InvalidId;
use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::http::json;
use pabal_transports::{BodyLimits, read_held_body};
use serde::de::DeserializeOwned;

use super::{Api, Failure, RequestBytes};
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
        let limits = BodyLimits { bytes: api.body_bytes, timeout: api.body_timeout };
        let bytes = request.extensions().get::<RequestBytes>().cloned().unwrap_or_default();
        let mut held = api.engine.budget().reserve(BudgetKind::Bodies, bytes.holder(), 0)?;
        let body = read_held_body(request.into_body(), limits, &mut held).await?;
        bytes.keep_body(held);
        Ok(Self(json::parse(&body)?))
    }
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// An id in the path, or a tuple of several. Text that is not an id names nothing, so it is 404.
#[derive(Debug)]
pub(super) struct PathId<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for PathId<T> {
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

/// The query parameters.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl FromRequestParts<Api> for Parameters {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Failure> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(error) => {
                tracing::debug!(%error, "query not parsed");
                Err(Problem::invalid("query", "must be pairs of percent-encoded UTF-8").into())
            }
        }
    }
}

impl Parameters {
    /// A parameter as text; of a repeated one, the last.
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

    /// The parameter `limit`: how many entries a list has at most.
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

/// The address of the client, for rate limits and the log. The server that accepted the request puts it
/// into the extensions.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

impl FromRequestParts<Api> for ClientAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(Ipv4Addr::UNSPECIFIED.into())))
    }
}

/// The URL by which this client reaches this node: the configured one, or else the host of the request.
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

    #[test]
    fn every_media_type_of_json_is_accepted() {
        assert!(is_json("application/json"));
        assert!(is_json("Application/JSON; charset=utf-8"));
        assert!(is_json("application/vnd.api+json"));
        assert!(!is_json("text/plain"));
        assert!(!is_json("application/x-www-form-urlencoded"));
    }
}
