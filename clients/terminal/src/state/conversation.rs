//! A channel as the user has it: what was said there as far as it was fetched, what is on its way,
//! and what is being written.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pabal_client::{Channel, ChannelId, ChannelKind, Message, MessageId, UserId};

use super::editor::Editor;
use crate::input::Draft;
use crate::text;

/// Messages kept of the conversation that is open, and of each other one.
pub(crate) const KEPT_OPEN: usize = 5_000;
pub(crate) const KEPT: usize = 200;

/// A channel as the user has it.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) channel_id: ChannelId,
    pub(crate) kind: ChannelKind,
    /// A group's name.
    pub(crate) name: Option<String>,
    /// The other user of a direct one.
    pub(crate) peer: Option<UserId>,
    /// The newest message there is, fetched or not.
    pub(crate) last: MessageId,
    /// When it was made, as the id a message would have had then; once the server has said.
    made: Option<u64>,
    pub(crate) unread: u64,
    pub(crate) read_up_to: MessageId,
    /// How far the one of the others who is furthest has read.
    pub(crate) others_read: MessageId,
    /// Behind which message the line stands that says what is new.
    pub(crate) new_behind: Option<MessageId>,
    pub(crate) members: Option<BTreeSet<UserId>>,
    messages: VecDeque<Message>,
    pub(crate) outgoing: Vec<Outgoing>,
    pub(crate) history: History,
    pub(crate) draft: Editor,
}

/// How much of the past is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// Only what came by itself.
    Unknown,
    /// A page was asked for.
    Asked,
    /// Without a gap up to now, and there is more.
    Part,
    /// From the beginning.
    Whole,
}

/// A message of one's own on its way.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) draft: Draft,
    /// By which it is known when it comes back.
    pub(crate) name: Option<String>,
    pub(crate) content: String,
    pub(crate) delivery: Delivery,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Sending,
    /// Durable; the event with it is to come.
    Stored(MessageId),
    Failed(String),
}

impl Conversation {
    /// One of which nothing is known yet.
    pub(crate) fn unknown(channel_id: ChannelId) -> Self {
        Self {
            channel_id,
            kind: ChannelKind::Unknown,
            name: None,
            peer: None,
            last: MessageId::START,
            made: None,
            unread: 0,
            read_up_to: MessageId::START,
            others_read: MessageId::START,
            new_behind: None,
            members: None,
            messages: VecDeque::new(),
            outgoing: Vec::new(),
            history: History::Unknown,
            draft: Editor::default(),
        }
    }

    /// Whether the server is still to say what it is.
    pub(crate) fn is_unknown(&self) -> bool {
        self.made.is_none()
    }

    /// What the server says of it. It may have been overtaken by events.
    pub(crate) fn learn(&mut self, channel: &Channel) {
        self.kind = channel.kind;
        self.name = channel.name.as_deref().map(text::line);
        self.peer = channel.peer_user_id;
        self.made = Some(id_at(channel.created_at));
        self.read_up_to = self.read_up_to.max(channel.read_up_to);
        if channel.last_message_id >= self.last {
            self.last = channel.last_message_id;
            self.unread = if self.read_up_to >= self.last { 0 } else { channel.unread };
        }
    }

    /// By what conversations are ordered: when something was last said, or it was made.
    pub(crate) fn moment(&self) -> u64 {
        self.last.get().max(self.made.unwrap_or_default())
    }

    pub(crate) fn messages(&self) -> &VecDeque<Message> {
        &self.messages
    }

    /// Takes a message in at its place. Whether it is new.
    pub(crate) fn insert(&mut self, message: Message) -> bool {
        self.last = self.last.max(message.message_id);
        self.outgoing.retain(|own| {
            let named = own.name.is_some() && own.name == message.client_message_id;
            !named && own.delivery != Delivery::Stored(message.message_id)
        });
        let by_id = |held: &Message| held.message_id;
        match self.messages.binary_search_by_key(&message.message_id, by_id) {
            Ok(_) => false,
            Err(at) => {
                self.messages.insert(at, message);
                true
            }
        }
    }

    /// The oldest message that is here.
    pub(crate) fn oldest(&self) -> Option<MessageId> {
        self.messages.front().map(|message| message.message_id)
    }

    /// Forgets the oldest messages beyond `most`. They can be fetched again.
    pub(crate) fn trim(&mut self, most: usize) {
        if self.messages.len() > most {
            self.messages.drain(..self.messages.len() - most);
            if self.history == History::Whole {
                self.history = History::Part;
            }
        }
    }

    /// A send has ended.
    pub(crate) fn sent(&mut self, draft: Draft, outcome: Result<MessageId, String>) {
        let Some(at) = self.outgoing.iter().position(|own| own.draft == draft) else { return };
        let here = |id: &MessageId| {
            self.messages.binary_search_by_key(id, |message| message.message_id).is_ok()
        };
        match outcome {
            Ok(message_id) if here(&message_id) => drop(self.outgoing.remove(at)),
            Ok(message_id) => self.outgoing[at].delivery = Delivery::Stored(message_id),
            Err(why) => self.outgoing[at].delivery = Delivery::Failed(why),
        }
    }

    /// Another device of the user has read up to there.
    pub(crate) fn read_elsewhere(&mut self, message_id: MessageId, me: UserId) {
        self.read_up_to = self.read_up_to.max(message_id);
        let unread = |held: &&Message| held.message_id > self.read_up_to && held.message_from != me;
        let here = self.messages.iter().filter(unread).count() as u64;
        self.unread = if self.read_up_to >= self.last { 0 } else { self.unread.min(here.max(1)) };
    }
}

/// The smallest message id of a moment: milliseconds since 2024-01-01 in the upper 41 bits.
fn id_at(time: SystemTime) -> u64 {
    let epoch = UNIX_EPOCH + Duration::from_secs(1_704_067_200);
    let since = time.duration_since(epoch).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX) << 22
}
