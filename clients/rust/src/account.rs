//! A user who is logged in on this device.

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{DevicesResponse, after};
use crate::client::Client;
use crate::error::Error;
use crate::ids::{DeviceId, UserId};
use crate::model::{Device, Page, User};
use crate::token::Token;

#[derive(Serialize)]
struct Everywhere {
    everywhere: bool,
}

#[derive(Serialize)]
struct Passwords<'a> {
    old: &'a str,
    new: &'a str,
}

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

    /// Ends every token of the user on every node, this one included.
    ///
    /// # Errors
    /// See [`Account`]. `unauthenticated` means that the token had ended before.
    pub async fn log_out_everywhere(&self) -> Result<(), Error> {
        self.submit(Method::POST, "/v1/logout", &Everywhere { everywhere: true }).await
    }

    /// Changes the password and ends every other token of the user. This one stays valid.
    ///
    /// # Errors
    /// `forbidden` if `old` is not the password, `invalid` for a new one that does not have 8 to 256 bytes:
    /// do not retry. Others: see [`Account`].
    pub async fn change_password(&self, old: &str, new: &str) -> Result<(), Error> {
        self.submit(Method::PUT, "/v1/me/password", &Passwords { old, new }).await
    }

    /// Devices with ids above `from`, at most 200, in rising order of ids. For the next page pass the last id
    /// of this one.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn devices(&self, from: Option<DeviceId>) -> Result<Page<Device>, Error> {
        Ok(self.get::<DevicesResponse>(&after("/v1/me/devices", from)).await?.into())
    }

    /// Ends the tokens of one of the user's devices, which may be this one, on every node.
    ///
    /// # Errors
    /// `not_found` if the user has no such device: do not retry. Others: see [`Account`].
    pub async fn log_device_out(&self, device_id: DeviceId) -> Result<(), Error> {
        self.done(Method::DELETE, &format!("/v1/me/devices/{device_id}")).await
    }

    /// Sends a document; the response has no body of interest.
    async fn submit(&self, method: Method, path: &str, body: &impl Serialize) -> Result<(), Error> {
        let url = self.client.base.at(path)?;
        self.client.request(method, url, Some(&self.token), Some(body)).await.map(drop)
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
