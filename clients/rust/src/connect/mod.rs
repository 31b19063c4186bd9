//! Connections: everything that happens by itself. Where a message is said and taken is here; how it
//! gets here is in `driver` and `recovery` (sessions, repair), `ladder` (which transport), `line`
//! (transports) and `outbox` (what is said).

mod options;
mod backoff;
mod ladder;
mod held;
mod status;
mod session;
mod line;
mod outbox;
mod driver;
mod recovery;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use http::Method;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::driver::Driver;
use self::outbox::{Job, Outbox, Pending, Route};
use crate::account::Account;
use crate::error::Error;
use crate::event::Event;
use crate::http::Http;
use crate::ids::{ChannelId, MessageId};
use crate::model::Cursors;
use crate::net::Meter;

pub use self::backoff::Backoff;
pub use self::options::{Fallback, Options, Policy, Transport};
pub use self::status::{Cost, State, Status};

/// As many typing and read notices as wait besides the sends.
const NOTICES: usize = 64;

/// A device at work: a stream of [`Event`]s, and a way to say something.
///
/// # What it guarantees
/// - **Each message of a channel comes once, in rising order of `message_id`**, whatever happens
///   between: lost answers, broken connections, changes of transport, sessions that ended, nodes that
///   were replaced. What the server could not keep for the device is fetched before anything newer of
///   that channel is yielded. That holds for the lifetime of the connection, and beyond it for a
///   device that keeps its [`cursors`](Self::cursors).
/// - Other events come once and in order while a session lives. Those of a time in which the device
///   was away for longer than the server keeps sessions (60 s by default) are not made up for.
/// - A channel that the device did not know when it came back is yielded from its beginning.
/// - **A send becomes one message**, however often it was repeated, and the sends of one channel keep
///   their order. See [`send`](Self::send).
/// - **Nothing grows without bound**: see [`Options::events`] and [`Options::sends`]. If events are not
///   taken, no more are read, and the server keeps or the client later fetches them.
/// - It never gives up while there is hope: it ends with an error only when waiting cannot help,
///   `unauthenticated` above all. After that error the stream ends.
///
/// Two tasks work for a connection, and end when it is dropped; the server ends the session itself
/// some time later. [`close`](Self::close) tells it to at once.
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

impl Connection {
    pub(crate) async fn open(account: &Account, options: Options) -> Result<Self, Error> {
        // Connections of its own, so that what it costs can be told from other calls.
        let mut account = account.clone();
        account.client.http = Http::new(account.client.tls.clone());
        let meter = Arc::clone(account.client.http.meter());
        let (tell, events) = mpsc::channel(options.events.max(1));
        let (states, state) = watch::channel(State::Connecting);
        let (routes, route) = watch::channel(Route::default());
        let (policy, policies) = watch::channel(options.transports);
        let places = options.sends.min(Semaphore::MAX_PERMITS);
        let (jobs, taken) = mpsc::channel(places + NOTICES);
        let sender = Sender {
            jobs,
            places: Arc::new(Semaphore::new(places)),
            deadline: options.send_deadline,
        };
        let outbox = Outbox::new(account.clone(), options.backoff, taken, route.clone());
        let driver = Driver::new(account.clone(), &options, tell, states, routes, policies);
        let (ready, stands) = oneshot::channel();
        let tasks = [Task::spawn(driver.run(ready)), Task::spawn(outbox.run())];
        let cursors = stands.await.map_err(|_| Error::Closed)??;
        Ok(Self { events, cursors, sender, state, route, policy, account, meter, tasks })
    }

    /// The next event; `None` after the end. Cancel-safe. The same as taking from the stream.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        let event = self.events.recv().await;
        self.taken(&event);
        event
    }

    /// For each channel the highest message id that was yielded, or behind which the device began:
    /// keep it, and [`Options::cursors`] of a later connection misses nothing and repeats nothing.
    pub fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// Says something, optimistically: it has its name at once, and the handle says when it is durable.
    ///
    /// The message is sent as soon as there is a way, and repeated under the same
    /// `client_message_id`, on whatever transport, until the server has confirmed or refused it or
    /// [`Options::send_deadline`] is over. Sends of one channel take effect in the order of these
    /// calls, one after the other; those of different channels do not wait for each other. Dropping
    /// the handle does not take the send back.
    ///
    /// 1 byte to 16 KiB of UTF-8.
    pub fn send(&self, channel_id: ChannelId, content: impl Into<String>) -> SendHandle {
        self.sender.send(channel_id, content)
    }

    /// Tells a channel that the user is writing, if there is a way now. Not repeated.
    pub fn typing(&self, channel_id: ChannelId) {
        self.sender.typing(channel_id);
    }

    /// The user has read a channel up to a message. Repeated until the server knows; of several only
    /// the highest.
    pub fn read(&self, channel_id: ChannelId, message_id: MessageId) {
        self.sender.read(channel_id, message_id);
    }

    /// Changes transport in mid-session: from now on it uses these, and events go on where they were.
    /// Nothing is lost, repeated or reordered, and sends go on as well. [`watch`](Self::watch) tells
    /// when the new one stands.
    pub fn use_transports(&self, policy: Policy) {
        self.policy.send_if_modified(|current| std::mem::replace(current, policy) != policy);
    }

    /// Something to say things with while another task takes the events. Cheap to clone. It keeps
    /// nothing alive: when the connection is gone, sends fail with [`Error::Closed`].
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// What it is doing, and what it has cost.
    pub fn status(&self) -> Status {
        Status { state: self.state.borrow().clone(), cost: Cost::of(&self.meter) }
    }

    /// A watch on what it is doing.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Ends the connection and its session. Sends that are not confirmed fail with
    /// [`Error::Closed`]; the server may have them all the same.
    ///
    /// # Errors
    /// If the server could not be told; it finds out by itself.
    pub async fn close(self) -> Result<(), Error> {
        let Self { tasks, route, account, .. } = self;
        for Task(task) in &tasks {
            task.abort();
        }
        let session = route.borrow().session.clone();
        drop(tasks);
        if let Some(session) = session {
            let (client, token) = (&account.client, Some(&account.token));
            client.ask(Method::DELETE, session.url()?, token, None::<&()>).await?;
        }
        Ok(())
    }

    fn taken(&mut self, event: &Option<Result<Event, Error>>) {
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
            self.taken(event);
        }
        event
    }
}

/// Says things on a [`Connection`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    jobs: mpsc::Sender<Job>,
    places: Arc<Semaphore>,
    deadline: Duration,
}

impl Sender {
    /// See [`Connection::send`].
    pub fn send(&self, channel_id: ChannelId, content: impl Into<String>) -> SendHandle {
        let client_message_id = format!("{:032x}", rand::random::<u128>());
        let (tell, told) = oneshot::channel();
        let handle = SendHandle { client_message_id: client_message_id.clone(), told };
        match Arc::clone(&self.places).try_acquire_owned() {
            Err(_) => {
                let _ = tell.send(Err(Error::TooManySends));
            }
            Ok(place) => {
                let (content, deadline) = (content.into(), Instant::now() + self.deadline);
                let pending = Pending {
                    channel_id,
                    client_message_id,
                    content,
                    deadline,
                    tell,
                    _place: place,
                };
                if let Err(mpsc::error::TrySendError::Full(Job::Send(pending))) =
                    self.jobs.try_send(Job::Send(pending))
                {
                    let _ = pending.tell.send(Err(Error::TooManySends));
                }
            }
        }
        handle
    }

    /// See [`Connection::typing`].
    pub fn typing(&self, channel_id: ChannelId) {
        // Without room it would come too late anyway.
        let _ = self.jobs.try_send(Job::Typing(channel_id));
    }

    /// See [`Connection::read`].
    pub fn read(&self, channel_id: ChannelId, message_id: MessageId) {
        let _ = self.jobs.try_send(Job::Read(channel_id, message_id));
    }
}

/// A send on its way: a future of its message id.
///
/// # Errors
/// [`Error::Problem`] if the server refuses it for good (`not_a_member`, `blocked`, `too_large`,
/// `invalid`): do not retry. [`Error::NotConfirmed`] at the deadline: the channel may hold it.
/// [`Error::TooManySends`]: it was not sent; retry when others are done. [`Error::Closed`].
#[derive(Debug)]
pub struct SendHandle {
    client_message_id: String,
    told: oneshot::Receiver<Result<MessageId, Error>>,
}

impl SendHandle {
    /// The name by which the message is known when it comes back as an event.
    pub fn client_message_id(&self) -> &str {
        &self.client_message_id
    }
}

impl Future for SendHandle {
    type Output = Result<MessageId, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.told).poll(cx).map(|told| told.unwrap_or(Err(Error::Closed)))
    }
}
