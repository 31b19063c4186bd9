//! How a client becomes an [`Account`]: by signing up, by logging in, or by a stored token.

use http::Method;
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::client::Client;
use crate::error::Error;
use crate::ids::DeviceId;
use crate::model::User;
use crate::token::Token;

/// Body of a sign-up or log-in.
#[derive(Serialize)]
struct Credentials<'a> {
    username: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<DeviceId>,
}

#[derive(Deserialize)]
struct LoggedIn {
    user: User,
    token: Token,
    device_id: DeviceId,
}

#[derive(Deserialize)]
struct Me {
    user: User,
}

impl Client {
    /// Creates a user and logs them in on a new device.
    ///
    /// A username has 2 to 32 letters and digits of any script, `_`, `-` and `.`; it is stored in lower
    /// case. A password has 8 to 256 bytes.
    ///
    /// # Errors
    /// `username_taken`, `invalid`: do not retry. `rate_limited`, `unavailable`: retry. After
    /// [`Error::Unreachable`] the user may exist: a retry may fail with `username_taken`.
    pub async fn sign_up(&self, username: &str, password: &str) -> Result<Account, Error> {
        let body = Credentials { username, password, device_name: None, device_id: None };
        self.enter("/v1/users", None, &body).await
    }

    /// Logs a user in on a new device. Earlier log-ins stay valid.
    ///
    /// # Errors
    /// `unauthenticated` if there is no such user or the password is wrong: do not retry. `rate_limited`,
    /// `unavailable`, [`Error::Unreachable`]: retry.
    pub async fn log_in(&self, username: &str, password: &str) -> Result<Account, Error> {
        let body = Credentials { username, password, device_name: None, device_id: None };
        self.enter("/v1/login", None, &body).await
    }

    /// Logs a user in on a new device with a name, which has up to 64 characters. Otherwise the same as
    /// [`log_in`](Self::log_in).
    ///
    /// # Errors
    /// As [`log_in`](Self::log_in), and `invalid` for the name: do not retry.
    pub async fn log_in_on(
        &self,
        device_name: &str,
        username: &str,
        password: &str,
    ) -> Result<Account, Error> {
        let body =
            Credentials { username, password, device_name: Some(device_name), device_id: None };
        self.enter("/v1/login", None, &body).await
    }

    /// Gets another token for the device of `account`, whose token must not have ended: the device keeps its
    /// id and its sessions, and both tokens. If it has ended, the user is logged in on a new device.
    ///
    /// # Errors
    /// As [`log_in`](Self::log_in).
    pub async fn log_in_again(&self, account: &Account, password: &str) -> Result<Account, Error> {
        let username = &account.user().username;
        let device_id = account.device_id();
        let body = Credentials { username, password, device_name: None, device_id };
        self.enter("/v1/login", Some(account.token()), &body).await
    }

    /// Continues with the token of an earlier log-in, after the server has confirmed it.
    ///
    /// # Errors
    /// `unauthenticated` if the token has ended: log in again. `unavailable`, [`Error::Unreachable`]: retry.
    pub async fn resume(&self, token: Token) -> Result<Account, Error> {
        let me: Me = self.call(Method::GET, "/v1/me", Some(&token), None::<&()>).await?;
        Ok(Account::new(self.clone(), token, me.user, None))
    }

    async fn enter(
        &self,
        path: &str,
        token: Option<&Token>,
        body: &Credentials<'_>,
    ) -> Result<Account, Error> {
        let LoggedIn { user, token, device_id } =
            self.call(Method::POST, path, token, Some(body)).await?;
        Ok(Account::new(self.clone(), token, user, Some(device_id)))
    }
}
