//! The inputs of the state, and the effects that it returns.

use crossterm::event::KeyEvent;
use pabal_client::{
    Channel, ChannelId, Cost, Event, Friend, Member, Message, MessageId, Policy, State, User,
    UserId,
};
use ratatui::layout::Size;

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A key was pressed.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// The size of the terminal changed.
    Resize(Size),
    /// The connection yielded an event.
    Event(Event),
    /// The connection has ended, for this reason.
    Ended(String),
    /// The state of the connection and its traffic so far: every second, and when the state changes.
    Line(State, Cost),
    /// The `client_message_id` of a send, which the event of the message will carry.
    Named(ChannelId, Draft, String),
    /// A send has succeeded or failed.
    Sent(ChannelId, Draft, Result<MessageId, String>),
    /// A request has succeeded or failed.
    Responded(Request, Result<Response, String>),
}

/// The number of a message of the user's own, before it has an id.
pub(crate) type Draft = u64;

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send a message.
    Send(ChannelId, Draft, String),
    /// Announce that the user is typing.
    Typing(ChannelId),
    /// Report how far the user has read.
    Read(ChannelId, MessageId),
    /// Use these transports.
    Use(Policy),
    /// Send a request.
    Request(Request),
    /// End the program.
    Quit,
}

/// A request to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// All conversations.
    Channels,
    /// One of them.
    Channel(ChannelId),
    /// Friends and friend requests.
    Friends,
    /// The profile of a user.
    User(UserId),
    /// Messages before this one; the newest ones without it.
    History(ChannelId, Option<MessageId>),
    /// The members of a group.
    Members(ChannelId),
    /// The direct conversation with the user of this name.
    Direct(String),
    /// The direct conversation with a user.
    DirectWith(UserId),
    /// A new group with the users of these names.
    Group(String, Vec<String>),
    /// Adds the user of this name to a group.
    Add(ChannelId, String),
    /// Requests or accepts a friendship.
    Befriend(UserId),
    /// Sends a failed message again under the same name.
    Repeat(ChannelId, Draft, String, String),
}

/// The response to a request.
#[derive(Clone, Debug)]
pub(crate) enum Response {
    Channels(Vec<Channel>),
    Channel(Channel),
    Friends(Vec<Friend>),
    User(User),
    /// The newest first, and whether there are older ones.
    History(Vec<Message>, bool),
    Members(Vec<Member>),
    /// A conversation to open, and the users that were looked up for it.
    Opened(Channel, Vec<User>),
    Added(User),
    Befriended(Friend),
    Repeated(Message),
}
