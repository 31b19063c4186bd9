//! Commands: the same JSON whether posted over HTTP or sent as a WebSocket frame.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use http::{Method, Response, StatusCode};
use pabal_core::engine::{Engine, Reservation, SendRequest, Session};
use pabal_core::model::UserId;
use pabal_core::protocol::{Command, Cursors, Problem, Reply, parse_commands};

use crate::http::{Body, BodyLimits, RequestBody, json_response, read_held_body, require_method};

/// How many bytes a reply takes, about: one with a problem.
const REPLY_BYTES: usize = 512;

/// A command that was begun. A send has its position in the log by now; what is left is the wait for
/// its acknowledgement.
enum Begun {
    Done(Reply),
    Storing(BoxFuture<'static, Reply>),
}

/// Begins a command. The commands of one client are begun one after the other, which keeps their order.
async fn begin(
    engine: Engine,
    user_id: UserId,
    id: Option<String>,
    command: Result<Command, Problem>,
) -> Begun {
    let outcome = match command {
        Ok(Command::Send { channel_id, client_message_id, content }) => {
            let send = SendRequest { channel_id, content, client_message_id };
            match engine.begin_submit(user_id, send).await {
                Ok(submission) => {
                    return Begun::Storing(Box::pin(async move {
                        let stored = submission.stored().await;
                        Reply { id, outcome: stored.map(|sent| Some(sent.message.message_id)) }
                    }));
                }
                Err(problem) => Err(problem),
            }
        }
        Ok(command) => engine.run_command(user_id, command).await.map(|()| None),
        Err(problem) => Err(problem),
    };
    Begun::Done(Reply { id, outcome })
}

/// `POST …/commands`: `{"commands":[…]}` → `{"replies":[…]}`, in the order of the commands.
pub(crate) async fn post<B: RequestBody>(
    engine: Engine,
    session: Arc<Session>,
    request: http::Request<B>,
    (body_limits, mut held): (BodyLimits, Reservation),
) -> Result<Response<Body>, Problem> {
    require_method(&request, &Method::POST)?;
    let body = read_held_body(request.into_body(), body_limits, &mut held).await?;
    let commands = parse_commands(&body)?;
    drop(body);
    // Before a command runs: its reply must not be refused after that.
    held.resize(held.bytes() + commands.len() * REPLY_BYTES)?;
    let mut begun = Vec::with_capacity(commands.len());
    for (id, command) in commands {
        begun.push(begin(engine.clone(), session.user_id(), id, command).await);
    }
    let replies = futures::future::join_all(begun.into_iter().map(|begun| async {
        match begun {
            Begun::Done(reply) => reply,
            Begun::Storing(reply) => reply.await,
        }
    }))
    .await;
    let body = serde_json::json!({ "replies": replies }).to_string();
    Ok(json_response(StatusCode::OK, Body::held(body, held)))
}

/// The commands of a WebSocket whose replies are still to come.
#[derive(Default)]
pub(crate) struct Work {
    waiting: VecDeque<Job>,
    beginning: Option<BoxFuture<'static, Begun>>,
    storing: FuturesUnordered<BoxFuture<'static, Reply>>,
}

/// One part of a client's frame that takes time.
pub(crate) enum Job {
    /// Runs a command; the reply has its id.
    Command(Option<String>, Result<Command, Problem>),
    /// Delivers what the channels hold beyond these cursors.
    CatchUp(Cursors),
}

/// How many jobs one client may have open. At the limit its frames are left unread.
const OPEN_JOBS: usize = 256;

impl Work {
    pub(crate) fn push(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// Whether frames must be left unread until some job is done.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() + self.storing.len() >= OPEN_JOBS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.beginning.is_none() && self.storing.is_empty()
    }

    /// Whether every job was begun: what is left is the wait for acknowledgements.
    pub(crate) fn has_begun(&self) -> bool {
        self.waiting.is_empty() && self.beginning.is_none()
    }

    /// The next reply. Ready with `None` when every job is done.
    pub(crate) fn poll_reply(
        &mut self,
        cx: &mut Context<'_>,
        engine: &Engine,
        session: &Arc<Session>,
    ) -> Poll<Option<Reply>> {
        loop {
            if self.beginning.is_none() && self.storing.len() < OPEN_JOBS {
                self.beginning = self.waiting.pop_front().map(|job| job.begin(engine, session));
            }
            let Some(beginning) = &mut self.beginning else {
                break;
            };
            let Poll::Ready(begun) = beginning.as_mut().poll(cx) else {
                break;
            };
            self.beginning = None;
            match begun {
                // The events themselves are the reply to a catch-up.
                Begun::Done(Reply { id: None, outcome: Ok(None) }) => {}
                Begun::Done(reply) => return Poll::Ready(Some(reply)),
                Begun::Storing(reply) => self.storing.push(reply),
            }
        }
        match self.storing.poll_next_unpin(cx) {
            Poll::Ready(Some(reply)) => Poll::Ready(Some(reply)),
            Poll::Ready(None) if self.beginning.is_none() => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }
}

impl Job {
    fn begin(self, engine: &Engine, session: &Arc<Session>) -> BoxFuture<'static, Begun> {
        let (engine, session) = (engine.clone(), Arc::clone(session));
        match self {
            Self::Command(id, command) => Box::pin(begin(engine, session.user_id(), id, command)),
            Self::CatchUp(cursors) => Box::pin(async move {
                let asked = cursors.len();
                let at_most = engine.limits().channels_per_request;
                if asked > at_most {
                    let problem =
                        Problem::invalid("channels", format!("at most {at_most} at once"));
                    return Begun::Done(Reply { id: None, outcome: Err(problem) });
                }
                engine.catch_up(&session, cursors).await;
                Begun::Done(Reply { id: None, outcome: Ok(None) })
            }),
        }
    }
}
