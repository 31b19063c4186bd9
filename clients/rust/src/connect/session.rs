//! A session of the server: opened with the cursors of a device, read by transports.

use std::time::Duration;

use http::{Method, Uri};
use serde::{Deserialize, Serialize};

use super::held::Held;
use super::options::Transport;
use crate::account::Account;
use crate::base::Base;
use crate::error::{Code, Error};
use crate::http::{Failure, json};
use crate::ids::{ChannelId, Seq};
use crate::model::{Channel, Cursors};

/// How many channels a server accepts in one request by default.
pub(crate) const CHANNELS: usize = 1_000;

/// An open session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The node that has it.
    base: Base,
    /// Whether that is another node than the one that opened it.
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

/// Where a transport of a session is mounted, and its time limits.
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
    /// Opens a session that continues where `held` ends. Returns with it the channels whose messages are to
    /// be fetched in addition. `most` is how many channels the server accepts; it is lowered if the server
    /// accepts fewer.
    ///
    /// The list of channels is requested after the session was opened: a channel that was created before is
    /// in the list, and a channel that is created later is an event of the session.
    pub(crate) async fn open(
        account: &Account,
        held: &mut Held,
        most: &mut usize,
    ) -> Result<(Self, Vec<ChannelId>), Failure> {
        if !held.is_known() {
            let channels = channels(account).await?;
            held.know(&channels);
        }
        let (session, unnamed) = Self::open_with_most(account, held, most).await?;
        let channels = channels(account).await?;
        let new = |channel: &&Channel| {
            let channel_id = channel.channel_id;
            !held.knows(channel_id) || unnamed.contains(&channel_id)
        };
        let new: Vec<_> = channels.iter().filter(new).cloned().collect();
        held.know(&channels);
        let incomplete = new.iter().filter(|it| it.last_message_id > held.cursor(it.channel_id));
        Ok((session, incomplete.map(|channel| channel.channel_id).collect()))
    }

    /// Opens a session that names as many channels as the server accepts.
    async fn open_with_most(
        account: &Account,
        held: &Held,
        most: &mut usize,
    ) -> Result<(Self, Vec<ChannelId>), Failure> {
        loop {
            let members = held.members();
            let named = members.len().min(*most);
            match Self::open_with(account, members, *most).await {
                Err(Failure::Problem(problem)) if problem.code == Code::Invalid && named > 0 => {
                    // This server accepts fewer channels.
                    *most = named / 2;
                }
                outcome => return outcome,
            }
        }
    }

    /// Opens a session that begins after `cursors`. Returns with it the channels beyond the first `most`,
    /// which the session does not catch up on.
    async fn open_with(
        account: &Account,
        cursors: Cursors,
        most: usize,
    ) -> Result<(Self, Vec<ChannelId>), Failure> {
        let mut named = cursors;
        let unnamed = match named.keys().nth(most).copied() {
            None => Cursors::new(),
            Some(first) => named.split_off(&first),
        };
        let (client, token) = (&account.client, Some(&account.token));
        let url = client.base.at("/v1/sessions")?;
        let opening = Opening { channels: &named };
        let body = client.request(Method::POST, url, token, Some(&opening)).await?;
        let document = json(&body)?;
        let session = Self { base: client.base.clone(), moved: false, document };
        Ok((session, unnamed.into_keys().collect()))
    }

    /// The number of the event after which it begins.
    pub(crate) fn start(&self) -> Seq {
        self.document.next
    }

    /// Other nodes, for the case that this one fails.
    pub(crate) fn other_nodes(&self) -> Vec<Base> {
        self.document.elsewhere.iter().filter_map(|url| self.base.moved(url).ok()).collect()
    }

    /// The same session on the node that has it.
    pub(crate) fn at(&self, base: Base) -> Self {
        Self { base, moved: true, document: self.document.clone() }
    }

    /// The URL to which commands are posted.
    pub(crate) fn commands(&self) -> Result<Uri, Error> {
        self.base.at(&format!("/v1/sessions/{}/commands", self.document.session_id))
    }

    /// The URL of the session itself; a DELETE ends it.
    pub(crate) fn url(&self) -> Result<Uri, Error> {
        self.base.at(&format!("/v1/sessions/{}", self.document.session_id))
    }

    fn url_of(&self, offer: &Offer) -> Option<Uri> {
        let url = self.base.resolve(&offer.url).ok()?;
        // An absolute URL names the node that opened the session.
        if self.moved { self.base.at(url.path()).ok() } else { Some(url) }
    }

    /// Where `transport` reads the session, if the server offers that.
    pub(crate) fn mount(&self, transport: Transport) -> Option<Mount> {
        let Transports { polling, long_polling, websocket, sse } = &self.document.transports;
        let offer = match transport {
            Transport::WebSocket => websocket,
            Transport::Sse => sse,
            Transport::LongPolling => long_polling,
            Transport::ShortPolling => polling,
        };
        let offer = offer.as_ref()?;
        // The server sends comments on an event stream as often as pings on a WebSocket.
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
    /// A session of no server.
    pub(crate) fn detached() -> Self {
        let base = Base::parse("http://detached.example").unwrap();
        let document = r#"{"session_id":"a.n1","next":"0","transports":{}}"#;
        Self { base, moved: false, document: serde_json::from_str(document).unwrap() }
    }
}

/// All channels of a user.
async fn channels(account: &Account) -> Result<Vec<Channel>, Failure> {
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
    fn the_document_names_the_urls_of_transports() {
        let document = serde_json::from_str(
            r#"{"session_id":"a.n1","node":"n1","next":"3","resume_window_ms":60000,"transports":{
                "polling":{"url":"/v1/sessions/a.n1/poll","min_interval_ms":100},
                "websocket":{"url":"ws://h:1/v1/sessions/a.n1/websocket","ping_interval_ms":9},
                "sse":{"url":"/v1/sessions/a.n1/events"},"pigeon":{"url":"/x"}}}"#,
        )
        .unwrap();
        let base = Base::parse("https://chat.example").unwrap();
        let session = Session { base, moved: false, document };
        assert_eq!(session.start(), Seq(3));
        let sse = session.mount(Transport::Sse).unwrap();
        assert_eq!(sse.url, "https://chat.example/v1/sessions/a.n1/events");
        assert_eq!(sse.ping_interval, Duration::from_millis(9));
        let socket = session.mount(Transport::WebSocket).unwrap();
        assert_eq!(
            socket.url, "https://h:1/v1/sessions/a.n1/websocket",
            "never without encryption"
        );
        assert!(session.mount(Transport::LongPolling).is_none());
        let polling = session.mount(Transport::ShortPolling).unwrap();
        assert_eq!(polling.min_interval, Duration::from_millis(100));
        let session = session.at(Base::parse("https://n2.example").unwrap());
        let socket = session.mount(Transport::WebSocket).unwrap();
        assert_eq!(socket.url, "https://n2.example/v1/sessions/a.n1/websocket");
    }
}
