//! The URL of a server, and how the URLs in its responses are resolved.

use http::Uri;
use http::uri::Authority;

use crate::error::Error;

/// The URL of a server: scheme, host, port, and a prefix of every path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) secure: bool,
    authority: Authority,
    prefix: String,
}

impl Base {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Configuration(format!("not the URL of a server: {text:?}"));
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().cloned().ok_or_else(wrong)?;
        // A password in a URL would be written to logs.
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong());
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { secure, authority, prefix })
    }

    /// The URL of a path of the API, `/v1/…`.
    pub(crate) fn at(&self, path: &str) -> Result<Uri, Error> {
        let scheme = if self.secure { "https" } else { "http" };
        let Self { authority, prefix, .. } = self;
        let text = format!("{scheme}://{authority}{prefix}{path}");
        text.parse().map_err(|_| Error::Configuration(format!("not a URL: {text:?}")))
    }

    /// The URL that a response names, relative or absolute. Encrypted if this server is.
    pub(crate) fn resolve(&self, url: &str) -> Result<Uri, Error> {
        if url.starts_with('/') {
            return self.at(url);
        }
        let wrong = || Error::Foreign { status: 200, detail: format!("not a URL: {url:?}") };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = self.secure || matches!(uri.scheme_str(), Some("https" | "wss"));
        let (authority, path) = uri.authority().zip(uri.path_and_query()).ok_or_else(wrong)?;
        let scheme = if secure { "https" } else { "http" };
        format!("{scheme}://{authority}{path}").parse().map_err(|_| wrong())
    }

    /// The server that a response names. Encrypted if this server is.
    pub(crate) fn moved(&self, url: &str) -> Result<Self, Error> {
        let uri = self.resolve(url)?;
        let authority = uri.authority().cloned().unwrap_or_else(|| self.authority.clone());
        let secure = uri.scheme_str() == Some("https");
        // The URL may be that of a session or transport; the part before `/v1/` is the prefix.
        let path = uri.path();
        let prefix = path.split("/v1/").next().unwrap_or(path).trim_end_matches('/').to_owned();
        Ok(Self { secure, authority, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_responses_are_resolved_and_never_lose_encryption() {
        let base = Base::parse("https://chat.example/pabal/").unwrap();
        let url = |text: &str| base.resolve(text).unwrap().to_string();
        assert_eq!(url("/v1/sessions/a/poll"), "https://chat.example/pabal/v1/sessions/a/poll");
        assert_eq!(url("ws://n2.example/v1/x?after=1"), "https://n2.example/v1/x?after=1");
        let moved = base.moved("http://n2.example:81/v1/sessions/a/websocket").unwrap();
        assert_eq!(moved.at("/v1/me").unwrap().to_string(), "https://n2.example:81/v1/me");
        let plain = Base::parse("http://127.0.0.1:8080").unwrap();
        assert_eq!(plain.resolve("ws://h/x").unwrap().to_string(), "http://h/x");
        assert!(plain.moved("wss://h").unwrap().secure);
    }

    #[test]
    fn urls_that_name_no_server_are_rejected() {
        for text in ["", "chat.example", "ftp://x", "http://u:p@x", "http://x/?a=b"] {
            assert!(Base::parse(text).is_err(), "{text}");
        }
    }
}
