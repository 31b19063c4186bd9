//! A session at the server: opened with the cursors of a device, read by transports.

use std::time::Duration;

use http::{Method, Uri};
use serde::{Deserialize, Serialize};

use super::Transport;
use crate::account::Account;
use crate::base::Base;
use crate::error::Error;
use crate::http::{Failure, json};
use crate::ids::{ChannelId, Seq};
use crate::model::{Channel, Cursors};

/// As many channels as a server takes in one request, unless it is told otherwise.
pub(crate) const CHANNELS: usize = 1_000;

/// An open session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Where it lives.
    base: Base,
    /// Whether that is another place than where it was opened.
    moved: bool,
    document: Document,
}

#[derive(Clone, Debug, Deserialize)]
struct Document {
    session_id: String,
    next: Seq,
    transports: Transports,
    #[serde(default)]
    elsewhere: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Transports {
    polling: Option<Offer>,
    long_polling: Option<Offer>,
    websocket: Option<Offer>,
    sse: Option<Offer>,
}

#[derive(Clone, Debug, Deserialize)]
struct Offer {
    url: String,
    #[serde(default)]
    min_interval_ms: u64,
    max_wait_ms: Option<u64>,
    ping_interval_ms: Option<u64>,
}

/// Where a transport is mounted, and what the server says of it.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) url: Uri,
    pub(crate) min_interval: Duration,
    pub(crate) max_wait: Duration,
    pub(crate) ping_interval: Duration,
}

#[derive(Serialize)]
struct Opening<'a> {
    channels: &'a Cursors,
}

impl Session {
    /// Opens a session that begins behind `cursors`, and answers with it the channels beyond the first
    /// `most`, of which everything is to be fetched.
    pub(crate) async fn open(
        account: &Account,
        cursors: Cursors,
        most: usize,
    ) -> Result<(Self, Vec<ChannelId>), Failure> {
        let mut named = cursors;
        let rest = match named.keys().nth(most).copied() {
            None => Cursors::new(),
            Some(first) => named.split_off(&first),
        };
        let (client, token) = (&account.client, Some(&account.token));
        let url = client.base.at("/v1/sessions")?;
        let opening = Opening { channels: &named };
        let body = client.ask(Method::POST, url, token, Some(&opening)).await?;
        let document = json(&body)?;
        let session = Self { base: client.base.clone(), moved: false, document };
        Ok((session, rest.into_keys().collect()))
    }

    /// Behind which event it begins.
    pub(crate) fn start(&self) -> Seq {
        self.document.next
    }

    /// Other nodes, should this one not be there.
    pub(crate) fn elsewhere(&self) -> Vec<Base> {
        self.document.elsewhere.iter().filter_map(|url| self.base.moved(url).ok()).collect()
    }

    /// It lives on another node.
    pub(crate) fn moved(&mut self, base: Base) {
        self.base = base;
        self.moved = true;
    }

    /// Where commands are posted.
    pub(crate) fn commands(&self) -> Result<Uri, Error> {
        self.base.at(&format!("/v1/sessions/{}/commands", self.document.session_id))
    }

    /// What ends it when it is deleted.
    pub(crate) fn url(&self) -> Result<Uri, Error> {
        self.base.at(&format!("/v1/sessions/{}", self.document.session_id))
    }

    fn url_of(&self, offer: &Offer) -> Option<Uri> {
        let url = self.base.resolve(&offer.url).ok()?;
        // An absolute URL was that of the node it was opened at.
        if self.moved { self.base.at(url.path()).ok() } else { Some(url) }
    }

    /// Where it is read by `transport`, if the server offers that.
    pub(crate) fn mount(&self, transport: Transport) -> Option<Mount> {
        let Transports { polling, long_polling, websocket, sse } = &self.document.transports;
        let offer = match transport {
            Transport::WebSocket => websocket,
            Transport::Sse => sse,
            Transport::LongPolling => long_polling,
            Transport::ShortPolling => polling,
        };
        let offer = offer.as_ref()?;
        // An event stream is kept alive as often as a WebSocket.
        let ping = offer.ping_interval_ms.or_else(|| websocket.as_ref()?.ping_interval_ms);
        Some(Mount {
            url: self.url_of(offer)?,
            min_interval: Duration::from_millis(offer.min_interval_ms),
            max_wait: Duration::from_millis(offer.max_wait_ms.unwrap_or(25_000)),
            ping_interval: Duration::from_millis(ping.unwrap_or(25_000)),
        })
    }
}

#[cfg(test)]
impl Session {
    /// A session that is nowhere.
    pub(crate) fn of_nobody() -> Self {
        let base = Base::parse("http://nowhere.example").unwrap();
        let document = r#"{"session_id":"a.n1","next":"0","transports":{}}"#;
        Self { base, moved: false, document: serde_json::from_str(document).unwrap() }
    }
}

/// All channels of a user.
pub(crate) async fn channels(account: &Account) -> Result<Vec<Channel>, Failure> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let page = account.channels(from).await?;
        from = page.entries.last().map(|channel| channel.channel_id);
        all.extend(page.entries);
        if !page.has_more || from.is_none() {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_where_transports_are() {
        let document = serde_json::from_str(
            r#"{"session_id":"a.n1","node":"n1","next":"3","resume_window_ms":60000,"transports":{
                "polling":{"url":"/v1/sessions/a.n1/poll","min_interval_ms":100},
                "websocket":{"url":"ws://h:1/v1/sessions/a.n1/websocket","ping_interval_ms":9},
                "sse":{"url":"/v1/sessions/a.n1/events"},"pigeon":{"url":"/x"}}}"#,
        )
        .unwrap();
        let base = Base::parse("https://chat.example").unwrap();
        let mut session = Session { base, moved: false, document };
        assert_eq!(session.start(), Seq(3));
        let sse = session.mount(Transport::Sse).unwrap();
        assert_eq!(sse.url, "https://chat.example/v1/sessions/a.n1/events");
        assert_eq!(sse.ping_interval, Duration::from_millis(9));
        let socket = session.mount(Transport::WebSocket).unwrap();
        assert_eq!(socket.url, "https://h:1/v1/sessions/a.n1/websocket", "never into the open");
        assert!(session.mount(Transport::LongPolling).is_none());
        let polling = session.mount(Transport::ShortPolling).unwrap();
        assert_eq!(polling.min_interval, Duration::from_millis(100));
        session.moved(Base::parse("https://n2.example").unwrap());
        let socket = session.mount(Transport::WebSocket).unwrap();
        assert_eq!(socket.url, "https://n2.example/v1/sessions/a.n1/websocket");
    }
}
