//! Passwords and tokens: hashing, issuing, expiry and revocation, and the rate limits of attempts.
//! The caller of a request and its permissions are in [`api`](crate::api).

mod password;
mod token;
mod attempts;
mod expiry;

pub use attempts::Attempts;
pub use expiry::keep_removing_expired;
pub use password::{PasswordError, Passwords};
pub use token::new_token;
