//! The caller of an API request, from its `Authorization` header. The API accepts no token in a
//! subprotocol: only a WebSocket handshake, which the transports serve, needs that.

use axum::extract::FromRequestParts;
use http::request::Parts;
use pabal_core::engine::Holder;
use pabal_core::model::UserId;
use pabal_core::ports::Access;
use pabal_transports::http::bearer;

use super::{Api, Failure, RequestBytes};

/// A user with a valid token.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token, its device and user, and when it expires.
    pub access: Access,
    /// For whom the bytes of the request are in flight.
    pub holder: Holder,
}

impl Caller {
    /// The user.
    pub fn user_id(&self) -> UserId {
        self.access.device.user_id
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        let token = bearer::token(&parts.headers)?;
        let access = api.engine.authenticate(token).await?;
        api.requests.of_user(access.device.user_id)?;
        let bytes = parts.extensions.get::<RequestBytes>().cloned().unwrap_or_default();
        bytes.of_user(access.device.user_id);
        Ok(Self { access, holder: bytes.holder() })
    }
}
