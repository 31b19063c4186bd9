//! A server: how to reach it, and the calls that need no account.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::Base;
use crate::error::Error;
use crate::http::{Call, Http, json};
use crate::model::{Discovered, Situation};
use crate::tls::Tls;
use crate::token::Token;

/// A Pabal server, or any node of a cluster. Cheap to clone; clones share a pool of connections (HTTP/1.1).
///
/// Each call is one request. Calls are not retried: [`Error::retryable`] says which may be. (A
/// [`Connection`](crate::Connection) retries by its own rules.) The exception is invisible to the caller: an
/// idempotent request is repeated once if the server closed an idle connection at that moment.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) base: Base,
    pub(crate) http: Http,
    pub(crate) tls: Option<Tls>,
    pub(crate) request_timeout: Duration,
}

/// Configures a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    url: String,
    authorities: Vec<Vec<u8>>,
    request_timeout: Duration,
}

impl ClientBuilder {
    /// Trusts this certificate authority in addition to those of the system: one or more certificates as
    /// PEM text. May be called several times.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn certificate_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(pem.into());
        self
    }

    /// How long a response may take; 20 s by default. The wait of a long poll is added to it.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Builds the client. Opens no connection yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the URL is not that of a server (scheme `http` or `https`, no user name,
    /// no query), if it needs the feature `tls`, or if a certificate cannot be read. Do not retry.
    pub fn build(self) -> Result<Client, Error> {
        let Self { url, authorities, request_timeout } = self;
        let base = Base::parse(&url)?;
        let tls = if base.secure { Some(Tls::new(&authorities)?) } else { None };
        let http = Http::new(tls.clone());
        Ok(Client { base, http, tls, request_timeout })
    }
}

impl Client {
    /// Configures a client of the server at `url`: `http://…` or, with the feature `tls`, `https://…`. A
    /// path is a prefix of every request. A client of an `https` URL never uses an unencrypted connection,
    /// whatever URLs the server names.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            url: url.into(),
            authorities: Vec::new(),
            request_timeout: Duration::from_secs(20),
        }
    }

    /// Which nodes are near and have free capacity, and which transport suits the client. Needs no account.
    ///
    /// # Errors
    /// `invalid` for a location outside of ±90° and ±180°: do not retry. `unavailable`,
    /// [`Error::Unreachable`]: retry.
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

    /// Sends a request and parses the JSON of its response.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        token: Option<&Token>,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let response = self.request(method, self.base.at(path)?, token, body).await?;
        Ok(json(&response)?)
    }

    /// Sends a request and returns the body of its response.
    pub(crate) async fn request(
        &self,
        method: Method,
        url: Uri,
        token: Option<&Token>,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, Error> {
        let body = body.map(to_json).transpose()?;
        let call = Call { method, url, token, body, within: self.request_timeout };
        Ok(self.http.call(call).await?)
    }
}

fn to_json(body: &impl Serialize) -> Result<Bytes, Error> {
    let text = serde_json::to_vec(body);
    text.map(Bytes::from).map_err(|error| Error::Configuration(error.to_string()))
}
