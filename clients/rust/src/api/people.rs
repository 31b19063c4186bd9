//! Profiles, settings, friends and blocks.

use http::Method;

use super::{
    BlocksResponse, FriendResponse, FriendsResponse, SettingsResponse, UserResponse, UsersResponse,
    after, escaped,
};
use crate::account::Account;
use crate::error::Error;
use crate::ids::UserId;
use crate::model::{Friend, Page, ProfileChange, Settings, SettingsChange, User};

impl Account {
    /// The caller's current profile.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn me(&self) -> Result<User, Error> {
        Ok(self.get::<UserResponse>("/v1/me").await?.user)
    }

    /// Changes the caller's profile and returns the changed one. Idempotent.
    ///
    /// # Errors
    /// `invalid`: do not retry. Others: see [`Account`].
    pub async fn change_profile(&self, change: &ProfileChange) -> Result<User, Error> {
        Ok(self.write::<UserResponse>(Method::PATCH, "/v1/me", change).await?.user)
    }

    /// The caller's settings.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn settings(&self) -> Result<Settings, Error> {
        Ok(self.get::<SettingsResponse>("/v1/me/settings").await?.settings)
    }

    /// Changes the caller's settings and returns the changed ones. Idempotent.
    ///
    /// # Errors
    /// `invalid`: do not retry. Others: see [`Account`].
    pub async fn change_settings(&self, change: &SettingsChange) -> Result<Settings, Error> {
        Ok(self.write::<SettingsResponse>(Method::PATCH, "/v1/me/settings", change).await?.settings)
    }

    /// The public profile of a user.
    ///
    /// # Errors
    /// `not_found`: do not retry. Others: see [`Account`].
    pub async fn user_of(&self, user_id: UserId) -> Result<User, Error> {
        Ok(self.get::<UserResponse>(&format!("/v1/users/{user_id}")).await?.user)
    }

    /// Users whose username is or begins with `username`: at most 200, an exact match first.
    ///
    /// # Errors
    /// `invalid` for an empty name: do not retry. Others: see [`Account`].
    pub async fn find_users(&self, username: &str) -> Result<Page<User>, Error> {
        let path = format!("/v1/users?limit={}&username={}", super::PAGE_MAX, escaped(username));
        Ok(self.get::<UsersResponse>(&path).await?.into())
    }

    /// Friends and friend requests with user ids above `from`, at most 200, in rising order of ids. For the
    /// next page pass the last id of this one.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn friends(&self, from: Option<UserId>) -> Result<Page<Friend>, Error> {
        Ok(self.get::<FriendsResponse>(&after("/v1/me/friends", from)).await?.into())
    }

    /// Requests a friendship, or accepts the request of that user. Idempotent.
    ///
    /// # Errors
    /// `blocked`, `not_found`: do not retry. Others: see [`Account`].
    pub async fn befriend(&self, user_id: UserId) -> Result<Friend, Error> {
        let path = format!("/v1/me/friends/{user_id}");
        Ok(self.write::<FriendResponse>(Method::PUT, &path, &Nothing {}).await?.friend)
    }

    /// Ends a friendship, withdraws a request or declines one. Idempotent.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn unfriend(&self, user_id: UserId) -> Result<(), Error> {
        self.done(Method::DELETE, &format!("/v1/me/friends/{user_id}")).await
    }

    /// The users that the caller has blocked, with ids above `from`, at most 200, in rising order of ids. For
    /// the next page pass the last id of this one.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn blocks(&self, from: Option<UserId>) -> Result<Page<UserId>, Error> {
        let page: Page<super::Blocked> =
            self.get::<BlocksResponse>(&after("/v1/me/blocks", from)).await?.into();
        let entries = page.entries.into_iter().map(|blocked| blocked.user_id).collect();
        Ok(Page { entries, has_more: page.has_more })
    }

    /// Blocks a user, who can no longer send to the direct channel with the caller. Idempotent.
    ///
    /// # Errors
    /// `not_found`: do not retry. Others: see [`Account`].
    pub async fn block(&self, user_id: UserId) -> Result<(), Error> {
        self.done(Method::PUT, &format!("/v1/me/blocks/{user_id}")).await
    }

    /// Unblocks a user. Idempotent.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn unblock(&self, user_id: UserId) -> Result<(), Error> {
        self.done(Method::DELETE, &format!("/v1/me/blocks/{user_id}")).await
    }
}

#[derive(serde::Serialize)]
struct Nothing {}
