//! The wire contract as values: problems, events, batches, commands. JSON only; which transport
//! carries it is not known here.

mod problem;
pub mod event;
mod batch;
mod command;

pub use batch::Batch;
pub(crate) use command::MAX_NAME_BYTES;
pub use command::{
    ClientFrame, Command, Cursors, NamedCommand, Reply, parse_client_frame, parse_commands,
};
pub use event::MessageView;
pub use problem::{FieldError, Problem, ProblemCode};
