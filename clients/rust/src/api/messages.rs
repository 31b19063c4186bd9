//! Saying something in one request, and reading what was said. What comes by itself comes through a
//! [`Connection`](crate::Connection).

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};

use super::{MOST, MessageAnswer, MessagesAnswer};
use crate::account::Account;
use crate::error::Error;
use crate::ids::ChannelId;
use crate::model::{Beyond, Cursors, Message, Page, PageFrom};

#[derive(Serialize)]
struct NewMessage<'a> {
    content: &'a str,
    client_message_id: &'a str,
}

#[derive(Serialize)]
struct Held<'a> {
    channels: &'a Cursors,
}

#[derive(Deserialize)]
struct Synced {
    channels: BTreeMap<ChannelId, Beyond>,
}

impl Account {
    /// Sends a message by a request of its own; durable when this answers. 1 byte to 16 KiB of UTF-8.
    ///
    /// `client_message_id`, 1 to 128 bytes, is the caller's name for it: of repeats under the same
    /// name within 24 hours the channel holds one. To have repeats made for you, see
    /// [`Connection::send`](crate::Connection::send).
    ///
    /// # Errors
    /// `not_confirmed`, `unavailable`, `rate_limited` and [`Error::Unreachable`]: repeat with the same
    /// `client_message_id`. `not_a_member`, `blocked`, `too_large`, `invalid`: do not.
    pub async fn post_message(
        &self,
        channel_id: ChannelId,
        content: &str,
        client_message_id: &str,
    ) -> Result<Message, Error> {
        let path = format!("/v1/channels/{channel_id}/messages");
        let body = NewMessage { content, client_message_id };
        Ok(self.tell::<MessageAnswer>(Method::POST, &path, &body).await?.message)
    }

    /// Reads messages of a channel, at most 200.
    ///
    /// # Errors
    /// `not_a_member`: do not retry.
    pub async fn messages(
        &self,
        channel_id: ChannelId,
        from: PageFrom,
    ) -> Result<Page<Message>, Error> {
        let from = match from {
            PageFrom::Newest => String::new(),
            PageFrom::After(id) => format!("&after={id}"),
            PageFrom::Before(id) => format!("&before={id}"),
            PageFrom::Around(id) => format!("&around={id}"),
        };
        let path = format!("/v1/channels/{channel_id}/messages?limit={MOST}{from}");
        Ok(self.get::<MessagesAnswer>(&path).await?.into())
    }

    /// What channels hold beyond these cursors, at most `limit` (1 to 200) messages each. At most
    /// 1,000 channels; those of the caller that are not named come with their newest message.
    ///
    /// # Errors
    /// `not_a_member` of one that is named, `invalid`: do not retry.
    pub async fn sync(
        &self,
        cursors: &Cursors,
        limit: usize,
    ) -> Result<BTreeMap<ChannelId, Beyond>, Error> {
        let path = format!("/v1/sync?limit={limit}");
        let body = Held { channels: cursors };
        Ok(self.tell::<Synced>(Method::POST, &path, &body).await?.channels)
    }
}
