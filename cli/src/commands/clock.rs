//! `pabal clock`: what an operator says about the clock of the machine.

use clap::Subcommand;
use pabal_core::memory::SystemClock;
use pabal_core::ports::Clock;
use pabal_gateway::control::{Reply, Request, ask};
use pabal_gateway::stores::write_clock_mark;

use super::data::DataFlags;
use super::{CommandError, print};

/// The subcommands of `pabal clock`.
#[derive(Subcommand, Debug)]
pub(crate) enum ClockCommand {
    /// Accept the time that this machine has now: a running node accepts sends again, and a stopped
    /// node starts
    Accept(AcceptCommand),
}

/// The flags of `pabal clock accept`.
#[derive(clap::Args, Debug)]
pub(crate) struct AcceptCommand {
    #[command(flatten)]
    data: DataFlags,
}

impl ClockCommand {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) async fn run(&self) -> Result<(), CommandError> {
        let Self::Accept(AcceptCommand { data }) = self;
        let folder = data.load()?.storage.data_dir;
        let now = SystemClock.now();
        match ask(&folder, &Request::AcceptClock).await? {
            Some(Reply::Done) => {}
            Some(Reply::Failed(reason)) => return Err(CommandError::Clock(reason)),
            None if !folder.is_dir() => return Err(CommandError::NoData(folder)),
            None => write_clock_mark(&folder, now)?,
        }
        Ok(print(&format!("the time {now} is accepted\n"))?)
    }
}
