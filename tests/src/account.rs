//! A signed-up user and the API calls that scenarios need.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::address::Address;
use crate::http::{Call, Http, JsonResponse, NoResponse, RESPONSE_WITHIN};
use crate::ledger::Ledger;

/// A 64-bit id or cursor, which is a decimal string on the wire.
pub type Id = u64;

/// The highest message id held, by channel.
pub type Cursors = BTreeMap<Id, Id>;

/// Parses a decimal string.
///
/// # Panics
/// If the value is not one: ids are never JSON numbers.
pub fn id(value: &Value) -> Id {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.unwrap_or_else(|| panic!("not a decimal string: {value}"))
}

/// Cursors as they are on the wire.
pub fn cursors_json(cursors: &Cursors) -> Value {
    let pairs =
        cursors.iter().map(|(channel, cursor)| (channel.to_string(), json!(cursor.to_string())));
    Value::Object(pairs.collect())
}

/// A message as clients receive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub message_id: Id,
    /// The channel.
    pub channel_id: Id,
    /// The sender.
    pub from: Id,
    /// The other user of a direct channel.
    pub to: Option<Id>,
    /// The text.
    pub content: String,
    /// The sender's name for it.
    pub client_message_id: Option<String>,
}

impl Message {
    /// Parses the JSON form and checks what the contract requires.
    pub fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        assert!(text("created_at").is_some_and(|at| at.ends_with('Z')), "no time: {value}");
        Self {
            message_id: id(&value["message_id"]),
            channel_id: id(&value["channel_id"]),
            from: id(&value["message_from"]),
            to: value.get("message_to").map(id),
            content: text("content").unwrap_or_else(|| panic!("no content: {value}")),
            client_message_id: text("client_message_id"),
        }
    }
}

/// A session as its client knows it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub session_id: String,
    /// The position before its first event.
    pub next: Id,
    /// The whole session document.
    pub document: Value,
}

impl Session {
    /// Parses a session document.
    pub fn of(document: &Value) -> Self {
        let session_id = document["session_id"].as_str();
        Self {
            session_id: session_id.unwrap_or_else(|| panic!("no session: {document}")).to_owned(),
            next: id(&document["next"]),
            document: document.clone(),
        }
    }

    /// A path below that of the session.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/sessions/{}{rest}", self.session_id)
    }
}

/// A logged-in user.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user's id.
    pub user_id: Id,
    /// The user's name.
    pub username: String,
    /// The bearer token.
    pub token: String,
    /// The device that the token belongs to.
    pub device_id: Id,
    address: Address,
    http: Http,
}

/// The password of every account.
pub const PASSWORD: &str = "correct horse battery staple";

impl Account {
    /// Signs a new user up, with `name` as the readable part of the username.
    pub async fn sign_up(address: &Address, name: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let username = format!("{name}{count}");
        let body = json!({"username": username, "password": PASSWORD});
        let http = Http::default();
        let ask = Call { body: Some(&body), ..Call::new(Method::POST, "/v1/users") };
        let response =
            http.call(address, ask, RESPONSE_WITHIN).await.expect("a response of the node");
        assert_eq!(response.status, StatusCode::CREATED, "{}", response.json);
        Self::of(&response.json, username, address.clone())
    }

    /// Logs the same user in once more, as another device.
    pub async fn log_in(&self) -> Self {
        let body = json!({"username": self.username, "password": PASSWORD});
        let json = self.must(Method::POST, "/v1/login", Some(&body), 200).await;
        Self::of(&json, self.username.clone(), self.address.clone())
    }

    /// Another token for the same device.
    pub async fn log_in_again(&self) -> Self {
        let device_id = self.device_id.to_string();
        let body = json!({
            "username": self.username, "password": PASSWORD, "device_id": device_id,
        });
        let json = self.must(Method::POST, "/v1/login", Some(&body), 200).await;
        let again = Self::of(&json, self.username.clone(), self.address.clone());
        assert_eq!(again.device_id, self.device_id, "the device is the same");
        again
    }

    fn of(json: &Value, username: String, address: Address) -> Self {
        Self {
            user_id: id(&json["user"]["user_id"]),
            username,
            token: json["token"].as_str().expect("a token").to_owned(),
            device_id: id(&json["device_id"]),
            address,
            http: Http::default(),
        }
    }

    /// The same device through another address, such as a proxy, with connections of its own.
    pub fn via(&self, address: &Address) -> Self {
        Self { address: address.clone(), http: Http::default(), ..self.clone() }
    }

    /// The address of its calls.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its HTTP client.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// A call with the token.
    ///
    /// # Errors
    /// [`NoResponse`].
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<JsonResponse, NoResponse> {
        self.call_within(method, path, body, RESPONSE_WITHIN).await
    }

    /// A call with the token and a deadline.
    ///
    /// # Errors
    /// [`NoResponse`].
    pub async fn call_within(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<JsonResponse, NoResponse> {
        let ask = Call { token: Some(&self.token), body, ..Call::new(method, path) };
        self.http.call(&self.address, ask, within).await
    }

    /// A call whose response must have `status`. Returns the body.
    pub async fn must(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        status: u16,
    ) -> Value {
        let response = self.call(method.clone(), path, body).await;
        let response = response.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert_eq!(response.status.as_u16(), status, "{method} {path}: {}", response.json);
        response.json
    }

    /// The direct channel with another user.
    pub async fn direct(&self, with: &Account) -> Id {
        let path = format!("/v1/direct/{}", with.user_id);
        let response = self.call(Method::PUT, &path, None).await.expect("a response of the node");
        assert!(response.status.is_success(), "{}", response.json);
        id(&response.json["channel"]["channel_id"])
    }

    /// A new group with these members.
    pub async fn group(&self, members: &[&Account]) -> Id {
        let members: Vec<_> = members.iter().map(|member| member.user_id.to_string()).collect();
        let body = json!({"name": "a group", "members": members});
        let json = self.must(Method::POST, "/v1/channels", Some(&body), 201).await;
        id(&json["channel"]["channel_id"])
    }

    /// Every message of a channel after `after`, read page by page.
    pub async fn history(&self, channel_id: Id, after: Id) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        loop {
            let from = messages.last().map_or(after, |message| message.message_id);
            let (mut page, has_more) =
                self.page(channel_id, from).await.expect("a page of history");
            messages.append(&mut page);
            if !has_more {
                return messages;
            }
        }
    }

    /// One page of a channel after `after`, the oldest first, and whether there are more messages.
    ///
    /// # Errors
    /// [`NoResponse`]; also for a response after which a retry may succeed.
    pub async fn page(
        &self,
        channel_id: Id,
        after: Id,
    ) -> Result<(Vec<Message>, bool), NoResponse> {
        let path = format!("/v1/channels/{channel_id}/messages?after={after}&limit=200");
        let response = self.call(Method::GET, &path, None).await?;
        if response.status == StatusCode::SERVICE_UNAVAILABLE {
            return Err(NoResponse::Connection(response.code().to_owned()));
        }
        assert_eq!(response.status, StatusCode::OK, "{path}: {}", response.json);
        let messages = response.json["messages"].as_array().expect("a list of messages");
        let has_more = response.json["has_more"].as_bool().expect("has_more");
        assert!(!has_more || !messages.is_empty(), "has_more with an empty page: {path}");
        Ok((messages.iter().map(Message::of).collect(), has_more))
    }

    /// Opens a session; with `cursors`, catching up from there.
    ///
    /// # Errors
    /// The response, if it is not 201; [`NoResponse`].
    pub async fn try_open(
        &self,
        cursors: Option<&Cursors>,
    ) -> Result<Result<Session, JsonResponse>, NoResponse> {
        let body = match cursors {
            Some(cursors) => json!({ "channels": cursors_json(cursors) }),
            None => json!({}),
        };
        let response = self.call(Method::POST, "/v1/sessions", Some(&body)).await?;
        if response.status != StatusCode::CREATED {
            return Ok(Err(response));
        }
        Ok(Ok(Session::of(&response.json)))
    }

    /// Opens a session, which must succeed.
    pub async fn open(&self, cursors: Option<&Cursors>) -> Session {
        match self.try_open(cursors).await.expect("a response of the node") {
            Ok(session) => session,
            Err(response) => panic!("no session: {} {}", response.status, response.json),
        }
    }

    /// Ends a session, which must exist.
    pub async fn close(&self, session: &Session) {
        self.must(Method::DELETE, &session.path(""), None, 204).await;
    }

    /// Sends a message once by `POST …/messages`, which must succeed.
    ///
    /// # Panics
    /// If the status is neither 201 nor 200.
    pub async fn say(
        &self,
        channel_id: Id,
        content: &str,
        client_message_id: Option<&str>,
    ) -> (u16, Message) {
        let mut body = json!({ "content": content });
        if let Some(name) = client_message_id {
            body["client_message_id"] = json!(name);
        }
        let path = format!("/v1/channels/{channel_id}/messages");
        let response =
            self.call(Method::POST, &path, Some(&body)).await.expect("a response of the node");
        assert!(response.status.is_success(), "{path}: {}", response.json);
        (response.status.as_u16(), Message::of(&response.json["message"]))
    }

    /// Sends many messages in few requests, by commands of a session.
    pub async fn say_many(
        &self,
        session: &Session,
        channel_id: Id,
        contents: &[String],
        ledger: &Ledger,
    ) {
        // A request has at most 256 KiB and 256 commands.
        let longest = contents.iter().map(String::len).max().unwrap_or(1);
        for some in contents.chunks((200_000 / (longest + 200)).clamp(1, 200)) {
            let named: Vec<_> =
                some.iter().map(|content| (Ledger::name(&self.username), content)).collect();
            let command = |(name, content): &(String, &String)| {
                ledger.begin(channel_id, self.user_id, name, content);
                json!({"type": "send", "channel_id": channel_id.to_string(), "id": name,
                       "client_message_id": name, "content": content})
            };
            let body = json!({"commands": named.iter().map(command).collect::<Vec<_>>()});
            let json = self.must(Method::POST, &session.path("/commands"), Some(&body), 200).await;
            for (reply, (name, _)) in json["replies"].as_array().expect("replies").iter().zip(named)
            {
                assert_eq!(reply["id"], json!(name), "replies are in the order of the commands");
                ledger.acknowledge(&name, id(&reply["message_id"]));
            }
        }
    }
}
