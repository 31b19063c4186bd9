//! What a failure means for the connection: which transport, session and node to use next, and when.
//! Decides and changes nothing; the driver carries out what is decided here.

use std::time::Duration;

use super::ladder::Fall;
use super::line::Broken;
use crate::error::{Code, Error, Problem};
use crate::http::Failure;

/// What to do after a failure.
#[derive(Debug)]
pub(crate) enum Remedy {
    /// Open the next line at once: nothing has failed.
    Resume,
    /// End the connection: waiting cannot help.
    End(Error),
    /// Make these changes, wait, and try again.
    Retry(Retry),
}

/// Changes before the next attempt.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    /// What failed, for people.
    pub(crate) why: String,
    /// The wait that the server asked for; otherwise the backoff decides.
    pub(crate) retry_after: Option<Duration>,
    /// How the transport failed, if it is what failed.
    pub(crate) transport: Option<Fall>,
    /// Whether the session has ended, so that another one is to be opened.
    pub(crate) session_ended: bool,
    pub(crate) node: NodeChange,
}

/// Which node to use for the next attempt.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum NodeChange {
    /// The same one.
    #[default]
    Stay,
    /// The node is about to stop: another session on another node, at this URL if one is known.
    Leave(Option<String>),
    /// The node at this URL, which has the session.
    Follow(Option<String>),
    /// The node did not respond. Where a connection was `established`, a proxy may have accepted it.
    Lost { established: bool },
}

impl Remedy {
    /// After a session could not be opened. `opened_before`: an earlier one could, so the URL is that
    /// of a Pabal server.
    pub(crate) fn after_opening(failure: Failure, opened_before: bool) -> Self {
        match failure {
            Failure::Problem(problem) => match &problem.code {
                Code::WrongNode | Code::Draining => Self::after_problem(problem, false),
                code if problem.retryable()
                    || matches!(code, Code::SessionGone | Code::Internal) =>
                {
                    Self::Retry(Retry::of(&problem))
                }
                _ => Self::End(Error::Problem(problem)),
            },
            // Most likely the URL is not that of a Pabal server.
            Failure::Foreign(status, detail)
                if !opened_before && !matches!(status, 408 | 429 | 500..) =>
            {
                Self::End(Error::Foreign { status, detail })
            }
            failure => Self::Retry(Retry::of_silence(failure)),
        }
    }

    /// After a line broke or could not be opened. `draining`: the node has announced that it stops.
    pub(crate) fn after_line(broken: Broken, draining: bool) -> Self {
        match broken {
            Broken::Lagged | Broken::PolicyChanged => Self::Resume,
            Broken::Refused(why) => Self::Retry(Retry {
                why,
                transport: Some(Fall::Refused),
                node: NodeChange::Lost { established: true },
                ..Retry::default()
            }),
            Broken::Failed(Failure::Problem(problem)) => Self::after_problem(problem, draining),
            Broken::Failed(failure) => {
                let retry = Retry::of_silence(failure);
                let established = retry.node == NodeChange::Lost { established: true };
                Self::Retry(Retry { transport: established.then_some(Fall::Silent), ..retry })
            }
            Broken::Closed(4401, problem) => {
                Self::End(Error::Problem(problem.unwrap_or_else(token_ended)))
            }
            Broken::Closed(code, problem) => Self::Retry(Retry::of_close(code, problem)),
        }
    }

    fn after_problem(problem: Box<Problem>, draining: bool) -> Self {
        let retry = Retry::of(&problem);
        let url = problem.url.clone();
        Self::Retry(match &problem.code {
            Code::Unauthenticated => return Self::End(Error::Problem(problem)),
            Code::WrongNode => Retry { node: NodeChange::Follow(url), ..retry },
            Code::Draining => Retry { node: NodeChange::Leave(url), ..retry },
            Code::RateLimited | Code::Unavailable => retry,
            Code::SessionGone if draining => {
                Retry { node: NodeChange::Leave(None), retry_after: None, ..retry }
            }
            // The session has ended, or it does not know this position. The next session begins at
            // the cursors of the channels.
            Code::SessionGone | Code::Invalid | Code::NotFound => {
                Retry { session_ended: true, ..retry }
            }
            _ => Retry { transport: Some(Fall::Silent), ..retry },
        })
    }
}

impl Retry {
    fn of(problem: &Problem) -> Self {
        let retry_after = problem.retry_after;
        Self { why: problem.to_string(), retry_after, ..Self::default() }
    }

    fn of_silence(failure: Failure) -> Self {
        let established = !matches!(failure, Failure::NoConnection(_));
        let node = NodeChange::Lost { established };
        Self { why: Error::from(failure).to_string(), node, ..Self::default() }
    }

    fn of_close(code: u16, problem: Option<Box<Problem>>) -> Self {
        let retry_after = problem.as_ref().and_then(|problem| problem.retry_after);
        let problem = problem.map_or_else(String::new, |problem| format!(": {problem}"));
        let retry =
            Self { why: format!("closed with {code}{problem}"), retry_after, ..Self::default() };
        match code {
            1012 => Self { node: NodeChange::Leave(None), retry_after: None, ..retry },
            // 4409: replaced by another line of this connection, which was given up. 4429: too fast.
            4409 | 4429 => retry,
            4400..=4499 => Self { session_ended: true, ..retry },
            _ => Self { transport: Some(Fall::Silent), ..retry },
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, code: &str) -> Box<Problem> {
        let json = format!(
            r#"{{"status":{status},"code":"{code}","retry_after_ms":7,"url":"http://n2.example"}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn retry(remedy: Remedy) -> Retry {
        match remedy {
            Remedy::Retry(retry) => retry,
            other => panic!("{other:?} is no retry"),
        }
    }

    fn of_problem(status: u16, code: &str, draining: bool) -> Retry {
        let broken = Broken::Failed(Failure::Problem(problem(status, code)));
        retry(Remedy::after_line(broken, draining))
    }

    #[test]
    fn an_ended_token_ends_the_connection() {
        let ends =
            |remedy: Remedy| matches!(remedy, Remedy::End(error) if error.is_unauthenticated());
        let unauthenticated = || Failure::Problem(problem(401, "unauthenticated"));
        assert!(ends(Remedy::after_opening(unauthenticated(), true)));
        assert!(ends(Remedy::after_line(Broken::Failed(unauthenticated()), false)));
        assert!(ends(Remedy::after_line(Broken::Closed(4401, None), false)));
    }

    #[test]
    fn a_url_of_another_server_ends_the_connection_only_at_first() {
        let foreign = |status| Failure::Foreign(status, "no problem document".into());
        assert!(matches!(Remedy::after_opening(foreign(404), false), Remedy::End(_)));
        for (status, opened_before) in [(404, true), (429, false), (502, false)] {
            let retry = retry(Remedy::after_opening(foreign(status), opened_before));
            assert_eq!(retry.node, NodeChange::Lost { established: true });
            assert_eq!(retry.transport, None, "no transport was tried");
        }
    }

    #[test]
    fn a_node_that_names_another_one_is_followed_or_left() {
        let url = Some("http://n2.example".to_owned());
        let wrong_node = of_problem(421, "wrong_node", false);
        assert_eq!(wrong_node.node, NodeChange::Follow(url.clone()));
        assert!(!wrong_node.session_ended, "the session lives there");
        let draining = of_problem(503, "draining", false);
        assert_eq!(draining.node, NodeChange::Leave(url));
        assert_eq!(draining.retry_after, Some(Duration::from_millis(7)));
        for left in [
            of_problem(410, "session_gone", true),
            retry(Remedy::after_line(Broken::Closed(1012, Some(problem(503, "draining"))), true)),
        ] {
            assert_eq!(left.node, NodeChange::Leave(None));
            assert_eq!(left.retry_after, None, "the wait that the drain announced counts");
        }
    }

    #[test]
    fn a_session_that_is_gone_is_replaced_and_the_transport_stays() {
        for (status, code) in [(410, "session_gone"), (422, "invalid"), (404, "not_found")] {
            let retry = of_problem(status, code, false);
            assert!(retry.session_ended && retry.transport.is_none(), "{code}: {retry:?}");
        }
        let closed = retry(Remedy::after_line(Broken::Closed(4410, None), false));
        assert!(closed.session_ended && closed.transport.is_none(), "{closed:?}");
    }

    #[test]
    fn an_overloaded_server_keeps_session_and_transport() {
        for (status, code) in [(429, "rate_limited"), (503, "unavailable")] {
            let retry = of_problem(status, code, false);
            assert!(!retry.session_ended && retry.transport.is_none(), "{code}: {retry:?}");
            assert_eq!(
                (retry.node, retry.retry_after),
                (NodeChange::Stay, Some(Duration::from_millis(7)))
            );
        }
        for code in [4409, 4429] {
            let retry = retry(Remedy::after_line(Broken::Closed(code, None), false));
            assert!(!retry.session_ended && retry.transport.is_none(), "{code}: {retry:?}");
        }
    }

    #[test]
    fn a_transport_fails_where_a_connection_was_established() {
        let cut = retry(Remedy::after_line(Broken::cut("cut"), false));
        assert_eq!(cut.transport, Some(Fall::Silent));
        assert_eq!(cut.node, NodeChange::Lost { established: true });
        let none = Broken::Failed(Failure::NoConnection("refused".into()));
        let none = retry(Remedy::after_line(none, false));
        assert_eq!(none.transport, None, "no network says nothing about a transport");
        assert_eq!(none.node, NodeChange::Lost { established: false });
        let refused = retry(Remedy::after_line(Broken::Refused("no upgrade".into()), false));
        assert_eq!(refused.transport, Some(Fall::Refused));
        let closed = retry(Remedy::after_line(Broken::Closed(1011, None), false));
        assert_eq!((closed.transport, closed.node), (Some(Fall::Silent), NodeChange::Stay));
    }

    #[test]
    fn a_slow_caller_and_a_new_policy_are_no_failures() {
        for broken in [Broken::Lagged, Broken::PolicyChanged] {
            assert!(matches!(Remedy::after_line(broken, false), Remedy::Resume));
        }
    }
}
