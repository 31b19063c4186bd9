//! How inputs change the state, and which effects follow.

use std::time::Duration;

use pabal_client::{
    Channel, ChannelAction, ChannelId, Cost, Event, FriendState, Message, State as Line, UserId,
};
use tokio::time::Instant;

use super::conversation::{Conversation, Delivery, History, KEPT, KEPT_OPEN};
use super::{Entry, Focus, State};
use crate::input::{Effect, Input, Request, Response};
use crate::panes::Panes;
use crate::text;

/// How many members of a group have their names requested.
pub(crate) const NAMED: usize = 12;
/// The least time between two typing notices.
const TYPING_INTERVAL: Duration = Duration::from_secs(3);

impl State {
    /// The requests at the beginning.
    pub(crate) fn begin() -> Vec<Effect> {
        vec![Effect::Request(Request::Channels), Effect::Request(Request::Friends)]
    }

    /// Applies an input and returns the effects that follow.
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
            Input::Ended(why) => self.complain(format!("{why}. Ctrl-C: quit")),
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
            Input::Responded(request, Ok(response)) => self.responded(&request, response, &mut out),
            Input::Responded(request, Err(why)) => self.refused(&request, why),
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
                // Presence is reported only among friends, so the other user has accepted a request.
                if self.people.friendship(user_id) != Some(FriendState::Friends) {
                    out.push(Effect::Request(Request::Friends));
                }
                self.people.presence(user_id, online);
            }
            Event::Channel { action: ChannelAction::Added, channel_id, .. } => {
                out.push(Effect::Request(Request::Channel(channel_id)));
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
            out.push(Effect::Request(Request::Channel(channel_id)));
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
            // The visible rows stay the same.
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
            // Events other than messages may have been lost while the connection was interrupted.
            (Line::Waiting { .. }, _) => self.stale = true,
            (Line::Connected { .. }, _) if self.stale => {
                self.stale = false;
                out.extend(Self::begin());
            }
            _ => {}
        }
        self.line = line;
    }

    fn responded(&mut self, request: &Request, response: Response, out: &mut Vec<Effect>) {
        match response {
            Response::Channels(channels) => {
                for channel in &channels {
                    self.learn(channel, out);
                }
                let here = |id: &ChannelId| channels.iter().any(|it| it.channel_id == *id);
                self.conversations.retain(|id, it| here(id) || it.is_unknown());
                if self.open.is_some() && self.conversation().is_none() {
                    (self.open, self.focus) = (None, Focus::List);
                }
            }
            Response::Channel(channel) => self.learn(&channel, out),
            Response::Friends(friends) => {
                self.people.only_friends(&friends);
                friends.iter().for_each(|friend| self.meet(friend.user_id, out));
            }
            Response::User(user) => self.people.meet(&user),
            Response::History(messages, more) => self.page(request, messages, more, out),
            Response::Members(members) => {
                let Request::Members(channel_id) = request else { return };
                for member in members.iter().take(NAMED) {
                    self.meet(member.user_id, out);
                }
                if let Some(conversation) = self.conversations.get_mut(channel_id) {
                    let ids = members.iter().map(|member| member.user_id);
                    conversation.members = Some(ids.collect());
                }
            }
            Response::Opened(channel, users) => {
                users.iter().for_each(|user| self.people.meet(user));
                self.learn(&channel, out);
                self.dialog = None;
                self.open(channel.channel_id, out);
            }
            Response::Added(user) => {
                self.people.meet(&user);
                self.dialog = None;
                let name = self.people.name(user.user_id).to_owned();
                self.say(format!("{name} was added"));
            }
            Response::Befriended(friend) => {
                self.people.befriend(&friend);
                let name = self.people.name(friend.user_id).to_owned();
                self.say(match friend.state {
                    FriendState::Friends => format!("you and {name} are friends"),
                    _ => format!("{name} has received your friend request"),
                });
            }
            Response::Repeated(message) => {
                if let Request::Repeat(channel_id, draft, ..) = request
                    && let Some(conversation) = self.conversations.get_mut(channel_id)
                {
                    conversation.sent(*draft, Ok(message.message_id));
                }
            }
        }
    }

    fn refused(&mut self, request: &Request, why: String) {
        match request {
            Request::User(user_id) => return self.people.request_failed(*user_id),
            Request::History(channel_id, _) => {
                if let Some(conversation) = self.conversations.get_mut(channel_id) {
                    let none = conversation.messages().is_empty();
                    conversation.history = if none { History::Unknown } else { History::Part };
                }
            }
            Request::Repeat(channel_id, draft, ..) => {
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

    fn page(
        &mut self,
        request: &Request,
        messages: Vec<Message>,
        more: bool,
        out: &mut Vec<Effect>,
    ) {
        let Request::History(channel_id, _) = request else { return };
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

    /// Requests the profile of a user, unless it is known.
    fn meet(&mut self, user_id: UserId, out: &mut Vec<Effect>) {
        if self.people.needs_request(user_id) {
            out.push(Effect::Request(Request::User(user_id)));
        }
    }

    /// Opens a conversation.
    pub(super) fn open(&mut self, channel_id: ChannelId, out: &mut Vec<Effect>) {
        if let Some(before) = self.open
            && let Some(conversation) = self.conversations.get_mut(&before)
        {
            conversation.new_after = None;
            conversation.trim(KEPT);
        }
        let Some(conversation) = self.conversations.get_mut(&channel_id) else { return };
        conversation.new_after = (conversation.unread > 0).then_some(conversation.read_up_to);
        if conversation.history == History::Unknown {
            conversation.history = History::Requested;
            out.push(Effect::Request(Request::History(channel_id, None)));
        }
        if conversation.peer.is_none() && conversation.members.is_none() {
            out.push(Effect::Request(Request::Members(channel_id)));
        }
        let peer = conversation.peer;
        if peer.and_then(|peer| self.people.friendship(peer)) == Some(FriendState::Requested) {
            // There is no event for an accepted request.
            out.push(Effect::Request(Request::Friends));
        }
        self.open = Some(channel_id);
        self.selected = Some(Entry::Conversation(channel_id));
        (self.scroll, self.focus) = (0, Focus::Writing);
    }

    /// Scrolls up by some rows, or down if the number is negative. Requests older messages near the top.
    pub(super) fn scroll(&mut self, by: isize, out: &mut Vec<Effect>) {
        let wanted = self.scroll.saturating_add_signed(by);
        let Some((timeline, seen)) = self.timeline() else { return };
        let here = timeline.tail(wanted.saturating_add(2 * seen)).len();
        self.scroll = wanted.min(here.saturating_sub(seen));
        let near_the_top = here < wanted.saturating_add(2 * seen);
        let Some(channel_id) = self.open else { return };
        let Some(conversation) = self.conversations.get_mut(&channel_id) else { return };
        let fits = conversation.messages().len() < KEPT_OPEN;
        if by > 0 && near_the_top && fits && conversation.history == History::Part {
            conversation.history = History::Requested;
            let before = conversation.oldest();
            out.push(Effect::Request(Request::History(channel_id, before)));
        }
    }

    /// Marks the visible messages as read.
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

    /// Sends the text that was written.
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
            conversation.new_after = None;
        }
        (self.scroll, self.typing_sent) = (0, None);
        out.push(Effect::Send(channel_id, draft, content.to_owned()));
    }

    /// Sends failed messages again under the same names. A message that the channel holds already is not
    /// stored twice.
    pub(super) fn repeat(&mut self, out: &mut Vec<Effect>) {
        let Some(channel_id) = self.open else { return };
        let Some(conversation) = self.conversations.get_mut(&channel_id) else { return };
        for own in &mut conversation.outgoing {
            if let (Delivery::Failed(_), Some(name)) = (&own.delivery, &own.name) {
                let (content, name) = (own.content.clone(), name.clone());
                out.push(Effect::Request(Request::Repeat(channel_id, own.draft, content, name)));
                own.delivery = Delivery::Sending;
            }
        }
    }

    /// Announces that the user is typing, but not too often.
    pub(super) fn written(&mut self, out: &mut Vec<Effect>) {
        let Some(channel_id) = self.open else { return };
        let recent = |&(there, when): &(ChannelId, Instant)| {
            there == channel_id && self.now < when + TYPING_INTERVAL
        };
        if self.draft().is_empty() || self.typing_sent.as_ref().is_some_and(recent) {
            return;
        }
        self.typing_sent = Some((channel_id, self.now));
        out.push(Effect::Typing(channel_id));
    }
}
