//! Who is calling: passwords, tokens, and how often either may be tried. What a caller may do is
//! decided where it is done, in `api`.

mod password;
mod token;
mod attempts;
mod bearer;
mod expiry;
mod endings;

pub use attempts::Attempts;
pub use bearer::Caller;
pub use endings::keep_ending_sessions;
pub use expiry::keep_removing_expired;
pub use password::{PasswordError, Passwords};
pub use token::new_token;
