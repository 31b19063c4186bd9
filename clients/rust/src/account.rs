//! A user who is logged in on this device.

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::connect::{Connection, Options};
use crate::error::Error;
use crate::ids::{DeviceId, UserId};
use crate::model::User;
use crate::token::Token;

/// A user who is logged in: everything a user may do. Cheap to clone.
///
/// Every call may fail with `unauthenticated` (log in), `unavailable` or `draining` (retry), and
/// with [`Error::Unreachable`] (retry what is idempotent: all but making a group).
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

    /// The user as they were when they logged in.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Their id.
    pub fn user_id(&self) -> UserId {
        self.user.user_id
    }

    /// The device that this log-in made; unknown of a log-in that was resumed.
    pub fn device_id(&self) -> Option<DeviceId> {
        self.device_id
    }

    /// What [`Client::resume`] goes on with.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The server it is logged in to.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the token on every node. Connections that were made with it end with `unauthenticated`.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn log_out(&self) -> Result<(), Error> {
        self.done(Method::POST, "/v1/logout").await
    }

    /// Connects: from now on messages come, on whatever transport gets through.
    ///
    /// Answers when the first session stands: what is said afterwards is received. While the server
    /// is away it waits and tries again, so put a timeout around it if that is not wanted.
    ///
    /// # Errors
    /// What cannot get better by waiting, `unauthenticated` above all. Do not retry.
    pub async fn connect(&self, options: Options) -> Result<Connection, Error> {
        Connection::open(self, options).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.client.call(Method::GET, path, Some(&self.token), None::<&()>).await
    }

    pub(crate) async fn tell<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        self.client.call(method, path, Some(&self.token), Some(body)).await
    }

    /// Asks for something that answers nothing.
    pub(crate) async fn done(&self, method: Method, path: &str) -> Result<(), Error> {
        let url = self.client.base.at(path)?;
        self.client.ask(method, url, Some(&self.token), None::<&()>).await.map(drop)
    }
}
