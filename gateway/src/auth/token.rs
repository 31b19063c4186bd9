//! Access tokens: opaque and random. Only their hash is stored.

use rand::distr::{Alphanumeric, SampleString};

/// 62^22 is almost 2^131. The token is short because every poll carries it.
const LENGTH: usize = 22;

/// A new token: 22 letters and digits from the operating system's seeded generator.
pub fn new_token() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), LENGTH)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tokens_are_short_and_valid_in_headers_and_subprotocols() {
        let tokens: HashSet<_> = (0..1_000).map(|_| new_token()).collect();
        assert_eq!(tokens.len(), 1_000);
        let plain = |token: &String| token.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(tokens.iter().all(|token| token.len() == LENGTH && plain(token)));
    }
}
