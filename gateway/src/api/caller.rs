//! The caller of an API request, from its `Authorization` header. Browsers that open a WebSocket
//! cannot set it; they are the transports' business.

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use pabal_core::model::{TokenHash, UserId};
use pabal_core::ports::Access;
use pabal_core::protocol::{Problem, ProblemCode};

use super::{Api, Failure};

/// Somebody with a valid token.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token, whose it is and until when.
    pub access: Access,
}

impl Caller {
    /// Who calls.
    pub fn user_id(&self) -> UserId {
        self.access.device.user_id
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        let token = bearer(parts).ok_or_else(|| {
            let detail = "send the token of a log-in as Authorization: Bearer";
            Problem::new(ProblemCode::Unauthenticated, detail)
        })?;
        let access = api.engine.authenticate(TokenHash::of(token)).await?;
        api.requests.of_user(access.device.user_id)?;
        Ok(Self { access })
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}
