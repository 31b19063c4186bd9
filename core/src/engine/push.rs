//! Stage 6, push: members of a channel who are not connected anywhere are told through the push
//! queue. It runs beside delivery and never holds a message up.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Engine;
use crate::model::{ChannelId, Message, NotificationLevel};
use crate::ports::{DirectoryError, Notification, PushTarget};

/// As many stored messages as may wait for the question who is away.
const WAITING: usize = 8_192;
/// How long the list of a channel's members is believed.
const BELIEVE: Duration = Duration::from_secs(1);
/// As many lists as are remembered at a time.
const REMEMBER: usize = 256;
/// As many notifications as enter the push queue together, or are dropped together.
const TOGETHER: usize = 512;

/// Where stored messages wait for push.
pub(super) type Pushes = mpsc::Sender<Message>;

pub(super) fn queue() -> (Pushes, mpsc::Receiver<Message>) {
    mpsc::channel(WAITING)
}

/// Members with what they want pushed, and since when this is believed.
type Targets = HashMap<ChannelId, (Instant, Vec<PushTarget>)>;

pub(super) async fn run(engine: Engine, mut waiting: mpsc::Receiver<Message>) {
    let mut targets = Targets::new();
    let mut messages = Vec::new();
    while waiting.recv_many(&mut messages, 256).await > 0 {
        let mut notifications = Vec::new();
        // Who is away is asked once a channel for all messages that wait together.
        let mut away: HashMap<ChannelId, Vec<PushTarget>> = HashMap::new();
        for message in messages.drain(..) {
            let channel_id = message.channel_id;
            if let Entry::Vacant(unknown) = away.entry(channel_id) {
                match engine.away(&mut targets, channel_id).await {
                    Ok(members) => drop(unknown.insert(members)),
                    Err(error) => {
                        engine.inner.stats.pushes_dropped.add(1);
                        tracing::warn!(%error, "nobody was notified of a message");
                    }
                }
            }
            let queued_at = engine.inner.ports.clock.now();
            let members = away.get(&channel_id).into_iter().flatten();
            notifications.extend(members.filter(|target| wants(target, &message)).map(|target| {
                let (user_id, message) = (target.user_id, message.clone());
                Notification { user_id, message, queued_at }
            }));
            while notifications.len() >= TOGETHER {
                let rest = notifications.split_off(TOGETHER);
                engine.enqueue_pushes(notifications).await;
                notifications = rest;
            }
        }
        if !notifications.is_empty() {
            engine.enqueue_pushes(notifications).await;
        }
    }
}

/// Why it is not known who is away.
#[derive(Debug, thiserror::Error)]
enum AwayError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Presence(#[from] crate::ports::PresenceError),
}

impl Engine {
    /// Hands a stored message to push. At the bound it is dropped and counted: the message itself
    /// stands in history.
    pub(super) async fn push_if_away(&self, message: Message) {
        if self.inner.pushes.try_send(message).is_err() {
            self.inner.stats.pushes_dropped.add(1);
        }
    }

    async fn enqueue_pushes(&self, notifications: Vec<Notification>) {
        let count = notifications.len() as u64;
        match self.inner.ports.push.enqueue(notifications).await {
            Ok(()) => self.inner.stats.pushes_queued.add(count),
            Err(error) => {
                self.inner.stats.pushes_dropped.add(count);
                tracing::warn!(%error, count, "notifications were dropped");
            }
        }
    }

    /// The members of a channel who are connected nowhere.
    async fn away(
        &self,
        known: &mut Targets,
        channel_id: ChannelId,
    ) -> Result<Vec<PushTarget>, AwayError> {
        let now = Instant::now();
        let fresh = known.get(&channel_id).is_some_and(|(since, _)| now - *since < BELIEVE);
        if !fresh {
            if known.len() >= REMEMBER {
                known.clear();
            }
            let targets = self.inner.ports.directory.push_targets(channel_id).await?;
            known.insert(channel_id, (now, targets));
        }
        let Some((_, targets)) = known.get(&channel_id) else { return Ok(Vec::new()) };
        let users: Vec<_> = targets.iter().map(|target| target.user_id).collect();
        let online = self.inner.ports.presence.online(&users).await?;
        let away = targets.iter().zip(online).filter(|(_, online)| !online);
        Ok(away.map(|(target, _)| target.clone()).collect())
    }
}

/// Whether a member wants to hear of this message.
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
    fn a_mention_is_a_whole_name_without_case() {
        assert!(mentions("hey @Ann, look", "ann"));
        assert!(mentions("(@ann)", "ann"));
        assert!(mentions("ask @ann.", "ann"));
        assert!(mentions("안녕 @미나!", "미나"));
        assert!(!mentions("hey @annabel", "ann"));
        assert!(!mentions("mail ann@example.org", "ann"));
    }
}
