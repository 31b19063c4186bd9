//! What the caller of a connection holds: a stream of events and a way to send.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use http::Method;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::driver::Driver;
use super::options::{Options, Policy};
use super::outbox::Outbox;
use super::route::Route;
use super::sender::{SendHandle, Sender};
use super::status::{Cost, State, Status};
use crate::account::Account;
use crate::error::Error;
use crate::event::Event;
use crate::http::Http;
use crate::ids::{ChannelId, MessageId};
use crate::meter::Meter;
use crate::model::Cursors;

/// A connected device: a stream of [`Event`]s, and a way to send.
///
/// # Guarantees
/// - **Each message of a channel is yielded once, in rising order of `message_id`**, through lost
///   responses, broken connections, changes of transport, sessions that ended and nodes that were
///   replaced. Messages that the server could not keep for the device are fetched before a newer message
///   of their channel is yielded. This holds for the lifetime of the connection, and beyond it if the
///   device stores its [`cursors`](Self::cursors).
/// - Other events are yielded once and in order while the session lives. Those of a time in which the
///   device was unreachable for longer than the server keeps sessions (60 s by default) are lost.
/// - A channel that the device joined while it was not connected is yielded from its beginning.
/// - **A send becomes one message**, however often it is repeated, and the sends of one channel keep
///   their order. See [`send`](Self::send).
/// - **Memory is bounded** by [`Options::events`] and [`Options::sends`]. While the caller takes no events,
///   no more are read; the server keeps them, or the client fetches them later.
/// - The connection retries as long as that can help. It ends only with an error that a retry cannot
///   mend, such as `unauthenticated` without [`Options::renewal`]; after that error the stream ends.
///
/// Two tasks serve a connection and end when it is dropped. The server then ends the session by its
/// timeout; [`close`](Self::close) ends it at once.
#[derive(Debug)]
pub struct Connection {
    events: mpsc::Receiver<Result<Event, Error>>,
    cursors: Cursors,
    sender: Sender,
    state: watch::Receiver<State>,
    route: watch::Receiver<Route>,
    policy: watch::Sender<Policy>,
    account: Account,
    meter: Arc<Meter>,
    tasks: [Task; 2],
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Task {
    fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Account {
    /// Connects this device: from now on its events are delivered, on a transport that works.
    ///
    /// Returns when the first session is open: every message sent after that is received. While the
    /// server is unavailable it waits and tries again without limit; use a timeout if that is not wanted.
    /// Cancel-safe.
    ///
    /// # Errors
    /// Those that a retry cannot mend: `unauthenticated` above all, or [`Error::Foreign`] for a URL that
    /// is not a Pabal server's. Do not retry.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(&self, options: Options) -> Result<Connection, Error> {
        Connection::open(self, options).await
    }
}

impl Connection {
    async fn open(account: &Account, options: Options) -> Result<Self, Error> {
        // Sockets of its own, so that its traffic is counted apart from that of other calls.
        let mut account = account.clone();
        account.client.http = Http::new(account.client.tls.clone());
        let meter = Arc::clone(account.client.http.meter());
        let (yielded, events) = mpsc::channel(options.events.max(1));
        let (states, state) = watch::channel(State::Connecting);
        let (routes, route) = watch::channel(Route::default());
        let (policy, policies) = watch::channel(options.transports);
        let (sender, jobs) = Sender::new(options.sends, options.send_deadline);
        let renews = options.renewal.is_some();
        let outbox = Outbox::new(account.clone(), (options.backoff, renews), jobs, route.clone());
        let driver = Driver::new(account.clone(), &options, yielded, states, routes, policies);
        let (ready, opened) = oneshot::channel();
        let tasks = [Task::spawn(driver.run(ready)), Task::spawn(outbox.run())];
        let cursors = opened.await.map_err(|_| Error::Closed)??;
        Ok(Self { events, cursors, sender, state, route, policy, account, meter, tasks })
    }

    /// The next event; `None` after the end. Cancel-safe. Equivalent to the stream.
    ///
    /// # Errors
    /// The error with which the connection ends; no event follows. Do not retry on this connection.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        let event = self.events.recv().await;
        self.note(&event);
        event
    }

    /// For each channel the highest message id that was yielded, or the one after which the device began.
    /// A later connection with these as [`Options::cursors`] misses and repeats nothing.
    pub fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// Sends a message. Returns at once; the handle resolves when the message is durable.
    ///
    /// The message is sent as soon as there is a session, and repeated under the same `client_message_id`
    /// on any transport, until the server has confirmed or refused it or [`Options::send_deadline`] has
    /// passed. The channel holds it once, however often it was repeated. Sends of one channel take effect
    /// in the order of these calls, one after another; those of different channels do not wait for each
    /// other. Dropping the handle does not cancel the send.
    ///
    /// `content` has 1 byte to 16 KiB of UTF-8; the server refuses others.
    pub fn send(&self, channel_id: ChannelId, content: impl Into<String>) -> SendHandle {
        self.sender.send(channel_id, content)
    }

    /// Announces to a channel that the user is typing. Best effort: it is dropped while there is no
    /// session, and never repeated.
    pub fn typing(&self, channel_id: ChannelId) {
        self.sender.typing(channel_id);
    }

    /// Reports that the user has read a channel up to a message. It is repeated until the server confirms
    /// or refuses it; of several positions only the highest is sent.
    pub fn read(&self, channel_id: ChannelId, message_id: MessageId) {
        self.sender.read(channel_id, message_id);
    }

    /// Changes the transports in mid-session: events continue at the same position on the new one. No
    /// message is lost, repeated or reordered, and sends continue as well. Returns at once;
    /// [`watch`](Self::watch) shows when the new transport is connected.
    pub fn use_transports(&self, policy: Policy) {
        self.policy.send_if_modified(|current| std::mem::replace(current, policy) != policy);
    }

    /// The sending side, for use while another task takes the events. Cheap to clone. It does not keep
    /// the connection alive: once that is dropped, sends fail with [`Error::Closed`].
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// The state of the connection and its traffic so far.
    pub fn status(&self) -> Status {
        Status { state: self.state.borrow().clone(), cost: Cost::of(&self.meter) }
    }

    /// A watch on the state of the connection. It shows the newest state; short-lived states in between
    /// may be skipped.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Ends the connection and its session. Sends that are not confirmed fail with [`Error::Closed`]; the
    /// server may hold them nevertheless. The account stays logged in.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::Problem`] if the server could not be notified. The connection has
    /// ended nevertheless, and the server ends the session by its timeout, so a retry is not needed.
    pub async fn close(self) -> Result<(), Error> {
        let Self { tasks, route, account, .. } = self;
        for Task(task) in &tasks {
            task.abort();
        }
        let Route { session, token, .. } = route.borrow().clone();
        drop(tasks);
        if let Some(session) = session {
            let (client, token) = (&account.client, token.as_ref().unwrap_or(&account.token));
            client.request(Method::DELETE, session.url()?, Some(token), None::<&()>).await?;
        }
        Ok(())
    }

    fn note(&mut self, event: &Option<Result<Event, Error>>) {
        if let Some(Ok(Event::Message(message))) = event {
            self.cursors.insert(message.channel_id, message.message_id);
        }
    }
}

impl Stream for Connection {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = self.events.poll_recv(cx);
        if let Poll::Ready(event) = &event {
            self.note(event);
        }
        event
    }
}
