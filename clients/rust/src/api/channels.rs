//! Direct channels, groups and their members.

use http::Method;
use serde::Serialize;

use super::{ChannelResponse, ChannelsResponse, MemberResponse, MembersResponse, after};
use crate::account::Account;
use crate::error::Error;
use crate::ids::{ChannelId, UserId};
use crate::model::{Channel, Member, Page, Role};

#[derive(Serialize)]
struct NewGroup<'a> {
    name: &'a str,
    members: &'a [UserId],
}

#[derive(Serialize)]
struct Rename<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct PutMember {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
}

impl Account {
    /// The direct channel with a user. The first call of either user creates it. Idempotent.
    ///
    /// # Errors
    /// `not_found` if there is no such user, `invalid` for the caller: do not retry. Others: see [`Account`].
    pub async fn direct(&self, user_id: UserId) -> Result<Channel, Error> {
        let path = format!("/v1/direct/{user_id}");
        Ok(self
            .write::<ChannelResponse>(Method::PUT, &path, &PutMember { role: None })
            .await?
            .channel)
    }

    /// Creates a group of the caller, who owns it, and `members`. The name has 1 to 100 characters.
    ///
    /// # Errors
    /// `not_found` if a member does not exist, `invalid`: do not retry. Not idempotent: after
    /// [`Error::Unreachable`] the group may exist, so look for it in [`channels`](Self::channels) before a
    /// retry. Others: see [`Account`].
    pub async fn create_group(&self, name: &str, members: &[UserId]) -> Result<Channel, Error> {
        let body = NewGroup { name, members };
        Ok(self.write::<ChannelResponse>(Method::POST, "/v1/channels", &body).await?.channel)
    }

    /// The caller's channels with ids above `from`, at most 200, in rising order of ids. For the next page
    /// pass the last id of this one.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn channels(&self, from: Option<ChannelId>) -> Result<Page<Channel>, Error> {
        Ok(self.get::<ChannelsResponse>(&after("/v1/channels", from)).await?.into())
    }

    /// One of the caller's channels.
    ///
    /// # Errors
    /// `not_a_member`, also if the channel does not exist: do not retry. Others: see [`Account`].
    pub async fn channel(&self, channel_id: ChannelId) -> Result<Channel, Error> {
        Ok(self.get::<ChannelResponse>(&format!("/v1/channels/{channel_id}")).await?.channel)
    }

    /// Renames a group: 1 to 100 characters. Allowed to owners and admins. Idempotent.
    ///
    /// # Errors
    /// `not_a_member`, `forbidden`, `invalid`: do not retry. Others: see [`Account`].
    pub async fn rename(&self, channel_id: ChannelId, name: &str) -> Result<Channel, Error> {
        let path = format!("/v1/channels/{channel_id}");
        Ok(self.write::<ChannelResponse>(Method::PATCH, &path, &Rename { name }).await?.channel)
    }

    /// Deletes a group permanently. Allowed to its owners.
    ///
    /// # Errors
    /// `not_a_member`, `forbidden`: do not retry; `not_a_member` after a retry may mean that the first
    /// attempt succeeded. Others: see [`Account`].
    pub async fn delete_group(&self, channel_id: ChannelId) -> Result<(), Error> {
        self.done(Method::DELETE, &format!("/v1/channels/{channel_id}")).await
    }

    /// The members of a channel with user ids above `from`, at most 200, in rising order of ids. For the next
    /// page pass the last id of this one.
    ///
    /// # Errors
    /// `not_a_member`: do not retry. Others: see [`Account`].
    pub async fn members(
        &self,
        channel_id: ChannelId,
        from: Option<UserId>,
    ) -> Result<Page<Member>, Error> {
        let path = after(&format!("/v1/channels/{channel_id}/members"), from);
        Ok(self.get::<MembersResponse>(&path).await?.into())
    }

    /// Adds a member to a group, or changes the role of a member. Without a role, a new member becomes
    /// [`Role::Member`] and an existing member keeps theirs. Idempotent.
    ///
    /// # Errors
    /// `not_a_member`, `forbidden`, `not_found`, `invalid` (the group is full): do not retry. Others: see
    /// [`Account`].
    pub async fn put_member(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        role: Option<Role>,
    ) -> Result<Member, Error> {
        let path = format!("/v1/channels/{channel_id}/members/{user_id}");
        Ok(self.write::<MemberResponse>(Method::PUT, &path, &PutMember { role }).await?.member)
    }

    /// Removes a member from a group. The caller leaves it by their own id.
    ///
    /// # Errors
    /// `not_a_member`, `forbidden`, `not_found`: do not retry. Others: see [`Account`].
    pub async fn remove_member(&self, channel_id: ChannelId, user_id: UserId) -> Result<(), Error> {
        self.done(Method::DELETE, &format!("/v1/channels/{channel_id}/members/{user_id}")).await
    }
}
