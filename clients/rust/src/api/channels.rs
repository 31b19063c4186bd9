//! Direct channels, groups and who is in them.

use http::Method;
use serde::Serialize;

use super::{ChannelAnswer, ChannelsAnswer, MemberAnswer, MembersAnswer, after};
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
    /// The direct channel with a user; made at the first call, by whichever of the two.
    ///
    /// # Errors
    /// `not_found`; `invalid` for oneself: do not retry.
    pub async fn direct(&self, user_id: UserId) -> Result<Channel, Error> {
        let path = format!("/v1/direct/{user_id}");
        Ok(self.tell::<ChannelAnswer>(Method::PUT, &path, &PutMember { role: None }).await?.channel)
    }

    /// Makes a group of the caller, who owns it, and `members`. Not idempotent: after
    /// [`Error::Unreachable`] look into [`channels`](Self::channels) before trying again.
    ///
    /// # Errors
    /// `not_found` (a member), `invalid`: do not retry.
    pub async fn create_group(&self, name: &str, members: &[UserId]) -> Result<Channel, Error> {
        let body = NewGroup { name, members };
        Ok(self.tell::<ChannelAnswer>(Method::POST, "/v1/channels", &body).await?.channel)
    }

    /// The caller's channels beyond `from`, at most 200, by age.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn channels(&self, from: Option<ChannelId>) -> Result<Page<Channel>, Error> {
        Ok(self.get::<ChannelsAnswer>(&after("/v1/channels", from)).await?.into())
    }

    /// One of the caller's channels.
    ///
    /// # Errors
    /// `not_a_member`, also if there is no such channel: do not retry.
    pub async fn channel(&self, channel_id: ChannelId) -> Result<Channel, Error> {
        Ok(self.get::<ChannelAnswer>(&format!("/v1/channels/{channel_id}")).await?.channel)
    }

    /// Gives a group another name: 1 to 100 characters. For owners and admins.
    ///
    /// # Errors
    /// `not_a_member`, `forbidden`, `invalid`: do not retry.
    pub async fn rename(&self, channel_id: ChannelId, name: &str) -> Result<Channel, Error> {
        let path = format!("/v1/channels/{channel_id}");
        Ok(self.tell::<ChannelAnswer>(Method::PATCH, &path, &Rename { name }).await?.channel)
    }

    /// Deletes a group, for ever. For its owners.
    ///
    /// # Errors
    /// `not_a_member`, `forbidden`: do not retry.
    pub async fn delete_group(&self, channel_id: ChannelId) -> Result<(), Error> {
        self.done(Method::DELETE, &format!("/v1/channels/{channel_id}")).await
    }

    /// The members of a channel beyond `from`, at most 200.
    ///
    /// # Errors
    /// `not_a_member`: do not retry.
    pub async fn members(
        &self,
        channel_id: ChannelId,
        from: Option<UserId>,
    ) -> Result<Page<Member>, Error> {
        let path = after(&format!("/v1/channels/{channel_id}/members"), from);
        Ok(self.get::<MembersAnswer>(&path).await?.into())
    }

    /// Adds a member to a group, or gives a member a role. Without a role, a new member becomes
    /// [`Role::Member`] and an old one stays as they are.
    ///
    /// # Errors
    /// `not_a_member`, `forbidden`, `not_found`, `invalid` (the group is full): do not retry.
    pub async fn put_member(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        role: Option<Role>,
    ) -> Result<Member, Error> {
        let path = format!("/v1/channels/{channel_id}/members/{user_id}");
        Ok(self.tell::<MemberAnswer>(Method::PUT, &path, &PutMember { role }).await?.member)
    }

    /// Removes a member from a group; oneself to leave it.
    ///
    /// # Errors
    /// `not_a_member`, `forbidden`, `not_found`: do not retry.
    pub async fn remove_member(&self, channel_id: ChannelId, user_id: UserId) -> Result<(), Error> {
        self.done(Method::DELETE, &format!("/v1/channels/{channel_id}/members/{user_id}")).await
    }
}
