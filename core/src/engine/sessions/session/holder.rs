//! With which token a session is used, and which tokens may not use it any more.

use crate::model::{Timestamp, TokenHash};
use crate::ports::Access;

/// How many revoked tokens of its device a session remembers. A token is revoked when its device gets
/// another one, which takes a log-in, and a request that was authorised before is attached at once.
const REVOKED: usize = 8;

/// The right to use a session: a token of its device, as the directory knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The hash of the token.
    pub token: TokenHash,
    /// When the token expires.
    pub expires_at: Timestamp,
}

impl Grant {
    /// The right that an access gives to sessions of its device.
    pub fn of(access: &Access) -> Self {
        Self { token: access.token, expires_at: access.expires_at }
    }
}

/// The token of the attached reader or, without one, of the last request.
#[derive(Debug)]
pub(super) struct Holder {
    grant: Grant,
    /// The number of the last reader that ended with its token; 0 if there was none.
    ended_reader: u64,
    /// The tokens of the device that were revoked while the session lived, the newest last. Boxed,
    /// because nearly every session has none.
    #[expect(clippy::box_collection, reason = "a pointer a session, and not three words")]
    revoked: Option<Box<Vec<TokenHash>>>,
}

impl Holder {
    pub(super) fn new(grant: Grant) -> Self {
        Self { grant, ended_reader: 0, revoked: None }
    }

    /// The grant of `token`, if it is the holder's and has not ended.
    pub(super) fn granted(&self, token: TokenHash, now: Timestamp) -> Option<Grant> {
        let holds = self.grant.token == token && !self.has_expired(now);
        (holds && !self.knows_ended(self.grant)).then_some(self.grant)
    }

    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.grant.expires_at <= now
    }

    /// Whether the token of `grant` was revoked while the session lived.
    pub(super) fn knows_ended(&self, grant: Grant) -> bool {
        self.revoked.as_ref().is_some_and(|revoked| revoked.contains(&grant.token))
    }

    /// Makes `grant` the holder's, unless its token was revoked.
    pub(super) fn take_over(&mut self, grant: Grant) -> bool {
        let admitted = !self.knows_ended(grant);
        if admitted {
            self.grant = grant;
        }
        admitted
    }

    /// A token was revoked. Returns whether it is the holder's.
    pub(super) fn revoke(&mut self, token: TokenHash) -> bool {
        let revoked = self.revoked.get_or_insert_default();
        if !revoked.contains(&token) {
            if revoked.len() == REVOKED {
                revoked.remove(0);
            }
            revoked.push(token);
        }
        self.grant.token == token
    }

    /// The reader of this number has ended with its token.
    pub(super) fn end(&mut self, reader: u64) {
        self.ended_reader = reader;
    }

    /// Whether this reader has ended with its token.
    pub(super) fn has_ended(&self, reader: u64) -> bool {
        self.ended_reader == reader
    }
}
