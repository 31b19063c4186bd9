//! Sending as a client should: under a name of its own, repeated until it is acknowledged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::account::{Id, id};
use crate::client::Client;
use crate::ledger::Ledger;

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /v1/channels/{channel_id}/messages`.
    Messages,
    /// `POST /v1/sessions/{session_id}/commands`.
    Commands,
    /// A WebSocket frame; as [`Commands`](Self::Commands) while there is no socket.
    Frame,
}

impl Route {
    /// Every route.
    pub const ALL: [Self; 3] = [Self::Messages, Self::Commands, Self::Frame];
}

/// How long one attempt waits for its acknowledgement.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long the attempts may take together: longer than any outage in these tests.
const GIVE_UP: Duration = Duration::from_secs(90);
/// How long a sender pauses before it repeats.
const REST: Duration = Duration::from_millis(15);

/// The outcome of an attempt.
enum Outcome {
    Acknowledged(Id),
    /// Unknown, or refused temporarily: repeat.
    Repeat(String),
    Refused(String),
}

impl Client {
    /// Sends a message under a new name, on changing routes, until it is acknowledged. Returns its id.
    pub async fn send(&self, channel_id: Id, content: &str) -> Id {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = Ledger::name(&self.account.username);
        self.ledger.begin(channel_id, self.account.user_id, &name, content);
        let first = COUNT.fetch_add(1, Ordering::Relaxed) % Route::ALL.len();
        let routes = Route::ALL.into_iter().cycle().skip(first);
        let message_id = self.repeat(channel_id, &name, content, routes).await;
        self.ledger.acknowledge(&name, message_id);
        message_id
    }

    /// One attempt by one route.
    ///
    /// # Errors
    /// Why it was not acknowledged.
    pub async fn try_send(
        &self,
        route: Route,
        channel_id: Id,
        name: &str,
        content: &str,
    ) -> Result<Id, String> {
        match self.attempt(route, channel_id, name, content).await {
            Outcome::Acknowledged(message_id) => Ok(message_id),
            Outcome::Repeat(why) | Outcome::Refused(why) => Err(why),
        }
    }

    /// Repeats a send by one route until it is acknowledged.
    pub async fn repeat_by(&self, route: Route, channel_id: Id, name: &str, content: &str) -> Id {
        self.repeat(channel_id, name, content, std::iter::repeat(route)).await
    }

    async fn repeat(
        &self,
        channel_id: Id,
        name: &str,
        content: &str,
        routes: impl Iterator<Item = Route>,
    ) -> Id {
        let deadline = Instant::now() + GIVE_UP;
        for route in routes {
            match self.attempt(route, channel_id, name, content).await {
                Outcome::Acknowledged(message_id) => return message_id,
                Outcome::Repeat(why) => {
                    if why.contains("not_confirmed") {
                        self.ledger.not_confirmed();
                    }
                    assert!(Instant::now() < deadline, "{name} was never acknowledged: {why}");
                    sleep(REST).await;
                }
                Outcome::Refused(why) => panic!("{name} by {route:?}: {why}"),
            }
        }
        unreachable!("routes do not run out")
    }

    async fn attempt(&self, route: Route, channel_id: Id, name: &str, content: &str) -> Outcome {
        let said = json!({"client_message_id": name, "content": content});
        let (socket, session) = (self.state.socket(), self.state.session());
        match (route, socket, session) {
            (Route::Frame, Some(socket), _) => {
                let command = as_command(&said, channel_id);
                match socket.commands(&[command], ATTEMPT).await {
                    Some(replies) => of_reply(&replies[0]),
                    None => Outcome::Repeat("no reply on the socket".into()),
                }
            }
            (Route::Frame | Route::Commands, _, Some(session)) => {
                let body = json!({"commands": [as_command(&said, channel_id)]});
                let path = session.path("/commands");
                let call = self.account.call_within(Method::POST, &path, Some(&body), ATTEMPT);
                match call.await {
                    Err(error) => Outcome::Repeat(error.to_string()),
                    Ok(response) if response.status == 200 => {
                        of_reply(&response.json["replies"][0])
                    }
                    // The reader opens another session.
                    Ok(response) if response.code() == "session_gone" => {
                        Outcome::Repeat("session_gone".into())
                    }
                    Ok(response) => of_problem(&response.json),
                }
            }
            _ => {
                let path = format!("/v1/channels/{channel_id}/messages");
                let call = self.account.call_within(Method::POST, &path, Some(&said), ATTEMPT);
                match call.await {
                    Err(error) => Outcome::Repeat(error.to_string()),
                    Ok(response) if matches!(response.status.as_u16(), 200 | 201) => {
                        Outcome::Acknowledged(id(&response.json["message"]["message_id"]))
                    }
                    Ok(response) => of_problem(&response.json),
                }
            }
        }
    }
}

fn as_command(said: &Value, channel_id: Id) -> Value {
    let mut command = said.clone();
    command["type"] = json!("send");
    command["channel_id"] = json!(channel_id.to_string());
    command
}

fn of_reply(reply: &Value) -> Outcome {
    assert_eq!(reply["type"], "reply", "{reply}");
    match reply.get("error") {
        None => Outcome::Acknowledged(id(&reply["message_id"])),
        Some(problem) => of_problem(problem),
    }
}

fn of_problem(problem: &Value) -> Outcome {
    match problem["status"].as_u64() {
        Some(429 | 503) => Outcome::Repeat(problem.to_string()),
        _ => Outcome::Refused(problem.to_string()),
    }
}
