//! What the caller says: kept until the server has confirmed it, and repeated under the same name
//! until then. One send of a channel is under way at a time, so that a repeat never falls behind
//! what was said after it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::Backoff;
use super::backoff::Retry;
use super::line::Socket;
use super::session::Session;
use crate::account::Account;
use crate::error::{Code, Error, Problem};
use crate::http::{Ask, Failure, json};
use crate::ids::{ChannelId, MessageId};
use crate::net::within;

/// As many commands as one request takes along, and about as many bytes: the server takes 256 and
/// 256 KiB.
const COMMANDS: usize = 64;
const BYTES: usize = 96 * 1024;

/// Something to be said.
#[derive(Debug)]
pub(crate) enum Job {
    Send(Pending),
    Typing(ChannelId),
    Read(ChannelId, MessageId),
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) channel_id: ChannelId,
    pub(crate) client_message_id: String,
    pub(crate) content: String,
    pub(crate) deadline: Instant,
    pub(crate) tell: oneshot::Sender<Result<MessageId, Error>>,
    /// Its place among those that may wait.
    pub(crate) _place: OwnedSemaphorePermit,
}

/// By what way commands go now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) socket: Option<Socket>,
    /// No way will ever be there again.
    pub(crate) ended: Option<Error>,
}

/// The answer to a command.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: Option<String>,
    message_id: Option<MessageId>,
    error: Option<Problem>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Command<'a> {
    Send { id: &'a str, channel_id: ChannelId, client_message_id: &'a str, content: &'a str },
    Typing { id: &'a str, channel_id: ChannelId },
    Read { id: &'a str, channel_id: ChannelId, message_id: MessageId },
}

/// What a command was about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    Send(ChannelId, String),
    Typing,
    Read(ChannelId, MessageId),
}

type Outcome = (About, Result<Option<MessageId>, Failure>);

/// The sends of one channel.
#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Pending>,
    /// The first of them, if it is under way.
    under_way: Option<String>,
    retry: Retry,
    not_before: Instant,
    /// Whether the server named that time.
    said: bool,
}

#[derive(Clone, Copy, Debug)]
struct ReadUpTo {
    message_id: MessageId,
    under_way: bool,
    not_before: Instant,
}

/// Owns what is to be said.
pub(crate) struct Outbox {
    account: Account,
    backoff: Backoff,
    /// How long a reply may take.
    reply_within: Duration,
    jobs: mpsc::Receiver<Job>,
    route: watch::Receiver<Route>,
    lanes: BTreeMap<ChannelId, Lane>,
    typing: BTreeSet<ChannelId>,
    reads: BTreeMap<ChannelId, ReadUpTo>,
    under_way: FuturesUnordered<BoxFuture<'static, Vec<Outcome>>>,
}

impl Outbox {
    pub(crate) fn new(
        account: Account,
        backoff: Backoff,
        jobs: mpsc::Receiver<Job>,
        route: watch::Receiver<Route>,
    ) -> Self {
        let reply_within = account.client.request_timeout;
        Self {
            account,
            backoff,
            reply_within,
            jobs,
            route,
            lanes: BTreeMap::new(),
            typing: BTreeSet::new(),
            reads: BTreeMap::new(),
            under_way: FuturesUnordered::new(),
        }
    }

    /// Works until nobody is left who could say anything.
    pub(crate) async fn run(mut self) {
        loop {
            self.expire();
            let route = self.route.borrow_and_update().clone();
            if let Some(error) = route.ended {
                return self.fail(&error);
            }
            self.dispatch(&route);
            let wake = self.wake();
            tokio::select! {
                job = self.jobs.recv() => match job {
                    Some(job) => self.take(job),
                    None => return,
                },
                Some(outcomes) = self.under_way.next() => {
                    outcomes.into_iter().for_each(|outcome| self.settle(outcome));
                }
                changed = self.route.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.hurry();
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    fn take(&mut self, job: Job) {
        let now = Instant::now();
        match job {
            Job::Send(pending) => {
                let retry = Retry::new(self.backoff);
                let lane = self.lanes.entry(pending.channel_id).or_insert(Lane {
                    waiting: VecDeque::new(),
                    under_way: None,
                    retry,
                    not_before: now,
                    said: false,
                });
                lane.waiting.push_back(pending);
            }
            Job::Typing(channel_id) => {
                self.typing.insert(channel_id);
            }
            Job::Read(channel_id, message_id) => {
                let new = ReadUpTo { message_id, under_way: false, not_before: now };
                let read = self.reads.entry(channel_id).or_insert(new);
                if message_id > read.message_id {
                    *read = new;
                }
            }
        }
    }

    /// Gives up what is over its deadline.
    fn expire(&mut self) {
        let now = Instant::now();
        self.lanes.retain(|_, lane| {
            // Those of a lane were given the same time one after the other.
            while let Some(first) = lane.waiting.front()
                && first.deadline <= now
            {
                if let Some(first) = lane.waiting.pop_front() {
                    // Whoever dropped the handle does not want to know.
                    let _ = first.tell.send(Err(Error::NotConfirmed));
                }
                lane.under_way = None;
            }
            !lane.waiting.is_empty()
        });
    }

    /// Nothing will be sent any more.
    fn fail(&mut self, error: &Error) {
        let lanes = std::mem::take(&mut self.lanes);
        for pending in lanes.into_values().flat_map(|lane| lane.waiting) {
            let _ = pending.tell.send(Err(error.clone()));
        }
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            if let Job::Send(pending) = job {
                let _ = pending.tell.send(Err(error.clone()));
            }
        }
    }

    /// There is another way: what failed for want of one need not wait.
    fn hurry(&mut self) {
        let now = Instant::now();
        for lane in self.lanes.values_mut().filter(|lane| !lane.said) {
            lane.not_before = now;
        }
    }

    /// When there is something to do again.
    fn wake(&self) -> Option<Instant> {
        let lanes = self.lanes.values().flat_map(|lane| {
            let again = lane.under_way.is_none().then_some(lane.not_before);
            [again, lane.waiting.front().map(|first| first.deadline)]
        });
        let reads = self.reads.values().filter(|read| !read.under_way);
        let now = Instant::now();
        let again = lanes.flatten().chain(reads.map(|read| read.not_before));
        // What was due and was not done waits for something else than time.
        again.filter(|at| *at > now).min()
    }

    fn dispatch(&mut self, route: &Route) {
        let Some(session) = &route.session else {
            // It tells of a moment, which will be over.
            self.typing.clear();
            return;
        };
        if route.socket.is_none() && !self.under_way.is_empty() {
            return;
        }
        let due = self.due();
        if due.is_empty() {
            return;
        }
        match &route.socket {
            Some(socket) => {
                for (about, id, json) in due {
                    let (socket, limit) = (socket.clone(), self.reply_within);
                    self.under_way.push(Box::pin(async move {
                        let reply = within(limit, socket.command(&id, json)).await.flatten();
                        let lost = || Failure::Cut("the socket gave no reply".into());
                        vec![(about, reply.ok_or_else(lost).and_then(Reply::outcome))]
                    }));
                }
            }
            None => {
                let (account, session) = (self.account.clone(), Arc::clone(session));
                self.under_way.push(Box::pin(post(account, session, due, self.reply_within)));
            }
        }
    }

    /// What can be said now, with the ids that replies will have.
    fn due(&mut self) -> Vec<(About, String, String)> {
        let now = Instant::now();
        let (mut due, mut bytes) = (Vec::new(), 0);
        let mut add = |about: About, id: &str, command: &Command<'_>| {
            let json = serde_json::to_string(command).unwrap_or_default();
            bytes += json.len();
            due.push((about, id.to_owned(), json));
            due.len() < COMMANDS && bytes < BYTES
        };
        let mut room = true;
        while room && let Some(channel_id) = self.typing.pop_first() {
            let id = format!("t{channel_id}");
            room = add(About::Typing, &id, &Command::Typing { id: &id, channel_id });
        }
        for (channel_id, lane) in &mut self.lanes {
            if !room {
                break;
            }
            let Some(first) = lane.waiting.front() else { continue };
            if lane.under_way.is_some() || lane.not_before > now {
                continue;
            }
            let (id, channel_id) = (first.client_message_id.as_str(), *channel_id);
            let content = first.content.as_str();
            lane.under_way = Some(id.to_owned());
            let about = About::Send(channel_id, id.to_owned());
            let send = Command::Send { id, channel_id, client_message_id: id, content };
            room = add(about, id, &send);
        }
        for (channel_id, read) in &mut self.reads {
            if !room {
                break;
            }
            if read.under_way || read.not_before > now {
                continue;
            }
            read.under_way = true;
            let (channel_id, message_id) = (*channel_id, read.message_id);
            let id = format!("r{channel_id}-{message_id}");
            let about = About::Read(channel_id, message_id);
            room = add(about, &id, &Command::Read { id: &id, channel_id, message_id });
        }
        due
    }

    fn settle(&mut self, (about, outcome): Outcome) {
        let now = Instant::now();
        match about {
            About::Typing => {}
            About::Read(channel_id, message_id) => {
                let Some(read) = self.reads.get_mut(&channel_id) else { return };
                if read.message_id != message_id {
                    return;
                }
                match outcome {
                    Err(failure) if is_passing(&failure) => {
                        read.under_way = false;
                        read.not_before = now + Retry::new(self.backoff).wait(said(&failure));
                    }
                    _ => {
                        self.reads.remove(&channel_id);
                    }
                }
            }
            About::Send(channel_id, client_message_id) => {
                let Some(lane) = self.lanes.get_mut(&channel_id) else { return };
                if lane.under_way.as_ref() != Some(&client_message_id) {
                    // It was given up meanwhile.
                    return;
                }
                lane.under_way = None;
                let result = match outcome {
                    Err(failure) if is_passing(&failure) => {
                        let said = said(&failure);
                        lane.not_before = now + lane.retry.wait(said);
                        lane.said = said.is_some();
                        return;
                    }
                    Ok(Some(message_id)) => Ok(message_id),
                    Ok(None) => {
                        Err(Failure::Foreign(200, "a reply without a message id".into()).into())
                    }
                    Err(failure) => Err(failure.into()),
                };
                lane.retry.reset();
                lane.not_before = now;
                if let Some(pending) = lane.waiting.pop_front() {
                    let _ = pending.tell.send(result);
                }
                if lane.waiting.is_empty() {
                    self.lanes.remove(&channel_id);
                }
            }
        }
    }
}

impl Reply {
    fn outcome(self) -> Result<Option<MessageId>, Failure> {
        match self.error {
            Some(problem) => Err(Failure::Problem(Box::new(problem))),
            None => Ok(self.message_id),
        }
    }
}

/// Posts commands; the replies stand in their order.
async fn post(
    account: Account,
    session: Arc<Session>,
    commands: Vec<(About, String, String)>,
    within: Duration,
) -> Vec<Outcome> {
    #[derive(Deserialize)]
    struct Replies {
        replies: Vec<Reply>,
    }
    let texts: Vec<_> = commands.iter().map(|(_, _, json)| json.as_str()).collect();
    let body = format!("{{\"commands\":[{}]}}", texts.join(","));
    let answer = async {
        let (method, url) = (Method::POST, session.commands()?);
        let (token, body) = (Some(&account.token), Some(Bytes::from(body)));
        let ask = Ask { method, url, token, body, within };
        json::<Replies>(&account.client.http.call(ask).await?)
    }
    .await;
    let mut replies = match answer {
        Ok(Replies { replies }) => Ok(replies.into_iter()),
        Err(failure) => Err(failure),
    };
    let outcome = |about| {
        let outcome = match &mut replies {
            Err(failure) => Err(failure.clone()),
            Ok(replies) => match replies.next() {
                Some(reply) => reply.outcome(),
                None => Err(Failure::Foreign(200, "a reply is missing".into())),
            },
        };
        (about, outcome)
    };
    commands.into_iter().map(|(about, _, _)| about).map(outcome).collect()
}

/// Whether the same command may succeed later, by this way or another.
fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::NoConnection(_) | Failure::Cut(_) | Failure::Foreign(..) => true,
        Failure::Problem(problem) => {
            problem.retryable() || matches!(problem.code, Code::SessionGone | Code::WrongNode)
        }
    }
}

/// After how long the server wants to be asked again.
fn said(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Problem(problem) => problem.retry_after,
        _ => None,
    }
}

#[cfg(test)]
mod tests;
