//! Everything that the program knows and shows. It changes only by [`State::update`], which has no side effects:
//! it returns what is to be done.

pub(crate) mod conversation;
pub(crate) mod costs;
pub(crate) mod dialog;
pub(crate) mod editor;
mod keys;
pub(crate) mod people;
pub(crate) mod timeline;
mod update;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use pabal_client::{
    ChannelId, ChannelKind, FriendState, Policy, State as Line, Transport, User, UserId,
};
use ratatui::layout::{Rect, Size};
use tokio::time::Instant;

use self::conversation::Conversation;
use self::costs::Costs;
use self::dialog::Dialog;
use self::editor::Editor;
use self::people::People;
use self::timeline::Timeline;
use crate::clock::Clock;
use crate::input::Draft;
use crate::panes::Panes;
use crate::text;

pub(crate) use self::keys::KEYS;
pub(crate) use self::update::NAMED;

/// For how long a notice is shown.
const NOTICE: Duration = Duration::from_secs(8);

/// Everything that the program knows and shows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) me: User,
    pub(crate) clock: Clock,
    pub(crate) size: Size,
    /// The time of the last input.
    pub(crate) now: Instant,
    pub(crate) people: People,
    pub(crate) conversations: BTreeMap<ChannelId, Conversation>,
    /// The conversation that is shown.
    pub(crate) open: Option<ChannelId>,
    /// By how many rows it is scrolled up.
    pub(crate) scroll: usize,
    pub(crate) focus: Focus,
    /// The selected entry of the list, once the user has moved the selection.
    selected: Option<Entry>,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) notice: Option<Notice>,
    pub(crate) policy: Policy,
    pub(crate) line: Line,
    pub(crate) costs: Costs,
    /// Whether events may have been missed since the lists were fetched.
    stale: bool,
    drafts: Draft,
    /// Where and when a typing notice was last sent.
    typing_sent: Option<(ChannelId, Instant)>,
    /// The text that is written while no conversation is open.
    unaddressed: Editor,
}

/// The part of the screen that keys act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Focus {
    List,
    Writing,
}

/// An entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Conversation(ChannelId),
    /// A friend or a user with a friend request, without a conversation so far.
    Person(UserId),
}

/// A short text for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) text: String,
    pub(crate) wrong: bool,
    until: Instant,
}

impl State {
    pub(crate) fn new(me: User, clock: Clock, size: Size, policy: Policy) -> Self {
        let mut people = People::default();
        people.meet(&me);
        Self {
            me,
            clock,
            size,
            now: Instant::now(),
            people,
            conversations: BTreeMap::new(),
            open: None,
            scroll: 0,
            focus: Focus::List,
            selected: None,
            dialog: None,
            notice: None,
            policy,
            line: Line::Connecting,
            costs: Costs::default(),
            stale: false,
            drafts: 0,
            typing_sent: None,
            unaddressed: Editor::default(),
        }
    }

    /// The entries of the list: conversations, the latest first, then users.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut all: Vec<_> = self.conversations.values().collect();
        all.sort_by_key(|conversation| Reverse((conversation.moment(), conversation.channel_id)));
        let channels = all.iter().map(|conversation| Entry::Conversation(conversation.channel_id));
        let met = |user_id| all.iter().any(|conversation| conversation.peer == Some(user_id));
        let people = self.people.friends().filter(|&(user_id, state)| {
            matches!(state, FriendState::Friends | FriendState::Received) && !met(user_id)
        });
        channels.chain(people.map(|(user_id, _)| Entry::Person(user_id))).collect()
    }

    /// The selected entry: the first one, unless the user has moved the selection.
    pub(crate) fn selected(&self) -> Option<Entry> {
        let entries = self.entries();
        self.selected.filter(|entry| entries.contains(entry)).or(entries.first().copied())
    }

    pub(crate) fn conversation(&self) -> Option<&Conversation> {
        self.conversations.get(&self.open?)
    }

    /// The title of a conversation.
    pub(crate) fn title(&self, conversation: &Conversation) -> String {
        match (&conversation.name, conversation.peer) {
            (_, Some(peer)) => self.people.name(peer).to_owned(),
            (Some(name), _) => name.clone(),
            (None, None) => match conversation.kind {
                ChannelKind::Group => "a group".to_owned(),
                _ => "…".to_owned(),
            },
        }
    }

    /// The text that is being written outside of dialogs.
    pub(crate) fn draft(&self) -> &Editor {
        self.conversation().map_or(&self.unaddressed, |conversation| &conversation.draft)
    }

    fn draft_mut(&mut self) -> &mut Editor {
        let open = self.open.and_then(|open| self.conversations.get_mut(&open));
        open.map_or(&mut self.unaddressed, |conversation| &mut conversation.draft)
    }

    pub(crate) fn panes(&self) -> Panes {
        let area = Rect::from((ratatui::layout::Position::ORIGIN, self.size));
        let in_list = self.focus == Focus::List;
        Panes::of(area, in_list, |columns| self.draft().shown(columns).rows.len())
    }

    /// The layout of the open conversation, and how many of its rows are visible.
    pub(crate) fn timeline(&self) -> Option<(Timeline<'_>, usize)> {
        let area = self.panes().timeline;
        let (columns, rows) = (usize::from(area.width), usize::from(area.height));
        let timeline = Timeline {
            conversation: self.conversation()?,
            me: self.me.user_id,
            clock: &self.clock,
            columns,
        };
        (columns > timeline::GUTTER && rows > 0).then_some((timeline, rows))
    }

    fn say(&mut self, text: impl AsRef<str>) {
        self.notify(text.as_ref(), false);
    }

    fn complain(&mut self, text: impl AsRef<str>) {
        self.notify(text.as_ref(), true);
    }

    fn notify(&mut self, text: &str, wrong: bool) {
        self.notice = Some(Notice { text: text::line(text), wrong, until: self.now + NOTICE });
    }
}

/// The name of a policy.
pub(crate) fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Only(transport) => transport_name(transport),
        _ => "auto",
    }
}

/// The name of a transport, the same as on the command line.
pub(crate) fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::WebSocket => "websocket",
        Transport::Sse => "sse",
        Transport::LongPolling => "long-polling",
        Transport::ShortPolling => "polling",
    }
}
