//! From history to live messages without gap or repeat (invariant I6).
//!
//! While catch-up reads a channel from history, the session only records the ids of live messages of
//! that channel. If a later id was recorded when a page has been appended, that message is in history
//! too, because no message is routed before it is durable: catch-up then reads another page, until no
//! recorded message is left between history and live.
//!
//! A catch-up ends with its request. What it has not delivered by then becomes a `resync`, so that no live
//! message waits for it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::channel_gates::{CatchUp, MessageEvent};
use super::mailbox::Room;
use super::mailbox_budget::MailboxBudget;
use super::session::Session;
use crate::engine::budget::{Budget, BudgetKind, Reservation};
use crate::engine::limits::Limits;
use crate::model::{ChannelId, MessageId, UserId};
use crate::ports::{Clock, Directory, HistoryStore, PageFrom, PageLimit};
use crate::protocol::{Cursors, MessageView, Problem, event};

/// How many messages are read from history at a time.
const PAGE: usize = 256;
/// How many bytes of JSON are read at a time, and one message more.
const PAGE_BYTES: usize = 128 * 1024;
/// How many mailboxes one catch-up reads at most. It may read more than it delivers: a channel that
/// turns out to be too long is left to a `resync`.
const MAILBOXES: usize = 2;

/// Reads from history what the channels of a session hold above the client's cursors.
pub(in crate::engine) struct CatchUpReader {
    pub(in crate::engine) directory: Arc<dyn Directory>,
    pub(in crate::engine) history: Arc<dyn HistoryStore>,
    pub(in crate::engine) clock: Arc<dyn Clock>,
    pub(in crate::engine) limits: Limits,
    pub(in crate::engine) budget: Budget,
    pub(in crate::engine) mailboxes: Arc<MailboxBudget>,
}

/// What a channel holds above a cursor.
enum Backlog {
    Fits(Vec<MessageEvent>),
    /// More than the mailbox has capacity for.
    TooLong,
}

/// The channels of a catch-up that are not done, each with the newest id that is known. Dropping it
/// announces a `resync` for each of them.
struct Unfinished<'a> {
    session: &'a Session,
    channels: VecDeque<(CatchUp, MessageId)>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        for (catch_up, newest) in &self.channels {
            self.session.resync(catch_up, *newest);
        }
    }
}

/// Closes the gates of these channels: their live messages wait for catch-up.
pub(super) fn begin(session: &Session, cursors: Cursors) -> Vec<CatchUp> {
    let cursors = cursors.into_iter();
    cursors.map(|(channel_id, cursor)| session.begin_catch_up(channel_id, cursor)).collect()
}

impl CatchUpReader {
    /// Counts what a catch-up of this user holds of history at a time.
    ///
    /// # Errors
    /// Those of [`Budget::reserve`].
    pub(super) fn reserve(&self, user_id: UserId) -> Result<Reservation, Problem> {
        let page = PAGE_BYTES + self.limits.message_bytes();
        self.budget.reserve(BudgetKind::CatchUps, user_id.into(), page)
    }

    /// Runs catch-ups that have [begun](begin). If this is dropped, or if it is refused memory, a `resync`
    /// of each channel that is left follows.
    pub(super) async fn finish(
        &self,
        session: &Session,
        catch_ups: Vec<CatchUp>,
        reserved: Result<Reservation, Problem>,
    ) {
        let channels = catch_ups.into_iter().map(|catch_up| (catch_up, catch_up.cursor)).collect();
        let mut unfinished = Unfinished { session, channels };
        let done = match &reserved {
            Ok(_) => self.catch_up_all(session, &mut unfinished.channels).await,
            Err(problem) => Err(problem.clone()),
        };
        if let Err(problem) = done {
            tracing::warn!(detail = problem.detail, "catch-up was cut short");
        }
    }

    /// Takes each channel out of `channels` when it is done.
    async fn catch_up_all(
        &self,
        session: &Session,
        channels: &mut VecDeque<(CatchUp, MessageId)>,
    ) -> Result<(), Problem> {
        // Read from the directory, not from the cache: a client that learns here that it is no
        // longer a member of a channel must learn the same from a synchronisation.
        let memberships = self.directory.memberships(session.user_id()).await?;
        let mine: BTreeSet<_> = memberships.iter().map(|it| it.channel.channel_id).collect();
        channels.retain(|(catch_up, _)| {
            let is_mine = mine.contains(&catch_up.channel_id);
            if !is_mine {
                session.abandon_catch_up(catch_up);
                let payload = event::member(catch_up.channel_id, session.user_id(), false, None);
                session.append_event(self.mailboxes.event(payload, self.clock.now()), None);
            }
            is_mine
        });
        // One call finds the channels without a new message: most of them, when a device returns.
        let ids: Vec<_> = channels.iter().map(|(catch_up, _)| catch_up.channel_id).collect();
        let heads = self.history.heads(&ids).await?;
        debug_assert_eq!(heads.len(), channels.len(), "one head for each channel");
        for ((_, newest), head) in channels.iter_mut().zip(heads) {
            *newest = head;
        }
        let mut allowance = MAILBOXES * self.limits.mailbox_bytes;
        while let Some((catch_up, head)) = channels.front().copied() {
            self.catch_up_channel(session, &catch_up, head, &mut allowance).await?;
            channels.pop_front();
        }
        Ok(())
    }

    /// Catches up with one channel, whose newest message was `head` after its gate closed. Reads about
    /// `allowance` bytes at most.
    async fn catch_up_channel(
        &self,
        session: &Session,
        catch_up: &CatchUp,
        head: MessageId,
        allowance: &mut usize,
    ) -> Result<(), Problem> {
        if !catch_up.began() {
            session.resync(catch_up, head);
            return Ok(());
        }
        if head <= catch_up.cursor {
            session.lower_cursor(catch_up, head);
            if !session.append_catch_up(catch_up, &[]) {
                return Ok(());
            }
        }
        let mut from = catch_up.cursor.min(head);
        loop {
            let room = session.room();
            match self.backlog(catch_up.channel_id, from, room, allowance).await? {
                Backlog::Fits(page) => {
                    from = page.last().map_or(from, |message| message.message_id);
                    if !session.append_catch_up(catch_up, &page) {
                        return Ok(());
                    }
                }
                Backlog::TooLong => {
                    let heads = self.history.heads(&[catch_up.channel_id]).await?;
                    session.resync(catch_up, heads.first().copied().unwrap_or(head));
                    return Ok(());
                }
            }
        }
    }

    /// What a channel holds above `from`, if there is room for it.
    async fn backlog(
        &self,
        channel_id: ChannelId,
        from: MessageId,
        room: Room,
        allowance: &mut usize,
    ) -> Result<Backlog, Problem> {
        let (mut found, mut bytes, mut from) = (Vec::<MessageEvent>::new(), 0, from);
        loop {
            let messages = PAGE.min(room.events - found.len());
            let left = room.bytes.saturating_sub(bytes).min(*allowance);
            let limit = PageLimit { messages, bytes: PAGE_BYTES.min(left) };
            let page = self.history.page(channel_id, PageFrom::After(from), limit).await?;
            for message in &page.messages {
                *allowance = allowance.saturating_sub(MessageView::from(message).max_bytes());
                let caught_up = self.mailboxes.caught_up(message);
                let Some(event) = &caught_up.event else { return Ok(Backlog::TooLong) };
                bytes += event.payload.len();
                if bytes > room.bytes {
                    return Ok(Backlog::TooLong);
                }
                from = message.message_id;
                found.push(caught_up);
            }
            if !page.has_more {
                return Ok(Backlog::Fits(found));
            }
            if found.len() == room.events || *allowance == 0 {
                return Ok(Backlog::TooLong);
            }
        }
    }
}
