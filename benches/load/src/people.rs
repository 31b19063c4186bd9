//! Users and channels of a run, made before any client connects.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use http::header::HeaderValue;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::counts::Tally;
use crate::crowd::Crowd;
use crate::error::{Broken, LoadError};
use crate::http::{Connection, headers};
use crate::listener::Listener;
use crate::oracle::Channel;
use crate::orders::{Inbox, Orders};
use crate::scenario::{Scenario, bearer};
use crate::speaker::Speaker;
use crate::target::{Connector, Endpoint, Target};
use pabal_cost::{Headers, Http, Plan};

/// The sessions that a server allows a user.
const SESSIONS_PER_USER: usize = 16;
/// The channels that one speaker sends to.
const CHANNELS_PER_SPEAKER: usize = 64;
/// Messages a second of one speaker: with its sends in flight it can wait two seconds for acknowledgements
/// before a send is late.
const RATE_PER_SPEAKER: f64 = 100.0;
/// Connections that make users and channels concurrently.
const PROVISIONERS: usize = 8;
/// Clients that connect concurrently.
const CONNECTING: usize = 64;
/// Descriptors of the process itself.
const RESERVED: u64 = 64;

/// Users who have signed up, in their channels. Each client is expected to receive every message of its
/// channel once and in order.
#[derive(Debug)]
pub struct People {
    scenario: Arc<Scenario>,
    speakers: Vec<HeaderValue>,
    channels: Vec<Arc<Channel>>,
    /// The users of each channel; each has up to sixteen sessions.
    users: Vec<Vec<HeaderValue>>,
    /// The endpoint of the speakers, if it is not the target.
    speak_at: Option<Arc<Endpoint>>,
}

/// A user who has signed up.
struct Account {
    user_id: String,
    bearer: HeaderValue,
}

impl People {
    /// Signs the users up and makes their channels. Each channel has `plan.group` sessions of as few users as
    /// the server allows, because hashing a password costs a server more than any other request.
    ///
    /// # Errors
    /// [`LoadError`]. Retry after its cause is removed.
    pub async fn gather(target: &Target, plan: &Plan) -> Result<Self, LoadError> {
        Self::gather_watched(target, plan, |_, _| {}).await
    }

    /// The same; calls `progress` with the number of channels that are ready and of all channels.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub async fn gather_watched(
        target: &Target,
        plan: &Plan,
        progress: impl Fn(usize, usize),
    ) -> Result<Self, LoadError> {
        crate::plan::check(plan)?;
        let endpoint = Arc::new(Endpoint::find(&target.url).await?);
        let scenario = Arc::new(Scenario {
            plan: *plan,
            url: target.url.clone(),
            connector: Connector::new(target, &endpoint)?,
            endpoint,
            epoch: Instant::now(),
            tally: Tally::new(),
            tracker: TaskTracker::new(),
        });
        let count = plan.clients.div_ceil(plan.group);
        let by_rate = (count as f64 * plan.per_minute / 60.0 / RATE_PER_SPEAKER).ceil() as usize;
        let speakers = count.div_ceil(CHANNELS_PER_SPEAKER).max(by_rate).clamp(1, count);
        raise_descriptor_limit(plan.clients + speakers)?;
        let run = format!("load-{:010x}", rand::random::<u64>() >> 24);
        let failed = |why: Broken| why.into_load_error(&target.url);

        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut first = Provisioner::connect(&scenario).await.map_err(failed)?;
        let mut speaker_accounts = Vec::with_capacity(speakers);
        for number in 0..speakers {
            speaker_accounts
                .push(first.sign_up(&format!("{run}-s{number}")).await.map_err(failed)?);
        }
        let provision = async |mut provisioner: Provisioner| {
            let mut ready = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, Broken>(ready);
                }
                let listeners = plan.group.min(plan.clients - number * plan.group);
                let speaker_account = &speaker_accounts[number % speakers];
                let name = format!("{run}-{number}");
                ready.push((number, provisioner.channel(&name, listeners, speaker_account).await?));
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, count);
            }
        };
        let others = (1..PROVISIONERS.min(count))
            .map(async |_| provision(Provisioner::connect(&scenario).await?).await);
        let others = futures::future::try_join_all(others);
        let (some, others) =
            futures::future::try_join(provision(first), others).await.map_err(failed)?;
        let mut ready: Vec<_> = some.into_iter().chain(others.into_iter().flatten()).collect();
        ready.sort_by_key(|(number, _)| *number);
        let (channels, users) = ready.into_iter().map(|(_, it)| it).unzip();
        let speakers =
            speaker_accounts.into_iter().map(|speaker_account| speaker_account.bearer).collect();
        Ok(Self { scenario, speakers, channels, users, speak_at: None })
    }

    /// Sets another URL for the speakers than for the clients: another node, so that messages are forwarded
    /// within the cluster.
    ///
    /// # Errors
    /// [`LoadError`], if the URL is not the URL of a server or its host has no address.
    pub async fn speak_at(&mut self, url: &str) -> Result<(), LoadError> {
        self.speak_at = Some(Arc::new(Endpoint::find(url).await?));
        Ok(())
    }

    /// Connects all clients as fast as the server accepts them.
    ///
    /// # Errors
    /// [`LoadError`], if a client cannot connect.
    pub async fn connect(self) -> Result<Crowd, LoadError> {
        self.connect_over(Duration::ZERO, |_, _| {}).await
    }

    /// Connects all clients, evenly over `ramp`; calls `progress` with the number of connected clients and of
    /// all clients.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_over(
        self,
        ramp: Duration,
        progress: impl Fn(usize, usize),
    ) -> Result<Crowd, LoadError> {
        let Self { scenario, speakers, channels, users, speak_at } = self;
        let endpoint = speak_at.unwrap_or_else(|| Arc::clone(&scenario.endpoint));
        let (clients, group) = (scenario.plan.clients, scenario.plan.group);
        let (orders, _) = watch::channel(Orders::default());
        let url = scenario.url.clone();
        let failed = |why: Broken| why.into_load_error(&url);

        let mut send_queues = Vec::with_capacity(speakers.len());
        let mut speaking = JoinSet::new();
        for (number, bearer) in speakers.into_iter().enumerate() {
            let (speaker, send_queue) = Speaker::new(
                clients + number,
                bearer,
                Arc::clone(&endpoint),
                Arc::clone(&scenario),
            );
            let socket = speaker.connect().await.map_err(failed)?;
            send_queues.push(send_queue);
            speaking.spawn(speaker.run(socket));
        }
        let began = Instant::now();
        let listeners = (0..clients).map(|number| {
            let (channel, member) = (number / group, number % group);
            let bearer = users[channel][member / SESSIONS_PER_USER].clone();
            let inbox = Inbox::new(orders.subscribe(), number);
            let (channel, scenario) = (Arc::clone(&channels[channel]), Arc::clone(&scenario));
            let mut listener = Listener::new(number, bearer, channel, scenario, inbox);
            async move {
                let at = ramp.mul_f64(number as f64 / clients as f64);
                if let Some(rest) = at.checked_sub(began.elapsed()) {
                    sleep(rest).await;
                }
                let line = listener.establish().await?;
                Ok::<_, Broken>((listener, line))
            }
        });
        let mut listening = JoinSet::new();
        stream::iter(listeners)
            .buffer_unordered(CONNECTING)
            .try_for_each(|(listener, line)| {
                listening.spawn(listener.run(line));
                progress(listening.len(), clients);
                ready(Ok(()))
            })
            .await
            .map_err(failed)?;
        Ok(Crowd::new(scenario, orders, listening, speaking, send_queues, channels))
    }
}

/// A connection that makes users and channels.
struct Provisioner {
    connection: Connection,
    headers: http::HeaderMap,
}

impl Provisioner {
    async fn connect(scenario: &Scenario) -> Result<Self, Broken> {
        let endpoint = &scenario.endpoint;
        let stream = scenario.stream(endpoint, 0, Http::One, &Arc::default()).await?;
        let connection = Connection::open(stream, endpoint, Http::One, &scenario.tracker).await?;
        Ok(Self { connection, headers: headers(Headers::Minimal, endpoint, None) })
    }

    async fn sign_up(&mut self, username: &str) -> Result<Account, Broken> {
        #[derive(Deserialize)]
        struct SignedUp {
            user: User,
            token: String,
        }
        #[derive(Deserialize)]
        struct User {
            user_id: String,
        }
        let body = json!({ "username": username, "password": "correct horse battery staple" });
        let headers = &self.headers;
        let SignedUp { user, token } =
            self.connection.json(Method::POST, "/v1/users", headers, Some(&body)).await?;
        Ok(Account { user_id: user.user_id, bearer: bearer(&token)? })
    }

    /// Makes a channel of a speaker and of as many users as `listeners` sessions need.
    async fn channel(
        &mut self,
        name: &str,
        listeners: usize,
        speaker_account: &Account,
    ) -> Result<(Arc<Channel>, Vec<HeaderValue>), Broken> {
        #[derive(Deserialize)]
        struct Made {
            channel: Id,
        }
        #[derive(Deserialize)]
        struct Id {
            channel_id: String,
        }
        let (mut members, mut tokens) = (Vec::new(), Vec::new());
        for user in 0..listeners.div_ceil(SESSIONS_PER_USER) {
            let account = self.sign_up(&format!("{name}-{user}")).await?;
            members.push(account.user_id);
            tokens.push(account.bearer);
        }
        let body = json!({ "name": name, "members": members });
        let mut headers = self.headers.clone();
        headers.insert(http::header::AUTHORIZATION, speaker_account.bearer.clone());
        let made: Made =
            self.connection.json(Method::POST, "/v1/channels", &headers, Some(&body)).await?;
        let id = made.channel.channel_id.parse().map_err(Broken::foreign)?;
        Ok((Arc::new(Channel::new(id)), tokens))
    }
}

/// Raises the limit of open files of this process to its hard limit.
///
/// # Errors
/// [`LoadError::Descriptors`], if the hard limit is below what so many connections need.
pub(crate) fn raise_descriptor_limit(connections: usize) -> Result<(), LoadError> {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, ..before };
    // If the system refuses, the current limit stays.
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(_) => before.current,
    };
    let needed = connections as u64 + RESERVED;
    match limit {
        Some(limit) if limit < needed => Err(LoadError::Descriptors { needed, limit }),
        _ => Ok(()),
    }
}
