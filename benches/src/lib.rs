//! What Pabal costs. The binary `measure` runs whole servers and compares them; the criterion benches
//! of this package time the parts. Method and results are in `README.md`.
//!
//! In reading order: [`crowd`] are people on the Rust client, [`cells`] are the claims, [`report`] prints
//! them, [`documents`] publishes them. [`compare`] measures two programs in turns. Servers are started,
//! saturated and drawn by [`pabal_lab`].

pub use pabal_lab::Outcome;

pub mod disk;
pub mod crowd;
pub mod cells;
pub mod compare;
pub mod report;
pub mod documents;
pub mod node;

use pabal_core::model::{Message, MessageId, UserId};

/// A message in the group of [`node::Node`].
pub fn group_message(id: u64, content: &str) -> Message {
    Message {
        message_id: MessageId::new(id),
        channel_id: node::GROUP,
        message_from: UserId::new(359_021_374_210_048),
        message_to: None,
        content: content.into(),
        client_message_id: None,
    }
}

/// How long every criterion bench takes: short, so that all of them take a few minutes. The type is
/// an argument because criterion is known to the benches only.
#[macro_export]
macro_rules! criterion_of {
    ($criterion:ty) => {
        <$criterion>::default()
            .warm_up_time(std::time::Duration::from_millis(500))
            .measurement_time(std::time::Duration::from_millis(1500))
            .sample_size(30)
            .without_plots()
    };
}
