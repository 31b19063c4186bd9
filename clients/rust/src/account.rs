//! A user who is logged in on this device.

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::error::Error;
use crate::ids::{DeviceId, UserId};
use crate::model::User;
use crate::token::Token;

/// A user who is logged in on this device: every call of the API, one request each. Cheap to clone.
///
/// # Errors
/// Besides the errors that it names, every call may fail with
/// - `unauthenticated`: the token has ended; log in again;
/// - `rate_limited`, `unavailable`, `draining`: retry, after [`Error::retry_after`] if it is given;
/// - [`Error::Unreachable`]: the server may have acted. A retry is safe for every call except
///   [`create_group`](Self::create_group);
/// - [`Error::Foreign`]: a proxy responded instead; see [`Error::retryable`].
#[derive(Clone, Debug)]
pub struct Account {
    pub(crate) client: Client,
    pub(crate) token: Token,
    user: User,
    device_id: Option<DeviceId>,
}

impl Account {
    pub(crate) fn new(
        client: Client,
        token: Token,
        user: User,
        device_id: Option<DeviceId>,
    ) -> Self {
        Self { client, token, user, device_id }
    }

    /// The user's profile at the time of the log-in; see [`me`](Self::me) for the current one.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The user's id.
    pub fn user_id(&self) -> UserId {
        self.user.user_id
    }

    /// The device that this log-in created; `None` after [`Client::resume`].
    pub fn device_id(&self) -> Option<DeviceId> {
        self.device_id
    }

    /// The token of this log-in, for [`Client::resume`].
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The server.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the token on every node. Connections that use it end with `unauthenticated`.
    ///
    /// # Errors
    /// See [`Account`]. `unauthenticated` means that the token had ended before.
    pub async fn log_out(&self) -> Result<(), Error> {
        self.done(Method::POST, "/v1/logout").await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.client.call(Method::GET, path, Some(&self.token), None::<&()>).await
    }

    pub(crate) async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        self.client.call(method, path, Some(&self.token), Some(body)).await
    }

    /// Sends a request whose response has no body of interest.
    pub(crate) async fn done(&self, method: Method, path: &str) -> Result<(), Error> {
        let url = self.client.base.at(path)?;
        self.client.request(method, url, Some(&self.token), None::<&()>).await.map(drop)
    }
}
