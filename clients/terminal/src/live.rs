//! The state, and the world that it is told of and acts on: one connection, its sends, and requests.
//! Knows no terminal.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use pabal_client::{ChannelId, Connection, Error, MessageId, State as Line};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::input::{Draft, Effect, Input};
use crate::requests::{Requests, told};
use crate::state::State;

type Sent = (ChannelId, Draft, Result<MessageId, Error>);

/// The state in the world.
pub(crate) struct Live {
    pub(crate) state: State,
    connection: Connection,
    ended: bool,
    line: watch::Receiver<Line>,
    requests: Requests,
    sends: FuturesUnordered<BoxFuture<'static, Sent>>,
    seconds: Interval,
}

impl Live {
    pub(crate) fn new(
        state: State,
        account: pabal_client::Account,
        connection: Connection,
    ) -> Self {
        let mut line = connection.watch();
        // It stands already, and that is to be told.
        line.mark_changed();
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let requests = Requests::new(account);
        let sends = FuturesUnordered::new();
        let mut live = Self { state, connection, ended: false, line, requests, sends, seconds };
        live.act(State::begin());
        live
    }

    /// What happens next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Input {
        tokio::select! {
            event = self.connection.next(), if !self.ended => match event {
                Some(Ok(event)) => Input::Event(event),
                Some(Err(error)) => Input::Ended(told(&error)),
                None => {
                    self.ended = true;
                    self.line()
                }
            },
            Ok(()) = self.line.changed() => self.line(),
            Some((channel_id, draft, outcome)) = self.sends.next() => {
                Input::Sent(channel_id, draft, outcome.map_err(|error| told(&error)))
            }
            (ask, answer) = self.requests.next() => Input::Answered(ask, answer),
            _ = self.seconds.tick() => self.line(),
        }
    }

    /// Takes in what happened and does what follows. Whether to go on.
    #[must_use]
    pub(crate) fn take(&mut self, input: Input) -> bool {
        let effects = self.state.update(Instant::now(), input);
        self.act(effects)
    }

    /// Waits for what was sent to be confirmed, at most this long. How many sends are in doubt then.
    pub(crate) async fn flush(&mut self, patience: Duration) -> usize {
        let all = async { while self.sends.next().await.is_some() {} };
        let _ = tokio::time::timeout(patience, all).await;
        self.sends.len()
    }

    /// Ends the session.
    pub(crate) async fn close(self) -> Result<(), Error> {
        self.connection.close().await
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
                Effect::Ask(ask) => self.requests.ask(ask),
                Effect::Quit => return false,
            }
        }
        true
    }

    fn send(&mut self, channel_id: ChannelId, draft: Draft, content: String) {
        let handle = self.connection.send(channel_id, content);
        let name = handle.client_message_id().to_owned();
        self.sends.push(async move { (channel_id, draft, handle.await) }.boxed());
        // Before anything else can come, so that it is known again.
        let named = Input::Named(channel_id, draft, name);
        let effects = self.state.update(Instant::now(), named);
        self.act(effects);
    }
}
