//! The secret that identifies a user on a device.

use std::fmt;

use http::header::HeaderValue;
use serde::Deserialize;

use crate::error::Error;

/// A bearer token (RFC 6750). It grants everything that its user may do, so `Debug` does not show it, and it
/// is sent only in the `Authorization` header and never in a URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    bearer: HeaderValue,
}

impl Token {
    /// A token that was stored after an earlier log-in. The server is not asked; see
    /// [`Client::resume`](crate::Client::resume).
    ///
    /// # Errors
    /// [`Error::Configuration`] if the text cannot be sent in a header. Do not retry.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let mut bearer = HeaderValue::try_from(format!("Bearer {text}")).map_err(|_| {
            Error::Configuration("not a token: it has characters that a header cannot carry".into())
        })?;
        bearer.set_sensitive(true);
        Ok(Self { text, bearer })
    }

    /// The secret itself. Store it where only the user can read it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    pub(crate) fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}
