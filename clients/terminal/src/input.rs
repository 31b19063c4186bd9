//! What the state is told, and what it wants done: the two ends of everything in between.

use crossterm::event::KeyEvent;
use pabal_client::{
    Channel, ChannelId, Cost, Event, Friend, Member, Message, MessageId, Policy, State, User,
    UserId,
};
use ratatui::layout::Size;

/// Something happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A key was pressed.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size.
    Resize(Size),
    /// Something came from the server.
    Event(Event),
    /// The connection has ended for good, and why.
    Ended(String),
    /// What the connection is doing, and what it has cost until now; comes every second, and when it
    /// changes.
    Line(State, Cost),
    /// A message has got the name under which it will come back.
    Named(ChannelId, Draft, String),
    /// A message is durable, or was refused.
    Sent(ChannelId, Draft, Result<MessageId, String>),
    /// A request was answered.
    Answered(Ask, Result<Answer, String>),
}

/// The number of a message of one's own, before it has an id.
pub(crate) type Draft = u64;

/// Something is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Say this.
    Send(ChannelId, Draft, String),
    /// Tell that the user is writing.
    Typing(ChannelId),
    /// Tell how far the user has read.
    Read(ChannelId, MessageId),
    /// Use these transports.
    Use(Policy),
    /// Ask the server.
    Ask(Ask),
    /// End.
    Quit,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// All conversations.
    Channels,
    /// One of them.
    Channel(ChannelId),
    /// Friends, and who wants to be one.
    Friends,
    /// Who that is.
    User(UserId),
    /// Messages older than this one; the newest without.
    History(ChannelId, Option<MessageId>),
    /// Who is in a group.
    Members(ChannelId),
    /// The direct conversation with whoever has this name.
    Direct(String),
    /// The direct conversation with a user.
    DirectWith(UserId),
    /// A new group, with the users of these names.
    Group(String, Vec<String>),
    /// A user of this name into a group.
    Add(ChannelId, String),
    /// To be friends with a user.
    Befriend(UserId),
    /// A message whose send failed, again under the same name.
    Repeat(ChannelId, Draft, String, String),
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Channels(Vec<Channel>),
    Channel(Channel),
    Friends(Vec<Friend>),
    User(User),
    /// Newest first, and whether there are older ones.
    History(Vec<Message>, bool),
    Members(Vec<Member>),
    /// A conversation to go to, and who was found on the way.
    Opened(Channel, Vec<User>),
    Added(User),
    Befriended(Friend),
    Repeated(Message),
}
