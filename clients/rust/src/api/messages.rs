//! Sending a message by one request, and reading the messages of channels. New messages are delivered by a
//! [`Connection`](crate::Connection).

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};

use super::{MessageResponse, MessagesResponse, PAGE_MAX};
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
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<ChannelId>,
}

#[derive(Deserialize)]
struct Synced {
    channels: BTreeMap<ChannelId, Beyond>,
    /// The last channel of an answer that does not hold all.
    next: Option<ChannelId>,
}

impl Account {
    /// Sends a message by one request. It is durable when this returns. `content` has 1 byte to 16 KiB of
    /// UTF-8.
    ///
    /// `client_message_id`, 1 to 128 bytes, is the caller's name for the message. However often it is sent
    /// under the same name within 24 hours, the channel holds one message, and every call returns that one.
    /// [`Connection::send`](crate::Connection::send) retries by itself.
    ///
    /// # Errors
    /// `not_confirmed`, `unavailable`, `rate_limited` and [`Error::Unreachable`]: retry with the same
    /// `client_message_id`. `not_a_member`, `blocked`, `too_large`, `invalid`: do not retry. Others: see
    /// [`Account`].
    pub async fn post_message(
        &self,
        channel_id: ChannelId,
        content: &str,
        client_message_id: &str,
    ) -> Result<Message, Error> {
        let path = format!("/v1/channels/{channel_id}/messages");
        let body = NewMessage { content, client_message_id };
        Ok(self.write::<MessageResponse>(Method::POST, &path, &body).await?.message)
    }

    /// Reads messages of a channel, at most 200. Every message that was confirmed before this call is seen.
    ///
    /// # Errors
    /// `not_a_member`: do not retry. Others: see [`Account`].
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
        let path = format!("/v1/channels/{channel_id}/messages?limit={PAGE_MAX}{from}");
        Ok(self.get::<MessagesResponse>(&path).await?.into())
    }

    /// Reads the messages after these cursors, at most `limit` (1 to 200) of each channel. `cursors` names at
    /// most 1,000 channels; the caller's other channels are returned with their newest message. Takes several
    /// requests if the channels do not fit one answer.
    ///
    /// # Errors
    /// `not_a_member` of a channel that is named, `invalid`: do not retry. Others: see [`Account`].
    pub async fn sync(
        &self,
        cursors: &Cursors,
        limit: usize,
    ) -> Result<BTreeMap<ChannelId, Beyond>, Error> {
        let path = format!("/v1/sync?limit={limit}");
        let (mut channels, mut after) = (BTreeMap::new(), None);
        loop {
            let body = Held { channels: cursors, after };
            let mut synced: Synced = self.write(Method::POST, &path, &body).await?;
            channels.append(&mut synced.channels);
            if synced.next.is_none() {
                return Ok(channels);
            }
            after = synced.next;
        }
    }
}
