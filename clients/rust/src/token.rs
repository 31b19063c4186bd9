//! The secret that stands for a user on a device.

use std::fmt;

use http::header::HeaderValue;
use serde::Deserialize;

use crate::error::Error;

/// A bearer token. Whoever has it is the user: it is not shown by `Debug`, and never sent in a URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    bearer: HeaderValue,
}

impl Token {
    /// A token that was kept from an earlier log-in.
    ///
    /// # Errors
    /// [`Error::Configuration`] if it has characters that no token has.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let mut bearer = HeaderValue::try_from(format!("Bearer {text}"))
            .map_err(|_| Error::Configuration("not a token".into()))?;
        bearer.set_sensitive(true);
        Ok(Self { text, bearer })
    }

    /// The secret itself, to be kept where others cannot read it.
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
