//! Passwords and tokens: hashing, issuing, expiry and revocation, and the rate limits of attempts.
//! The caller of a request and its permissions are in [`api`](crate::api).

mod hash_queue;
mod password;
mod token;
mod attempts;
mod expiry;

pub use attempts::{Attempt, Attempts};
pub use expiry::{NETWORK_KNOWN_FOR, keep_forgetting_networks, keep_removing_expired};
pub use password::{PasswordError, Passwords};
pub use token::new_token;
