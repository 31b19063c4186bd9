//! The wire contract as values: problems, events, batches and commands, as JSON. It is the same on
//! every transport, and this module does not know the transports.

mod problem;
pub mod event;
mod batch;
mod command;

pub use batch::Batch;
pub use command::{
    ClientFrame, Command, Cursors, MAX_NAME_BYTES, NamedCommand, Reply, check_name,
    parse_client_frame, parse_commands,
};
pub use event::MessageView;
pub use problem::{FieldError, Problem, ProblemCode};
