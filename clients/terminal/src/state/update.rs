//! What happened, and what follows from it.

use std::time::Duration;

use pabal_client::{
    Channel, ChannelAction, ChannelId, Cost, Event, FriendState, Message, State as Line, UserId,
};
use tokio::time::Instant;

use super::conversation::{Conversation, Delivery, History, KEPT, KEPT_OPEN};
use super::{Entry, Focus, State};
use crate::input::{Answer, Ask, Effect, Input};
use crate::panes::Panes;
use crate::text;

/// Members of a group whose names are asked for.
pub(crate) const NAMED: usize = 12;
/// Others are told that the user writes no more often.
const TELL: Duration = Duration::from_secs(3);

impl State {
    /// What to ask at the beginning.
    pub(crate) fn begin() -> Vec<Effect> {
        vec![Effect::Ask(Ask::Channels), Effect::Ask(Ask::Friends)]
    }

    /// Takes in what happened, and answers what is to be done.
    pub(crate) fn update(&mut self, now: Instant, input: Input) -> Vec<Effect> {
        self.now = now;
        self.people.expire(now);
        self.notice.take_if(|notice| notice.until <= now);
        let mut out = Vec::new();
        match input {
            Input::Key(key) => self.key(key, &mut out),
            Input::Paste(text) => self.paste(&text, &mut out),
            Input::Resize(size) => self.size = size,
            Input::Event(event) => self.event(event, &mut out),
            Input::Ended(why) => self.complain(format!("{why}. Ctrl-C leaves")),
            Input::Line(line, cost) => self.line(line, cost, &mut out),
            Input::Named(channel_id, draft, name) => {
                let own = self.conversations.get_mut(&channel_id);
                let mut own = own.into_iter().flat_map(|it| &mut it.outgoing);
                if let Some(own) = own.find(|own| own.draft == draft) {
                    own.name = Some(name);
                }
            }
            Input::Sent(channel_id, draft, outcome) => {
                if let Some(conversation) = self.conversations.get_mut(&channel_id) {
                    conversation.sent(draft, outcome);
                }
            }
            Input::Answered(ask, Ok(answer)) => self.answered(&ask, answer, &mut out),
            Input::Answered(ask, Err(why)) => self.refused(&ask, why),
        }
        self.look(&mut out);
        out
    }

    fn event(&mut self, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Message(message) => {
                self.costs.delivered();
                self.people.stopped(message.channel_id, message.message_from);
                self.message(message, out);
            }
            Event::Read { channel_id, user_id, message_id } => {
                let me = self.me.user_id;
                if let Some(conversation) = self.conversations.get_mut(&channel_id) {
                    if user_id == me {
                        conversation.read_elsewhere(message_id, me);
                    } else {
                        conversation.others_read = conversation.others_read.max(message_id);
                    }
                }
            }
            Event::Typing { channel_id, user_id } if user_id != self.me.user_id => {
                self.meet(user_id, out);
                self.people.types(channel_id, user_id, self.now);
            }
            Event::Presence { user_id, online } => {
                // Only friends are told, so that one who was asked has accepted.
                if self.people.friendship(user_id) != Some(FriendState::Friends) {
                    out.push(Effect::Ask(Ask::Friends));
                }
                self.people.presence(user_id, online);
            }
            Event::Channel { action: ChannelAction::Added, channel_id, .. } => {
                out.push(Effect::Ask(Ask::Channel(channel_id)));
            }
            Event::Channel { action: ChannelAction::Deleted, channel_id, .. } => {
                self.left(channel_id);
            }
            Event::Channel { channel_id, name, .. } => {
                if let Some(conversation) = self.conversations.get_mut(&channel_id) {
                    conversation.name =
                        name.as_deref().map(text::line).or(conversation.name.take());
                }
            }
            Event::Member { channel_id, user_id, joined, .. } => {
                self.member(channel_id, user_id, joined, out);
            }
            _ => {}
        }
    }

    fn message(&mut self, message: Message, out: &mut Vec<Effect>) {
        let (channel_id, message_id) = (message.channel_id, message.message_id);
        let mine = message.message_from == self.me.user_id;
        self.meet(message.message_from, out);
        if !self.conversations.contains_key(&channel_id) {
            out.push(Effect::Ask(Ask::Channel(channel_id)));
        }
        let unknown = || Conversation::unknown(channel_id);
        let conversation = self.conversations.entry(channel_id).or_insert_with(unknown);
        let unread = message_id > conversation.read_up_to && !mine;
        if !conversation.insert(message) {
            return;
        }
        conversation.unread += u64::from(unread);
        let open = self.open == Some(channel_id);
        conversation.trim(if open { KEPT_OPEN } else { KEPT });
        if open && self.scroll > 0 {
            // What is looked at stays where it is.
            let grown = self.timeline().map_or(0, |(timeline, _)| timeline.height(message_id));
            self.scroll += grown;
        }
    }

    fn member(
        &mut self,
        channel_id: ChannelId,
        user_id: UserId,
        joined: bool,
        out: &mut Vec<Effect>,
    ) {
        if user_id == self.me.user_id && !joined {
            return self.left(channel_id);
        }
        let conversation = self.conversations.get_mut(&channel_id);
        if let Some(members) = conversation.and_then(|it| it.members.as_mut()) {
            if joined {
                members.insert(user_id);
            } else {
                members.remove(&user_id);
            }
        }
        self.meet(user_id, out);
    }

    fn left(&mut self, channel_id: ChannelId) {
        let Some(conversation) = self.conversations.remove(&channel_id) else { return };
        let title = self.title(&conversation);
        self.say(format!("you are no longer in {title}"));
        if self.open == Some(channel_id) {
            (self.open, self.focus) = (None, Focus::List);
        }
    }

    fn line(&mut self, line: Line, cost: Cost, out: &mut Vec<Effect>) {
        self.costs.sample(line.transport(), cost);
        match (&line, &self.line) {
            // It was away for a while: typing, presence and the like are not made up for.
            (Line::Waiting { .. }, _) => self.stale = true,
            (Line::Connected { .. }, _) if self.stale => {
                self.stale = false;
                out.extend(Self::begin());
            }
            _ => {}
        }
        self.line = line;
    }

    fn answered(&mut self, ask: &Ask, answer: Answer, out: &mut Vec<Effect>) {
        match answer {
            Answer::Channels(channels) => {
                for channel in &channels {
                    self.learn(channel, out);
                }
                let here = |id: &ChannelId| channels.iter().any(|it| it.channel_id == *id);
                self.conversations.retain(|id, it| here(id) || it.is_unknown());
                if self.open.is_some() && self.conversation().is_none() {
                    (self.open, self.focus) = (None, Focus::List);
                }
            }
            Answer::Channel(channel) => self.learn(&channel, out),
            Answer::Friends(friends) => {
                self.people.only_friends(&friends);
                friends.iter().for_each(|friend| self.meet(friend.user_id, out));
            }
            Answer::User(user) => self.people.meet(&user),
            Answer::History(messages, more) => self.page(ask, messages, more, out),
            Answer::Members(members) => {
                let Ask::Members(channel_id) = ask else { return };
                for member in members.iter().take(NAMED) {
                    self.meet(member.user_id, out);
                }
                if let Some(conversation) = self.conversations.get_mut(channel_id) {
                    let ids = members.iter().map(|member| member.user_id);
                    conversation.members = Some(ids.collect());
                }
            }
            Answer::Opened(channel, users) => {
                users.iter().for_each(|user| self.people.meet(user));
                self.learn(&channel, out);
                self.dialog = None;
                self.open(channel.channel_id, out);
            }
            Answer::Added(user) => {
                self.people.meet(&user);
                self.dialog = None;
                let name = self.people.name(user.user_id).to_owned();
                self.say(format!("{name} was added"));
            }
            Answer::Befriended(friend) => {
                self.people.befriend(&friend);
                let name = self.people.name(friend.user_id).to_owned();
                self.say(match friend.state {
                    FriendState::Friends => format!("you and {name} are friends"),
                    _ => format!("{name} was asked to be your friend"),
                });
            }
            Answer::Repeated(message) => {
                if let Ask::Repeat(channel_id, draft, ..) = ask
                    && let Some(conversation) = self.conversations.get_mut(channel_id)
                {
                    conversation.sent(*draft, Ok(message.message_id));
                }
            }
        }
    }

    fn refused(&mut self, ask: &Ask, why: String) {
        match ask {
            Ask::User(user_id) => return self.people.unanswered(*user_id),
            Ask::History(channel_id, _) => {
                if let Some(conversation) = self.conversations.get_mut(channel_id) {
                    let none = conversation.messages().is_empty();
                    conversation.history = if none { History::Unknown } else { History::Part };
                }
            }
            Ask::Repeat(channel_id, draft, ..) => {
                if let Some(conversation) = self.conversations.get_mut(channel_id) {
                    conversation.sent(*draft, Err(why));
                }
                return;
            }
            _ => {}
        }
        self.complain(why);
    }

    fn learn(&mut self, channel: &Channel, out: &mut Vec<Effect>) {
        let channel_id = channel.channel_id;
        let unknown = || Conversation::unknown(channel_id);
        self.conversations.entry(channel_id).or_insert_with(unknown).learn(channel);
        if let Some(peer) = channel.peer_user_id {
            self.meet(peer, out);
        }
    }

    fn page(&mut self, ask: &Ask, messages: Vec<Message>, more: bool, out: &mut Vec<Effect>) {
        let Ask::History(channel_id, _) = ask else { return };
        for message in &messages {
            self.meet(message.message_from, out);
        }
        let Some(conversation) = self.conversations.get_mut(channel_id) else { return };
        for message in messages {
            conversation.insert(message);
        }
        conversation.history = if more { History::Part } else { History::Whole };
        if self.open != Some(*channel_id) {
            conversation.trim(KEPT);
        }
    }

    /// Asks who that is, unless it is known.
    fn meet(&mut self, user_id: UserId, out: &mut Vec<Effect>) {
        if self.people.is_stranger(user_id) {
            out.push(Effect::Ask(Ask::User(user_id)));
        }
    }

    /// Goes to a conversation.
    pub(super) fn open(&mut self, channel_id: ChannelId, out: &mut Vec<Effect>) {
        if let Some(before) = self.open
            && let Some(conversation) = self.conversations.get_mut(&before)
        {
            conversation.new_behind = None;
            conversation.trim(KEPT);
        }
        let Some(conversation) = self.conversations.get_mut(&channel_id) else { return };
        conversation.new_behind = (conversation.unread > 0).then_some(conversation.read_up_to);
        if conversation.history == History::Unknown {
            conversation.history = History::Asked;
            out.push(Effect::Ask(Ask::History(channel_id, None)));
        }
        if conversation.peer.is_none() && conversation.members.is_none() {
            out.push(Effect::Ask(Ask::Members(channel_id)));
        }
        let peer = conversation.peer;
        if peer.and_then(|peer| self.people.friendship(peer)) == Some(FriendState::Requested) {
            // No event tells whether they have accepted.
            out.push(Effect::Ask(Ask::Friends));
        }
        self.open = Some(channel_id);
        self.selected = Some(Entry::Conversation(channel_id));
        (self.scroll, self.focus) = (0, Focus::Writing);
    }

    /// Scrolls up by some rows, or down if they are negative; asks for what is missing above.
    pub(super) fn scroll(&mut self, by: isize, out: &mut Vec<Effect>) {
        let wanted = self.scroll.saturating_add_signed(by);
        let Some((timeline, seen)) = self.timeline() else { return };
        let here = timeline.tail(wanted.saturating_add(2 * seen)).len();
        self.scroll = wanted.min(here.saturating_sub(seen));
        let near_the_top = here < wanted.saturating_add(2 * seen);
        let Some(channel_id) = self.open else { return };
        let Some(conversation) = self.conversations.get_mut(&channel_id) else { return };
        let room = conversation.messages().len() < KEPT_OPEN;
        if by > 0 && near_the_top && room && conversation.history == History::Part {
            conversation.history = History::Asked;
            let before = conversation.oldest();
            out.push(Effect::Ask(Ask::History(channel_id, before)));
        }
    }

    /// What is seen has been read.
    fn look(&mut self, out: &mut Vec<Effect>) {
        let seen = Panes::wide(self.size.width) || self.focus == Focus::Writing;
        if !seen || self.scroll > 0 || self.dialog.is_some() {
            return;
        }
        let Some(channel_id) = self.open else { return };
        let Some(conversation) = self.conversations.get_mut(&channel_id) else { return };
        let newest = conversation.messages().back().map(|message| message.message_id);
        let Some(newest) = newest.filter(|id| *id > conversation.read_up_to) else { return };
        let fresh = conversation.messages().iter().rev();
        let mut fresh = fresh.take_while(|message| message.message_id > conversation.read_up_to);
        let of_others = fresh.any(|message| message.message_from != self.me.user_id);
        if of_others || conversation.unread > 0 {
            out.push(Effect::Read(channel_id, newest));
        }
        (conversation.read_up_to, conversation.unread) = (newest, 0);
    }

    /// Sends what was written.
    pub(super) fn send(&mut self, out: &mut Vec<Effect>) {
        let Some(channel_id) = self.open else {
            return self.complain("open a conversation first: Tab, then n for a new one");
        };
        let content = self.draft_mut().take();
        let content = content.trim_end();
        if content.trim().is_empty() {
            return;
        }
        self.drafts += 1;
        let draft = self.drafts;
        if let Some(conversation) = self.conversations.get_mut(&channel_id) {
            conversation.outgoing.push(super::conversation::Outgoing {
                draft,
                name: None,
                content: content.to_owned(),
                delivery: Delivery::Sending,
            });
            conversation.new_behind = None;
        }
        (self.scroll, self.told) = (0, None);
        out.push(Effect::Send(channel_id, draft, content.to_owned()));
    }

    /// Sends again what could not be sent, under the same names: what the channel has already, it
    /// does not take twice.
    pub(super) fn repeat(&mut self, out: &mut Vec<Effect>) {
        let Some(channel_id) = self.open else { return };
        let Some(conversation) = self.conversations.get_mut(&channel_id) else { return };
        for own in &mut conversation.outgoing {
            if let (Delivery::Failed(_), Some(name)) = (&own.delivery, &own.name) {
                let (content, name) = (own.content.clone(), name.clone());
                out.push(Effect::Ask(Ask::Repeat(channel_id, own.draft, content, name)));
                own.delivery = Delivery::Sending;
            }
        }
    }

    /// Tells others that the user is writing, not too often.
    pub(super) fn written(&mut self, out: &mut Vec<Effect>) {
        let Some(channel_id) = self.open else { return };
        let told =
            |&(there, when): &(ChannelId, Instant)| there == channel_id && self.now < when + TELL;
        if self.draft().is_empty() || self.told.as_ref().is_some_and(told) {
            return;
        }
        self.told = Some((channel_id, self.now));
        out.push(Effect::Typing(channel_id));
    }
}
