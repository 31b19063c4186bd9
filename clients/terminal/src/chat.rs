//! The chat client without its terminal: the state, one connection, its sends and its requests. Takes
//! key presses and server events in, carries out the effects that follow, and draws on any frame.

use std::time::Duration;

use crossterm::event::Event as TerminalEvent;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use pabal_client::{Account, ChannelId, Connection, Error, MessageId, Policy, State as Line};
use ratatui::Frame;
use ratatui::layout::Size;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::input::{Draft, Effect, Input};
use crate::requests::{Requests, describe};
use crate::state::State;
use crate::view::{Theme, view};

type Sent = (ChannelId, Draft, Result<MessageId, Error>);

/// A chat client: everything that [`run`](crate::run) does except for the terminal.
///
/// The owner feeds it with [`handle`](Self::handle) and [`advance`](Self::advance), and shows it with
/// [`draw`](Self::draw). It works only while `advance` is polled. Messages in memory are bounded: 5,000
/// of the open conversation, 200 of each other one.
///
/// Colours follow `NO_COLOR` (<https://no-color.org>); times are in the time zone of the system.
#[derive(Debug)]
pub struct Chat {
    state: State,
    theme: Theme,
    connection: Connection,
    ended: bool,
    line: watch::Receiver<Line>,
    requests: Requests,
    sends: FuturesUnordered<BoxFuture<'static, Sent>>,
    seconds: Interval,
}

impl Chat {
    /// A chat over `connection`, which `account` has opened with the transports `transports`, on a
    /// screen of `size` columns and rows. It begins by requesting the user's conversations and friends.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(account: Account, connection: Connection, transports: Policy, size: Size) -> Self {
        let state = State::new(account.user().clone(), Clock::system(), size, transports);
        let mut line = connection.watch();
        // The connection is open already; the first state is an input as well.
        line.mark_changed();
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut chat = Self {
            state,
            theme: Theme::of_environment(),
            connection,
            ended: false,
            line,
            requests: Requests::new(account),
            sends: FuturesUnordered::new(),
            seconds,
        };
        chat.act(State::begin());
        chat
    }

    /// Handles a key press, a paste or a resize; other terminal events are ignored. Returns whether the
    /// chat continues: `false` once the user has pressed the key that leaves.
    #[must_use]
    pub fn handle(&mut self, event: TerminalEvent) -> bool {
        match event {
            TerminalEvent::Key(key) => self.take(Input::Key(key)),
            TerminalEvent::Paste(text) => self.take(Input::Paste(text)),
            TerminalEvent::Resize(width, height) => {
                self.take(Input::Resize(Size { width, height }))
            }
            _ => true,
        }
    }

    /// Waits for the next thing that happens outside of the keyboard (an event, a response, a change of
    /// the connection, or a second that has passed) and handles it. Returns whether the chat continues,
    /// as [`handle`](Self::handle) does. Cancel-safe.
    #[must_use]
    pub async fn advance(&mut self) -> bool {
        let input = self.next().await;
        self.take(input)
    }

    /// Draws the whole screen. Draws nothing on a frame of another size than the last
    /// [`TerminalEvent::Resize`] reported, until that event has been handled.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        view(&self.state, self.theme, frame);
    }

    /// Waits until every send has succeeded or failed, at most for `limit`. Returns how many sends are
    /// still unconfirmed after that: the channel holds such a message or does not.
    pub async fn flush(&mut self, limit: Duration) -> usize {
        let all = async { while self.sends.next().await.is_some() {} };
        let _ = tokio::time::timeout(limit, all).await;
        self.sends.len()
    }

    /// Ends the session. The account stays logged in.
    ///
    /// # Errors
    /// As [`Connection::close`].
    pub async fn close(self) -> Result<(), Error> {
        self.connection.close().await
    }

    async fn next(&mut self) -> Input {
        tokio::select! {
            event = self.connection.next(), if !self.ended => match event {
                Some(Ok(event)) => Input::Event(event),
                Some(Err(error)) => Input::Ended(describe(&error)),
                None => {
                    self.ended = true;
                    self.line()
                }
            },
            Ok(()) = self.line.changed() => self.line(),
            Some((channel_id, draft, outcome)) = self.sends.next() => {
                Input::Sent(channel_id, draft, outcome.map_err(|error| describe(&error)))
            }
            (request, response) = self.requests.next() => Input::Responded(request, response),
            _ = self.seconds.tick() => self.line(),
        }
    }

    fn take(&mut self, input: Input) -> bool {
        let effects = self.state.update(Instant::now(), input);
        self.act(effects)
    }

    fn line(&self) -> Input {
        let status = self.connection.status();
        Input::Line(status.state, status.cost)
    }

    fn act(&mut self, effects: Vec<Effect>) -> bool {
        for effect in effects {
            match effect {
                Effect::Send(channel_id, draft, content) => self.send(channel_id, draft, content),
                Effect::Typing(channel_id) => self.connection.typing(channel_id),
                Effect::Read(channel_id, message_id) => {
                    self.connection.read(channel_id, message_id);
                }
                Effect::Use(policy) => self.connection.use_transports(policy),
                Effect::Request(request) => self.requests.send(request),
                Effect::Quit => return false,
            }
        }
        true
    }

    fn send(&mut self, channel_id: ChannelId, draft: Draft, content: String) {
        let handle = self.connection.send(channel_id, content);
        let name = handle.client_message_id().to_owned();
        self.sends.push(async move { (channel_id, draft, handle.await) }.boxed());
        // Before the event of the message can arrive, so that the state recognises it.
        let named = Input::Named(channel_id, draft, name);
        let effects = self.state.update(Instant::now(), named);
        self.act(effects);
    }
}
