//! A conversation in rows of a given width: messages with their senders, days and delivery marks. Rows are laid
//! out from the newest message backwards, as many as are needed.

use std::time::Duration;

use pabal_client::{Message, MessageId, UserId};

use super::conversation::{Conversation, Delivery, History, KEPT_OPEN, Outgoing};
use crate::clock::Clock;
use crate::text;

/// Columns at the left for the delivery marks.
pub(crate) const GUTTER: usize = 3;
/// After a pause of this length the name of the same sender is shown again.
const SILENCE: Duration = Duration::from_secs(300);

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// The text above the oldest message in memory.
    Top(&'static str),
    /// The first message of a day follows.
    Day(String),
    /// The first new message follows.
    New,
    /// The sender and the time of a message.
    From(UserId, Option<String>),
    /// A line of a message.
    Said(Option<Mark>, String),
    /// Why a send failed.
    Why(String),
}

/// The delivery mark of a message of the user's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Sending,
    Sent,
    Read,
    Failed,
}

/// How a conversation is laid out.
pub(crate) struct Timeline<'a> {
    pub(crate) conversation: &'a Conversation,
    pub(crate) me: UserId,
    pub(crate) clock: &'a Clock,
    pub(crate) columns: usize,
}

impl Timeline<'_> {
    /// At least the last `rows` rows, or all there are.
    pub(crate) fn tail(&self, rows: usize) -> Vec<Row> {
        let conversation = self.conversation;
        let stored = conversation.messages().len();
        let mut blocks = Vec::new();
        let mut count = 0;
        for at in (0..stored + conversation.outgoing.len()).rev() {
            if count >= rows {
                break;
            }
            let block = match at.checked_sub(stored) {
                None => self.message(at),
                Some(at) => self.outgoing(at),
            };
            count += block.len();
            blocks.push(block);
        }
        if count < rows {
            blocks.extend(self.top().map(|row| vec![row]));
        }
        blocks.into_iter().rev().flatten().collect()
    }

    /// How many rows the message with this id takes; 0 if it is not in memory.
    pub(crate) fn height(&self, message_id: MessageId) -> usize {
        let messages = self.conversation.messages();
        let found = messages.binary_search_by_key(&message_id, |message| message.message_id);
        found.map_or(0, |at| self.message(at).len())
    }

    fn top(&self) -> Option<Row> {
        let conversation = self.conversation;
        match conversation.history {
            _ if conversation.messages().len() >= KEPT_OPEN => {
                Some(Row::Top("older messages are not kept in memory"))
            }
            History::Unknown => None,
            History::Requested => Some(Row::Top("fetching older messages…")),
            History::Part => Some(Row::Top("scroll up for older messages")),
            History::Whole if conversation.messages().is_empty() => {
                Some(Row::Top("no messages yet"))
            }
            History::Whole => Some(Row::Top("start of the conversation")),
        }
    }

    fn message(&self, at: usize) -> Vec<Row> {
        let messages = self.conversation.messages();
        let message = &messages[at];
        let before = at.checked_sub(1).map(|before| &messages[before]);
        let mut rows = Vec::new();
        let same_day =
            |before: &Message| self.clock.same_day(before.created_at, message.created_at);
        let new_day = !before.is_some_and(same_day);
        if new_day {
            rows.push(Row::Day(self.clock.day(message.created_at)));
        }
        let new = self.begins_new(before, message);
        if new {
            rows.push(Row::New);
        }
        let goes_on = |before: &Message| {
            let silence = message.created_at.duration_since(before.created_at).unwrap_or_default();
            before.message_from == message.message_from && silence < SILENCE
        };
        if new_day || new || !before.is_some_and(goes_on) {
            rows.push(Row::From(message.message_from, Some(self.clock.time(message.created_at))));
        }
        let mark = (message.message_from == self.me).then(|| {
            let read = message.message_id <= self.conversation.others_read;
            if read { Mark::Read } else { Mark::Sent }
        });
        self.say(&mut rows, mark, &message.content);
        rows
    }

    fn begins_new(&self, before: Option<&Message>, message: &Message) -> bool {
        self.conversation.new_after.is_some_and(|after| {
            message.message_id > after && before.is_none_or(|before| before.message_id <= after)
        })
    }

    fn outgoing(&self, at: usize) -> Vec<Row> {
        let Outgoing { content, delivery, .. } = &self.conversation.outgoing[at];
        let mut rows = Vec::new();
        let last = self.conversation.messages().back();
        if at == 0 && last.is_none_or(|last| last.message_from != self.me) {
            rows.push(Row::From(self.me, None));
        }
        let mark = match delivery {
            Delivery::Sending => Mark::Sending,
            Delivery::Stored(_) => Mark::Sent,
            Delivery::Failed(_) => Mark::Failed,
        };
        self.say(&mut rows, Some(mark), content);
        if let Delivery::Failed(why) = delivery {
            let why = format!("not sent: {why} (Ctrl-R: retry)");
            rows.extend(text::wrap(&why, self.text_columns()).into_iter().map(Row::Why));
        }
        rows
    }

    fn say(&self, rows: &mut Vec<Row>, mut mark: Option<Mark>, content: &str) {
        let lines = text::wrap(&text::clean(content), self.text_columns());
        rows.extend(lines.into_iter().map(|line| Row::Said(mark.take(), line)));
    }

    fn text_columns(&self) -> usize {
        self.columns.saturating_sub(GUTTER)
    }
}
