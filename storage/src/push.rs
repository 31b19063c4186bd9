//! The adapter of the [`PushNotifier`](pabal_core::ports::PushNotifier) port on local disk, a part of
//! the [`embedded`](crate::embedded) store. The one in Redis is in [`redis`](crate::redis).

pub use crate::embedded::FjallPushNotifier;
