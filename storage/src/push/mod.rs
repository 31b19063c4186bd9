//! The push queue on local disk. Owns how notifications are stored and read; the database and its
//! writer belong to [`embedded`](crate::embedded).

mod codec;
#[cfg(test)]
mod fuzz;
mod stage;
mod fjall;
mod verify;

pub use self::fjall::FjallPushNotifier;

pub(crate) use codec::{decode, encode};
pub(crate) use stage::PushStage;
pub(crate) use verify::verify;
