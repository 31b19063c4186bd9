//! What the caller sends: kept until the server has confirmed it, and repeated under the same
//! `client_message_id` until then. Typing notices are sent once; of several read positions the highest is
//! repeated until it is confirmed.

mod channel_queue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::Method;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use self::channel_queue::ChannelQueue;
use super::backoff::{Backoff, BackoffState};
use super::command::{Command, Reply};
use super::route::Route;
use super::session::Session;
use crate::account::Account;
use crate::error::{Code, Error};
use crate::http::{Call, Failure, json};
use crate::ids::{ChannelId, MessageId};
use crate::net::within;

pub(crate) use self::channel_queue::Pending;

/// How many commands one request carries, and about how many bytes of them. The server accepts 256 and
/// 256 KiB.
const COMMANDS: usize = 64;
const BYTES: usize = 96 * 1024;

/// A task for the outbox.
#[derive(Debug)]
pub(crate) enum Job {
    Send(Pending),
    Typing(ChannelId),
    Read(ChannelId, MessageId),
}

/// What a command was about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    Send(ChannelId, String),
    Typing,
    Read(ChannelId, MessageId),
}

type Outcome = (About, Result<Option<MessageId>, Failure>);

/// A read position that is not confirmed yet.
#[derive(Clone, Copy, Debug)]
struct ReadUpTo {
    message_id: MessageId,
    in_flight: bool,
    backoff: BackoffState,
    not_before: Instant,
}

/// Keeps what the caller sends until it is confirmed.
pub(crate) struct Outbox {
    account: Account,
    backoff: Backoff,
    /// How long a reply may take.
    reply_within: Duration,
    /// Whether the connection gets another token when its token ends.
    renews: bool,
    jobs: mpsc::Receiver<Job>,
    route: watch::Receiver<Route>,
    queues: BTreeMap<ChannelId, ChannelQueue>,
    typing: BTreeSet<ChannelId>,
    reads: BTreeMap<ChannelId, ReadUpTo>,
    in_flight: FuturesUnordered<BoxFuture<'static, Vec<Outcome>>>,
}

impl Outbox {
    pub(crate) fn new(
        account: Account,
        (backoff, renews): (Backoff, bool),
        jobs: mpsc::Receiver<Job>,
        route: watch::Receiver<Route>,
    ) -> Self {
        let reply_within = account.client.request_timeout;
        Self {
            account,
            backoff,
            reply_within,
            renews,
            jobs,
            route,
            queues: BTreeMap::new(),
            typing: BTreeSet::new(),
            reads: BTreeMap::new(),
            in_flight: FuturesUnordered::new(),
        }
    }

    /// Works until every sender is dropped or the connection has ended.
    pub(crate) async fn run(mut self) {
        loop {
            self.expire();
            let route = self.route.borrow_and_update().clone();
            if let Some(error) = route.ended {
                return self.fail(&error);
            }
            if let Some(token) = &route.token {
                self.account.token.clone_from(token);
            }
            self.dispatch(&route);
            let wake = self.wake();
            tokio::select! {
                job = self.jobs.recv() => match job {
                    Some(job) => self.take(job),
                    None => return,
                },
                Some(outcomes) = self.in_flight.next() => {
                    outcomes.into_iter().for_each(|outcome| self.settle(outcome));
                }
                changed = self.route.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = Instant::now();
                    self.queues.values_mut().for_each(|queue| queue.hurry(now));
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    fn take(&mut self, job: Job) {
        let (now, backoff) = (Instant::now(), self.backoff);
        match job {
            Job::Send(pending) => {
                let new = || ChannelQueue::new(backoff, now);
                self.queues.entry(pending.channel_id).or_insert_with(new).push(pending);
            }
            Job::Typing(channel_id) => {
                self.typing.insert(channel_id);
            }
            Job::Read(channel_id, message_id) => {
                let backoff = BackoffState::new(backoff);
                let new = ReadUpTo { message_id, in_flight: false, backoff, not_before: now };
                let read = self.reads.entry(channel_id).or_insert(new);
                if message_id > read.message_id {
                    *read = new;
                }
            }
        }
    }

    /// Fails the sends whose deadline has passed.
    fn expire(&mut self) {
        let now = Instant::now();
        self.queues.retain(|_, queue| {
            queue.expire(now);
            !queue.is_empty()
        });
    }

    /// Fails every send: the connection has ended.
    fn fail(&mut self, error: &Error) {
        for queue in std::mem::take(&mut self.queues).into_values() {
            queue.fail(error);
        }
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            if let Job::Send(pending) = job {
                pending.finish(Err(error.clone()));
            }
        }
    }

    /// When there is something to do again.
    fn wake(&self) -> Option<Instant> {
        let queues = self.queues.values().flat_map(ChannelQueue::wake).flatten();
        let reads = self.reads.values().filter(|read| !read.in_flight);
        let now = Instant::now();
        // What is due already and was not sent waits for a route and not for a time.
        queues.chain(reads.map(|read| read.not_before)).filter(|at| *at > now).min()
    }

    fn dispatch(&mut self, route: &Route) {
        let Some(session) = &route.session else {
            // A typing notice is about this moment, and would be wrong later.
            self.typing.clear();
            return;
        };
        if route.socket.is_none() && !self.in_flight.is_empty() {
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
                    self.in_flight.push(Box::pin(async move {
                        let reply = within(limit, socket.command(&id, json)).await.flatten();
                        let lost = || Failure::Cut("no reply from the socket".into());
                        vec![(about, reply.ok_or_else(lost).and_then(Reply::outcome))]
                    }));
                }
            }
            None => {
                let (account, session) = (self.account.clone(), Arc::clone(session));
                self.in_flight.push(Box::pin(post(account, session, due, self.reply_within)));
            }
        }
    }

    /// The commands that are due, each with the id that its reply will carry.
    fn due(&mut self) -> Vec<(About, String, String)> {
        let now = Instant::now();
        let (mut due, mut bytes) = (Vec::new(), 0);
        let mut add = |about: About, id: &str, command: &Command<'_>| {
            let json = serde_json::to_string(command).unwrap_or_default();
            bytes += json.len();
            due.push((about, id.to_owned(), json));
            due.len() < COMMANDS && bytes < BYTES
        };
        let mut fits = true;
        while fits && let Some(channel_id) = self.typing.pop_first() {
            let id = format!("t{channel_id}");
            fits = add(About::Typing, &id, &Command::Typing { id: &id, channel_id });
        }
        for queue in self.queues.values_mut() {
            if !fits {
                break;
            }
            let Some(pending) = queue.start(now) else { continue };
            let (id, channel_id) = (pending.client_message_id.as_str(), pending.channel_id);
            let about = About::Send(channel_id, id.to_owned());
            let content = pending.content.as_str();
            let send = Command::Send { id, channel_id, client_message_id: id, content };
            fits = add(about, id, &send);
        }
        for (channel_id, read) in &mut self.reads {
            if !fits {
                break;
            }
            if read.in_flight || read.not_before > now {
                continue;
            }
            read.in_flight = true;
            let (channel_id, message_id) = (*channel_id, read.message_id);
            let id = format!("r{channel_id}-{message_id}");
            let about = About::Read(channel_id, message_id);
            fits = add(about, &id, &Command::Read { id: &id, channel_id, message_id });
        }
        due
    }

    fn settle(&mut self, (about, outcome): Outcome) {
        match about {
            About::Typing => {}
            About::Read(channel_id, message_id) => {
                self.settle_read(channel_id, message_id, outcome)
            }
            About::Send(channel_id, id) => self.settle_send(channel_id, &id, outcome),
        }
    }

    fn settle_read(
        &mut self,
        channel_id: ChannelId,
        message_id: MessageId,
        outcome: Result<Option<MessageId>, Failure>,
    ) {
        let Some(read) = self.reads.get_mut(&channel_id) else { return };
        if read.message_id != message_id {
            // The user has read on since.
            return;
        }
        match outcome {
            Err(failure) if self.renews && is_ended_token(&failure) || is_temporary(&failure) => {
                read.in_flight = false;
                let wait = read.backoff.next_wait(retry_after(&failure));
                read.not_before = Instant::now() + wait;
            }
            _ => {
                self.reads.remove(&channel_id);
            }
        }
    }

    fn settle_send(
        &mut self,
        channel_id: ChannelId,
        client_message_id: &str,
        outcome: Result<Option<MessageId>, Failure>,
    ) {
        let now = Instant::now();
        let Some(queue) = self.queues.get_mut(&channel_id) else { return };
        if !queue.is_in_flight(client_message_id) {
            // Its deadline has passed since.
            return;
        }
        let outcome = match outcome {
            Err(failure) if self.renews && is_ended_token(&failure) || is_temporary(&failure) => {
                return queue.retry(retry_after(&failure), now);
            }
            Ok(Some(message_id)) => Ok(message_id),
            Ok(None) => Err(Failure::Foreign(200, "a reply without a message id".into()).into()),
            Err(failure) => Err(failure.into()),
        };
        queue.finish(outcome, now);
        if queue.is_empty() {
            self.queues.remove(&channel_id);
        }
    }
}

/// Posts commands in one request. The replies are in the order of the commands.
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
    let response = async {
        let (method, url) = (Method::POST, session.commands()?);
        let (token, body) = (Some(&account.token), Some(Bytes::from(body)));
        let call = Call { method, url, token, body, within };
        json::<Replies>(&account.client.http.call(call).await?)
    }
    .await;
    let mut replies = match response {
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

/// Whether the command was refused because the token has ended.
fn is_ended_token(failure: &Failure) -> bool {
    matches!(failure, Failure::Problem(problem) if problem.code == Code::Unauthenticated)
}

/// Whether the same command may succeed later, on this route or another one.
fn is_temporary(failure: &Failure) -> bool {
    match failure {
        Failure::NoConnection(_) | Failure::Cut(_) | Failure::Foreign(..) => true,
        Failure::Problem(problem) => {
            problem.retryable() || matches!(problem.code, Code::SessionGone | Code::WrongNode)
        }
    }
}

/// The wait that the server named.
fn retry_after(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Problem(problem) => problem.retry_after,
        _ => None,
    }
}

#[cfg(test)]
mod tests;
