//! The steps in the opening of a session between which a test can do something else.

use pabal_core::engine::Engine;
use pabal_core::model::{ChannelId, MessageId, UserId};
use tokio::task::JoinHandle;

use super::{Client, Gate, World, settle};

/// How many steps the opening of a session has.
pub(crate) const OPENING_STEPS: usize = 4;

/// The gate after a step, in their order: the user is present, the memberships are read, the interest
/// of the node is registered, a page of history is read.
pub(crate) fn step_gate(world: &World, number: usize) -> &Gate {
    [
        &world.presence.after_join,
        &world.directory.after_memberships,
        &world.interest.after_join,
        &world.history.after_page,
    ][number]
}

/// Opens a session of `user` that catches up with all of `channel`, and pauses it after a step. The
/// channel must have a message, and the node no other session.
pub(crate) async fn opening_paused_at(
    world: &World,
    number: usize,
    engine: &Engine,
    user: UserId,
    channel: ChannelId,
) -> JoinHandle<Client> {
    step_gate(world, number).close();
    let (engine, access) = (engine.clone(), world.log_in(user).await);
    let cursors = [(channel, MessageId::new(0))].into();
    let opening = tokio::spawn(async move { Client::open_from(&engine, &access, cursors).await });
    settle().await;
    assert_eq!(step_gate(world, number).waiting(), 1, "waits after step {number}");
    opening
}
