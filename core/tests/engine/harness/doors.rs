//! The moments in the opening of a session at which something else can be made to happen.

use pabal_core::engine::Engine;
use pabal_core::model::{ChannelId, MessageId, UserId};
use tokio::task::JoinHandle;

use super::{Client, Gate, World, quiet};

/// As many doors as an opening session goes through.
pub(crate) const DOORS: usize = 4;

/// The doors, in the order in which an opening session comes to them: it is present, it has read its
/// memberships, its node's interest is joined, it has read a page of history.
pub(crate) fn door(world: &World, number: usize) -> &Gate {
    [
        &world.presence.after_join,
        &world.directory.after_memberships,
        &world.interest.after_join,
        &world.history.after_page,
    ][number]
}

/// A session of `user`, catching up with all of `channel`, that stands at a door. There must be a
/// message in the channel, and no other session here.
pub(crate) async fn opening_at(
    world: &World,
    number: usize,
    engine: &Engine,
    user: UserId,
    channel: ChannelId,
) -> JoinHandle<Client> {
    door(world, number).shut();
    let (engine, access) = (engine.clone(), world.log_in(user).await);
    let cursors = [(channel, MessageId::new(0))].into();
    let opening = tokio::spawn(async move { Client::open_from(&engine, &access, cursors).await });
    quiet().await;
    assert_eq!(door(world, number).waiting(), 1, "stands at door {number}");
    opening
}
