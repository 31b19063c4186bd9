//! What a connection does about what went wrong: wait, go to another transport, another session,
//! another node, or give up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::driver::{Driver, End};
use super::ladder::Fall;
use super::line::Broken;
use super::options::Transport;
use super::session::Session;
use crate::error::{Code, Error, Problem};
use crate::http::Failure;

/// How long to stay away from a node that stops and does not say.
const DRAINING: Duration = Duration::from_secs(1);
/// After so many failures in a row a node counts as gone, though connections to its address stand: a
/// proxy takes them.
const MANY_FAILURES: u32 = Transport::ALL.len() as u32;

impl Driver {
    /// What to do about a session that could not be opened.
    pub(super) async fn not_opened(&mut self, failure: Failure) -> Result<(), End> {
        match failure {
            Failure::Problem(problem) => match &problem.code {
                Code::WrongNode | Code::Draining => self.refused(problem, false).await,
                code if problem.retryable()
                    || matches!(code, Code::SessionGone | Code::Internal) =>
                {
                    self.wait(&problem.to_string(), problem.retry_after).await;
                    Ok(())
                }
                _ => Err(End::Fatal(Error::Problem(problem))),
            },
            // Not the URL of a server, most likely.
            Failure::Foreign(status, detail)
                if !self.ever && !matches!(status, 408 | 429 | 500..) =>
            {
                Err(End::Fatal(Error::Foreign { status, detail }))
            }
            failure => {
                self.lost(!matches!(failure, Failure::NoConnection(_)));
                self.wait(&Error::from(failure).to_string(), None).await;
                Ok(())
            }
        }
    }

    /// What to do about a line that gives no more, or never did.
    pub(super) async fn recover(&mut self, broken: Broken, settled: bool) -> Result<(), End> {
        self.route(None);
        match broken {
            Broken::Lagged | Broken::Left => Ok(()),
            Broken::Refused(why) => {
                if !self.ladder.failed(Fall::Refused, Instant::now()) {
                    self.lost(true);
                    self.wait(&why, None).await;
                }
                Ok(())
            }
            Broken::Failed(Failure::Problem(problem)) => self.refused(problem, settled).await,
            Broken::Failed(failure) => {
                let stood = !matches!(failure, Failure::NoConnection(_));
                if stood {
                    self.fell_silent(settled);
                }
                self.lost(stood);
                self.wait(&Error::from(failure).to_string(), None).await;
                Ok(())
            }
            Broken::Closed(4401, problem) => {
                let problem = problem.unwrap_or_else(token_ended);
                Err(End::Fatal(Error::Problem(problem)))
            }
            Broken::Closed(code, problem) => {
                let mut said = problem.as_ref().and_then(|problem| problem.retry_after);
                match code {
                    1012 => said = Some(self.leave()),
                    // Replaced: by a line of our own that was given up.
                    4409 | 4429 => {}
                    4400..=4499 => self.session = None,
                    _ => self.fell_silent(settled),
                }
                let why = problem.map_or_else(String::new, |problem| format!(": {problem}"));
                self.wait(&format!("closed with {code}{why}"), said).await;
                Ok(())
            }
        }
    }

    /// What to do about a problem that the server names.
    async fn refused(&mut self, problem: Box<Problem>, settled: bool) -> Result<(), End> {
        let mut said = problem.retry_after;
        match &problem.code {
            Code::Unauthenticated => return Err(End::Fatal(Error::Problem(problem))),
            Code::WrongNode => self.follow(problem.url.as_deref()),
            Code::Draining => {
                let after = self.leave();
                self.follow(problem.url.as_deref());
                said = Some(said.unwrap_or(after));
            }
            Code::RateLimited | Code::Unavailable => {}
            Code::SessionGone if self.draining.is_some() => said = Some(self.leave()),
            // Gone, or a position that it does not know: the cursors of the channels do.
            Code::SessionGone | Code::Invalid | Code::NotFound => self.session = None,
            _ => self.fell_silent(settled),
        }
        self.wait(&problem.to_string(), said).await;
        Ok(())
    }

    /// The node is about to stop: away from it, for as long as it says.
    fn leave(&mut self) -> Duration {
        self.session = None;
        let (after, url) = self.draining.take().unwrap_or((DRAINING, None));
        self.follow(url.as_deref());
        // It said the same to everybody.
        after + after.mul_f64(rand::random())
    }

    /// Goes where the server points, if it does: another node has the session, or will have the next.
    fn follow(&mut self, url: Option<&str>) {
        let Some(Ok(base)) = url.map(|url| self.account.client.base.moved(url)) else {
            return;
        };
        // A client without TLS set up cannot follow.
        if base.secure && self.account.client.tls.is_none() {
            return;
        }
        if let Some(session) = &self.session {
            let mut session = Session::clone(session);
            session.moved(base.clone());
            self.session = Some(Arc::new(session));
        }
        self.account.client.base = base;
    }

    /// Nothing comes from the node. Where a connection `stood`, what took it may be a proxy: then the
    /// number of failures tells, after every transport had its chance.
    fn lost(&mut self, stood: bool) {
        if !stood || self.retry.failures() >= MANY_FAILURES {
            self.go_elsewhere();
        }
    }

    /// The node is not there: back to where it was told of. If that is what is not there, to the
    /// other nodes that it heard of, one after the other.
    pub(super) fn go_elsewhere(&mut self) {
        let base = &mut self.account.client.base;
        if *base != self.home {
            *base = self.home.clone();
        } else if let Some(next) = self.elsewhere.pop_front() {
            *base = next.clone();
            self.elsewhere.push_back(next);
        } else {
            return;
        }
        self.session = None;
    }

    fn fell_silent(&mut self, settled: bool) {
        if !settled {
            self.ladder.failed(Fall::Silent, Instant::now());
        }
    }
}

fn token_ended() -> Box<Problem> {
    Box::new(Problem {
        code: Code::Unauthenticated,
        status: 401,
        detail: "the token has ended".into(),
        retry_after: None,
        errors: Vec::new(),
        url: None,
    })
}
