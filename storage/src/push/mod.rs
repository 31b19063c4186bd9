//! The push queue on local disk. Owns how notifications are kept and read; the database and its
//! writer are [`embedded`](crate::embedded)'s.

mod codec;
#[cfg(test)]
mod fuzz;
mod stage;
mod fjall;
mod verify;

pub use self::fjall::FjallPushNotifier;

#[cfg(feature = "redis")]
pub(crate) use codec::{decode, encode};
pub(crate) use stage::PushStage;
pub(crate) use verify::verify;
