//! A channel with the messages that are in memory, the sends that are not finished, and the text that is being
//! written.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pabal_client::{Channel, ChannelId, ChannelKind, Message, MessageId, UserId};

use super::editor::Editor;
use crate::input::Draft;
use crate::text;

/// How many messages are kept of the open conversation, and of each other one.
pub(crate) const KEPT_OPEN: usize = 5_000;
pub(crate) const KEPT: usize = 200;

/// A channel of the user.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) channel_id: ChannelId,
    pub(crate) kind: ChannelKind,
    /// The name of a group.
    pub(crate) name: Option<String>,
    /// The other user of a direct channel.
    pub(crate) peer: Option<UserId>,
    /// The newest message, in memory or not.
    pub(crate) last: MessageId,
    /// When the channel was created, as the id that a message of that time would have. `None` until the
    /// server has described the channel.
    created: Option<u64>,
    pub(crate) unread: u64,
    pub(crate) read_up_to: MessageId,
    /// The last message that any other member has read.
    pub(crate) others_read: MessageId,
    /// The message after which the separator of new messages is drawn.
    pub(crate) new_after: Option<MessageId>,
    pub(crate) members: Option<BTreeSet<UserId>>,
    messages: VecDeque<Message>,
    pub(crate) outgoing: Vec<Outgoing>,
    pub(crate) history: History,
    pub(crate) draft: Editor,
}

/// How much of the history is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// Only messages that arrived as events.
    Unknown,
    /// A page was requested.
    Requested,
    /// The newest messages without a gap; the server has older ones.
    Part,
    /// Every message of the channel.
    Whole,
}

/// A message of the user's own that was not yielded as an event yet.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) draft: Draft,
    /// Its `client_message_id`, by which its event is recognised.
    pub(crate) name: Option<String>,
    pub(crate) content: String,
    pub(crate) delivery: Delivery,
}

/// The state of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Sending,
    /// Durable; its event has not arrived yet.
    Stored(MessageId),
    Failed(String),
}

impl Conversation {
    /// A channel that the server has not described yet.
    pub(crate) fn unknown(channel_id: ChannelId) -> Self {
        Self {
            channel_id,
            kind: ChannelKind::Unknown,
            name: None,
            peer: None,
            last: MessageId::START,
            created: None,
            unread: 0,
            read_up_to: MessageId::START,
            others_read: MessageId::START,
            new_after: None,
            members: None,
            messages: VecDeque::new(),
            outgoing: Vec::new(),
            history: History::Unknown,
            draft: Editor::default(),
        }
    }

    /// Whether the server has not described the channel yet.
    pub(crate) fn is_unknown(&self) -> bool {
        self.created.is_none()
    }

    /// Applies the server's description, which may be older than the events that have arrived.
    pub(crate) fn learn(&mut self, channel: &Channel) {
        self.kind = channel.kind;
        self.name = channel.name.as_deref().map(text::line);
        self.peer = channel.peer_user_id;
        self.created = Some(id_at(channel.created_at));
        self.read_up_to = self.read_up_to.max(channel.read_up_to);
        if channel.last_message_id >= self.last {
            self.last = channel.last_message_id;
            self.unread = if self.read_up_to >= self.last { 0 } else { channel.unread };
        }
    }

    /// The time by which conversations are ordered: of the last message, or of the creation.
    pub(crate) fn moment(&self) -> u64 {
        self.last.get().max(self.created.unwrap_or_default())
    }

    pub(crate) fn messages(&self) -> &VecDeque<Message> {
        &self.messages
    }

    /// Inserts a message in the order of ids. Returns whether it is new.
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

    /// The oldest message in memory.
    pub(crate) fn oldest(&self) -> Option<MessageId> {
        self.messages.front().map(|message| message.message_id)
    }

    /// Drops the oldest messages beyond `most`. They can be fetched again.
    pub(crate) fn trim(&mut self, most: usize) {
        if self.messages.len() > most {
            self.messages.drain(..self.messages.len() - most);
            if self.history == History::Whole {
                self.history = History::Part;
            }
        }
    }

    /// A send has succeeded or failed.
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

    /// Another device of the user has read up to `message_id`.
    pub(crate) fn read_elsewhere(&mut self, message_id: MessageId, me: UserId) {
        self.read_up_to = self.read_up_to.max(message_id);
        let unread = |held: &&Message| held.message_id > self.read_up_to && held.message_from != me;
        let here = self.messages.iter().filter(unread).count() as u64;
        self.unread = if self.read_up_to >= self.last { 0 } else { self.unread.min(here.max(1)) };
    }
}

/// The smallest message id of a time: milliseconds since 2024-01-01 in the upper 41 bits.
fn id_at(time: SystemTime) -> u64 {
    let epoch = UNIX_EPOCH + Duration::from_secs(1_704_067_200);
    let since = time.duration_since(epoch).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX) << 22
}
