//! Bearer tokens (RFC 6750 section 2.1). Tokens travel in a header, never in a URL, where logs and
//! browser histories would keep them.

use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use pabal_core::model::TokenHash;
use pabal_core::protocol::{Problem, ProblemCode};

/// The subprotocol by which a browser, which cannot set headers on a WebSocket, hands over the token.
const SUBPROTOCOL: &str = "pabal.bearer.";

/// The token of the `Authorization` header, hashed. The scheme is case-insensitive.
///
/// # Errors
/// `unauthenticated`, if the header is absent or has another form. Whether the token is valid, the
/// engine says.
pub fn token(headers: &HeaderMap) -> Result<TokenHash, Problem> {
    authorization(headers).map(TokenHash::of).ok_or_else(missing)
}

/// As [`token`], or else the token that a browser offered as the subprotocol `pabal.bearer.<token>` of
/// a WebSocket handshake.
///
/// # Errors
/// As [`token`].
pub fn token_or_subprotocol(headers: &HeaderMap) -> Result<TokenHash, Problem> {
    authorization(headers).or_else(|| offered(headers)).map(TokenHash::of).ok_or_else(missing)
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn offered(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(SUBPROTOCOL))
}

fn missing() -> Problem {
    let detail = "log in and send the token as `Authorization: Bearer <token>`";
    Problem::new(ProblemCode::Unauthenticated, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_is_read_from_the_authorization_header() {
        for value in ["Bearer abc", "bearer  abc ", "BEARER abc"] {
            let headers = headers(&[("authorization", value)]);
            assert_eq!(token(&headers), Ok(TokenHash::of("abc")), "{value}");
            assert_eq!(token_or_subprotocol(&headers), Ok(TokenHash::of("abc")), "{value}");
        }
        for value in ["Basic abc", "abc", "Bearer", ""] {
            let headers = headers(&[("authorization", value)]);
            assert_eq!(token(&headers).unwrap_err(), missing(), "{value}");
        }
        assert_eq!(token(&HeaderMap::new()).unwrap_err(), missing());
    }

    #[test]
    fn a_subprotocol_counts_where_a_browser_opens_a_websocket() {
        let offer = ("sec-websocket-protocol", "pabal.v1, pabal.bearer.abc");
        let offered = headers(&[offer]);
        assert_eq!(token_or_subprotocol(&offered), Ok(TokenHash::of("abc")));
        assert_eq!(token(&offered).unwrap_err(), missing());
        let both = headers(&[offer, ("authorization", "Bearer xyz")]);
        assert_eq!(token_or_subprotocol(&both), Ok(TokenHash::of("xyz")));
    }
}
