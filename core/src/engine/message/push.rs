//! Stage push: members of a channel who are offline get a notification through the push queue. It runs
//! in a task of its own and never delays a message.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::engine::stats::Stats;
use crate::model::{ChannelId, Message, NotificationLevel};
use crate::ports::{
    Clock, Directory, DirectoryError, Notification, Presence, PresenceError, PushNotifier,
    PushTarget,
};

/// How many stored messages may wait for the push stage.
const MAX_WAITING: usize = 8_192;
/// How many of them the push stage takes at a time.
const BATCH: usize = 256;
/// How long the cached targets of a channel are used.
const TARGETS_TTL: Duration = Duration::from_secs(1);
/// Of how many channels the targets are cached.
const MAX_CACHED_CHANNELS: usize = 256;
/// How many notifications enter the push queue in one call, or are dropped together.
const MAX_PER_CALL: usize = 512;

/// Where stored messages wait for the push stage.
pub(in crate::engine) struct PushQueue {
    waiting: mpsc::Sender<Message>,
    stats: Arc<Stats>,
}

/// The other end of a [`PushQueue`].
pub(in crate::engine) type PushReceiver = mpsc::Receiver<Message>;

impl PushQueue {
    pub(in crate::engine) fn new(stats: Arc<Stats>) -> (Self, PushReceiver) {
        let (waiting, receiver) = mpsc::channel(MAX_WAITING);
        (Self { waiting, stats }, receiver)
    }

    /// Passes a stored message to the push stage. If the queue is full, its notifications are
    /// dropped and counted. The message itself is in history.
    pub(super) fn offer(&self, message: Message) {
        if self.waiting.try_send(message).is_err() {
            self.stats.pushes_dropped.add(1);
        }
    }
}

/// Finds the members to notify, and queues their notifications.
pub(in crate::engine) struct PushStage {
    pub(in crate::engine) directory: Arc<dyn Directory>,
    pub(in crate::engine) presence: Arc<dyn Presence>,
    pub(in crate::engine) push: Arc<dyn PushNotifier>,
    pub(in crate::engine) clock: Arc<dyn Clock>,
    pub(in crate::engine) stats: Arc<Stats>,
}

/// The members of channels with their notification levels, and when these were read.
type CachedTargets = HashMap<ChannelId, (Instant, Vec<PushTarget>)>;

/// Why the offline members of a channel are not known.
#[derive(Debug, thiserror::Error)]
enum TargetError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Presence(#[from] PresenceError),
}

impl PushStage {
    /// Handles the messages of a queue until its sender is dropped.
    pub(super) async fn run(&self, mut waiting: PushReceiver) {
        let mut cache = CachedTargets::new();
        let mut messages = Vec::new();
        while waiting.recv_many(&mut messages, BATCH).await > 0 {
            self.notify(&mut cache, &mut messages).await;
        }
    }

    async fn notify(&self, cache: &mut CachedTargets, messages: &mut Vec<Message>) {
        let mut notifications = Vec::new();
        // Presence is asked once a channel for all messages that wait together.
        let mut offline: HashMap<ChannelId, Vec<PushTarget>> = HashMap::new();
        for message in messages.drain(..) {
            let channel_id = message.channel_id;
            if let Entry::Vacant(unknown) = offline.entry(channel_id) {
                match self.offline(cache, channel_id).await {
                    Ok(members) => drop(unknown.insert(members)),
                    Err(error) => {
                        self.stats.pushes_dropped.add(1);
                        tracing::warn!(%error, "the notifications of a message were dropped");
                    }
                }
            }
            let queued_at = self.clock.now();
            let members = offline.get(&channel_id).into_iter().flatten();
            notifications.extend(members.filter(|target| wants(target, &message)).map(|target| {
                let (user_id, message) = (target.user_id, message.clone());
                Notification { user_id, message, queued_at }
            }));
            while notifications.len() >= MAX_PER_CALL {
                let rest = notifications.split_off(MAX_PER_CALL);
                self.enqueue(notifications).await;
                notifications = rest;
            }
        }
        if !notifications.is_empty() {
            self.enqueue(notifications).await;
        }
    }

    async fn enqueue(&self, notifications: Vec<Notification>) {
        let count = notifications.len() as u64;
        match self.push.enqueue(notifications).await {
            Ok(()) => self.stats.pushes_queued.add(count),
            Err(error) => {
                self.stats.pushes_dropped.add(count);
                tracing::warn!(%error, count, "notifications were dropped");
            }
        }
    }

    /// The members of a channel without a session on any node.
    async fn offline(
        &self,
        cache: &mut CachedTargets,
        channel_id: ChannelId,
    ) -> Result<Vec<PushTarget>, TargetError> {
        let now = Instant::now();
        let fresh = cache.get(&channel_id).is_some_and(|(read_at, _)| now - *read_at < TARGETS_TTL);
        if !fresh {
            if cache.len() >= MAX_CACHED_CHANNELS {
                cache.clear();
            }
            let targets = self.directory.push_targets(channel_id).await?;
            cache.insert(channel_id, (now, targets));
        }
        let Some((_, targets)) = cache.get(&channel_id) else { return Ok(Vec::new()) };
        let users: Vec<_> = targets.iter().map(|target| target.user_id).collect();
        let online = self.presence.online(&users).await?;
        debug_assert_eq!(online.len(), users.len(), "presence returns a flag for each user");
        let offline = targets.iter().zip(online).filter(|(_, online)| !online);
        Ok(offline.map(|(target, _)| target.clone()).collect())
    }
}

/// Whether a member wants to be notified of this message.
fn wants(target: &PushTarget, message: &Message) -> bool {
    if target.user_id == message.message_from {
        return false;
    }
    match target.level {
        NotificationLevel::All => true,
        NotificationLevel::None => false,
        NotificationLevel::Mentions => {
            message.message_to.is_some() || mentions(&message.content, &target.username)
        }
    }
}

/// Whether `content` holds `@username` as a word.
fn mentions(content: &str, username: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    content.match_indices('@').any(|(at, _)| {
        let name = content[at + 1..].split(|c: char| !part_of_name(c)).next().unwrap_or_default();
        name.trim_end_matches('.').to_lowercase() == username
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mention_is_a_whole_name_in_any_case() {
        assert!(mentions("hey @Ann, look", "ann"));
        assert!(mentions("(@ann)", "ann"));
        assert!(mentions("ask @ann.", "ann"));
        assert!(mentions("안녕 @미나!", "미나"));
        assert!(!mentions("hey @annabel", "ann"));
        assert!(!mentions("mail ann@example.org", "ann"));
    }
}
