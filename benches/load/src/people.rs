//! Who is there: users and channels, made before anybody connects.

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
use crate::scene::{Scene, bearer};
use crate::speaker::Speaker;
use crate::target::{Place, Roads, Target};
use pabal_cost::{Headers, Http, Plan};

/// As many sessions as a server grants a user.
const SESSIONS_PER_USER: usize = 16;
/// As many channels as one speaker speaks in.
const CHANNELS_PER_SPEAKER: usize = 64;
/// As many messages a second as one speaker sends: with its sends in flight it can wait two seconds for
/// acknowledgements before it is late.
const RATE_PER_SPEAKER: f64 = 100.0;
/// As many connections as set the scene side by side.
const SETTERS: usize = 8;
/// As many clients as connect at the same time.
const CONNECTING: usize = 64;
/// Descriptors of the process itself.
const RESERVED: u64 = 64;

/// Users who have signed up, in their channels. Everybody is to hear everything once and in order.
#[derive(Debug)]
pub struct People {
    scene: Arc<Scene>,
    speakers: Vec<HeaderValue>,
    channels: Vec<Arc<Channel>>,
    /// Of each channel its users, who have up to sixteen sessions each.
    users: Vec<Vec<HeaderValue>>,
    /// Where the speakers connect, if elsewhere.
    speak_at: Option<Arc<Place>>,
}

/// Who somebody has become by signing up.
struct Account {
    user_id: String,
    bearer: HeaderValue,
}

impl People {
    /// Signs everybody up and makes their channels. Each channel has `plan.group` sessions of as few
    /// users as the server's bound allows, because a sign-up costs a server more than anything else.
    ///
    /// # Errors
    /// [`LoadError`]; nothing of it passes by itself.
    pub async fn gather(target: &Target, plan: &Plan) -> Result<Self, LoadError> {
        Self::gather_watched(target, plan, |_, _| {}).await
    }

    /// The same; `progress` is told how many channels of how many are ready.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub async fn gather_watched(
        target: &Target,
        plan: &Plan,
        progress: impl Fn(usize, usize),
    ) -> Result<Self, LoadError> {
        crate::plan::check(plan)?;
        let place = Arc::new(Place::find(&target.url).await?);
        let scene = Arc::new(Scene {
            plan: *plan,
            url: target.url.clone(),
            roads: Roads::to(target, &place)?,
            place,
            epoch: Instant::now(),
            tally: Tally::new(),
            tracker: TaskTracker::new(),
        });
        let count = plan.clients.div_ceil(plan.group);
        let by_rate = (count as f64 * plan.per_minute / 60.0 / RATE_PER_SPEAKER).ceil() as usize;
        let speakers = count.div_ceil(CHANNELS_PER_SPEAKER).max(by_rate).clamp(1, count);
        room_for(plan.clients + speakers)?;
        let run = format!("load-{:010x}", rand::random::<u64>() >> 24);
        let told = |why: Broken| why.told(&target.url);

        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut first = Setter::come(&scene).await.map_err(told)?;
        let mut voices = Vec::with_capacity(speakers);
        for number in 0..speakers {
            voices.push(first.sign_up(&format!("{run}-s{number}")).await.map_err(told)?);
        }
        let setter = async |mut setter: Setter| {
            let mut ready = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, Broken>(ready);
                }
                let listeners = plan.group.min(plan.clients - number * plan.group);
                let voice = &voices[number % speakers];
                let name = format!("{run}-{number}");
                ready.push((number, setter.channel(&name, listeners, voice).await?));
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, count);
            }
        };
        let others =
            (1..SETTERS.min(count)).map(async |_| setter(Setter::come(&scene).await?).await);
        let others = futures::future::try_join_all(others);
        let (some, others) =
            futures::future::try_join(setter(first), others).await.map_err(told)?;
        let mut ready: Vec<_> = some.into_iter().chain(others.into_iter().flatten()).collect();
        ready.sort_by_key(|(number, _)| *number);
        let (channels, users) = ready.into_iter().map(|(_, it)| it).unzip();
        let speakers = voices.into_iter().map(|voice| voice.bearer).collect();
        Ok(Self { scene, speakers, channels, users, speak_at: None })
    }

    /// Lets the speakers connect at another URL than the clients: another node, so that messages cross
    /// the cluster.
    ///
    /// # Errors
    /// [`LoadError`], if the URL is none of a server or its name has no address.
    pub async fn speak_at(&mut self, url: &str) -> Result<(), LoadError> {
        self.speak_at = Some(Arc::new(Place::find(url).await?));
        Ok(())
    }

    /// Everybody connects, as fast as the server takes them.
    ///
    /// # Errors
    /// If one of them cannot, [`LoadError`].
    pub async fn connect(self) -> Result<Crowd, LoadError> {
        self.connect_over(Duration::ZERO, |_, _| {}).await
    }

    /// Everybody connects, evenly over a time. `progress` is told how many of how many have.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_over(
        self,
        ramp: Duration,
        progress: impl Fn(usize, usize),
    ) -> Result<Crowd, LoadError> {
        let Self { scene, speakers, channels, users, speak_at } = self;
        let place = speak_at.unwrap_or_else(|| Arc::clone(&scene.place));
        let (clients, group) = (scene.plan.clients, scene.plan.group);
        let (orders, _) = watch::channel(Orders::default());
        let url = scene.url.clone();
        let told = |why: Broken| why.told(&url);

        let mut mouths = Vec::with_capacity(speakers.len());
        let mut speaking = JoinSet::new();
        for (number, bearer) in speakers.into_iter().enumerate() {
            let (speaker, mouth) =
                Speaker::new(clients + number, bearer, Arc::clone(&place), Arc::clone(&scene));
            let socket = speaker.connect().await.map_err(told)?;
            mouths.push(mouth);
            speaking.spawn(speaker.run(socket));
        }
        let began = Instant::now();
        let listeners = (0..clients).map(|number| {
            let (channel, place) = (number / group, number % group);
            let bearer = users[channel][place / SESSIONS_PER_USER].clone();
            let inbox = Inbox::new(orders.subscribe(), number);
            let (channel, scene) = (Arc::clone(&channels[channel]), Arc::clone(&scene));
            let mut listener = Listener::new(number, bearer, channel, scene, inbox);
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
            .map_err(told)?;
        Ok(Crowd::new(scene, orders, listening, speaking, mouths, channels))
    }
}

/// A connection that sets the scene.
struct Setter {
    connection: Connection,
    headers: http::HeaderMap,
}

impl Setter {
    async fn come(scene: &Scene) -> Result<Self, Broken> {
        let place = &scene.place;
        let stream = scene.stream(place, 0, Http::One, &Arc::default()).await?;
        let connection = Connection::open(stream, place, Http::One, &scene.tracker).await?;
        Ok(Self { connection, headers: headers(Headers::Minimal, place, None) })
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

    /// A channel of a speaker and as many users as so many listeners need.
    async fn channel(
        &mut self,
        name: &str,
        listeners: usize,
        voice: &Account,
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
        headers.insert(http::header::AUTHORIZATION, voice.bearer.clone());
        let made: Made =
            self.connection.json(Method::POST, "/v1/channels", &headers, Some(&body)).await?;
        let id = made.channel.channel_id.parse().map_err(Broken::foreign)?;
        Ok((Arc::new(Channel::new(id)), tokens))
    }
}

/// Raises the process's limit of open files as far as it may itself.
///
/// # Errors
/// [`LoadError::Descriptors`], if that does not do for so many connections.
pub(crate) fn room_for(connections: usize) -> Result<(), LoadError> {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, ..before };
    // Refused, it stays as it is, and that has to do.
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
