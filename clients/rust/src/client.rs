//! A server to talk to, and ways to become somebody there.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Uri};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::base::Base;
use crate::error::Error;
use crate::http::{Ask, Http, json};
use crate::ids::DeviceId;
use crate::model::{Discovered, Situation, User};
use crate::tls::Tls;
use crate::token::Token;

/// A Pabal server, or any node of a cluster. Cheap to clone; clones share connections.
///
/// Calls are not repeated by themselves: [`Error::retryable`] says which may be. (A
/// [`Connection`](crate::Connection) does repeat, by rules of its own.)
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) base: Base,
    pub(crate) http: Http,
    pub(crate) tls: Option<Tls>,
    pub(crate) request_timeout: Duration,
}

/// How a [`Client`] is made.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    url: String,
    authorities: Vec<Vec<u8>>,
    request_timeout: Duration,
}

impl ClientBuilder {
    /// Trusts this certificate authority too, besides those of the system: one or more certificates
    /// as PEM text.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn certificate_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(pem.into());
        self
    }

    /// How long an answer may take; 20 s unless said. A long poll has its own wait on top.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// The client. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the URL is none of a server, or a certificate cannot be read.
    pub fn build(self) -> Result<Client, Error> {
        let Self { url, authorities, request_timeout } = self;
        let base = Base::parse(&url)?;
        let tls = if base.secure { Some(Tls::new(&authorities)?) } else { None };
        let http = Http::new(tls.clone());
        Ok(Client { base, http, tls, request_timeout })
    }
}

/// Body of a sign-up or log-in.
#[derive(Serialize)]
struct Credentials<'a> {
    username: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<&'a str>,
}

#[derive(Deserialize)]
struct LoggedIn {
    user: User,
    token: Token,
    device_id: DeviceId,
}

impl Client {
    /// Begins to make a client of the server at `url`: `http://…` or, with the feature `tls`,
    /// `https://…`.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            url: url.into(),
            authorities: Vec::new(),
            request_timeout: Duration::from_secs(20),
        }
    }

    /// Makes a user and logs them in.
    ///
    /// Usernames have 2 to 32 letters and digits of any script, `_`, `-` and `.`; passwords 8 to 256
    /// bytes.
    ///
    /// # Errors
    /// `username_taken`, `invalid`: do not retry. `rate_limited`, `unavailable`: retry.
    pub async fn sign_up(&self, username: &str, password: &str) -> Result<Account, Error> {
        let body = Credentials { username, password, device_name: None };
        let answer = self.call(Method::POST, "/v1/users", None, Some(&body)).await?;
        Ok(self.account(answer))
    }

    /// Logs a user in on a new device. Earlier log-ins stay valid.
    ///
    /// # Errors
    /// `unauthenticated`: no such user, or another password. `rate_limited`, `unavailable`: retry.
    pub async fn log_in(&self, username: &str, password: &str) -> Result<Account, Error> {
        let body = Credentials { username, password, device_name: None };
        let answer = self.call(Method::POST, "/v1/login", None, Some(&body)).await?;
        Ok(self.account(answer))
    }

    /// The same, with what the user calls this device: up to 64 characters.
    ///
    /// # Errors
    /// As [`log_in`](Self::log_in).
    pub async fn log_in_on(
        &self,
        device_name: &str,
        username: &str,
        password: &str,
    ) -> Result<Account, Error> {
        let body = Credentials { username, password, device_name: Some(device_name) };
        let answer = self.call(Method::POST, "/v1/login", None, Some(&body)).await?;
        Ok(self.account(answer))
    }

    /// Goes on with a token of an earlier log-in, after asking the server whether it still holds.
    ///
    /// # Errors
    /// `unauthenticated` if it has ended: log in.
    pub async fn resume(&self, token: Token) -> Result<Account, Error> {
        #[derive(Deserialize)]
        struct Me {
            user: User,
        }
        let me: Me = self.call(Method::GET, "/v1/me", Some(&token), None::<&()>).await?;
        Ok(Account::new(self.clone(), token, me.user, None))
    }

    /// Where to connect, and how. Needs no log-in.
    ///
    /// # Errors
    /// `invalid` for a location that is none.
    pub async fn discover(&self, situation: &Situation) -> Result<Discovered, Error> {
        let mut query = Vec::new();
        if let Some((north, east)) = situation.location {
            query.push(format!("lat={north}&lon={east}"));
        }
        if let Some(rate) = situation.message_rate {
            query.push(format!("message_rate={rate}"));
        }
        if let Some(latency) = situation.latency {
            query.push(format!("latency_ms={}", latency.as_millis()));
        }
        let path = format!("/v1/discover?{}", query.join("&"));
        self.call(Method::GET, &path, None, None::<&()>).await
    }

    fn account(&self, answer: LoggedIn) -> Account {
        let LoggedIn { user, token, device_id } = answer;
        Account::new(self.clone(), token, user, Some(device_id))
    }

    /// Asks for a JSON document.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        token: Option<&Token>,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let answer = self.ask(method, self.base.at(path)?, token, body).await?;
        Ok(json(&answer)?)
    }

    /// Asks for something to be done.
    pub(crate) async fn ask(
        &self,
        method: Method,
        url: Uri,
        token: Option<&Token>,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, Error> {
        let body = body.map(to_json).transpose()?;
        let ask = Ask { method, url, token, body, within: self.request_timeout };
        Ok(self.http.call(ask).await?)
    }
}

/// A body.
pub(crate) fn to_json(body: &impl Serialize) -> Result<Bytes, Error> {
    let text = serde_json::to_vec(body);
    text.map(Bytes::from).map_err(|error| Error::Configuration(error.to_string()))
}
