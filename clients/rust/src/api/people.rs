//! Profiles, settings, friends and blocks.

use http::Method;

use super::{
    BlocksAnswer, FriendAnswer, FriendsAnswer, SettingsAnswer, UserAnswer, UsersAnswer, after,
    escaped,
};
use crate::account::Account;
use crate::error::Error;
use crate::ids::UserId;
use crate::model::{Friend, Page, ProfileChange, Settings, SettingsChange, User};

impl Account {
    /// The caller's profile as it is now.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn me(&self) -> Result<User, Error> {
        Ok(self.get::<UserAnswer>("/v1/me").await?.user)
    }

    /// Changes the caller's profile, and answers what it is then.
    ///
    /// # Errors
    /// `invalid`: do not retry.
    pub async fn change_profile(&self, change: &ProfileChange) -> Result<User, Error> {
        Ok(self.tell::<UserAnswer>(Method::PATCH, "/v1/me", change).await?.user)
    }

    /// The caller's settings.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn settings(&self) -> Result<Settings, Error> {
        Ok(self.get::<SettingsAnswer>("/v1/me/settings").await?.settings)
    }

    /// Changes the caller's settings, and answers what they are then.
    ///
    /// # Errors
    /// `invalid`: do not retry.
    pub async fn change_settings(&self, change: &SettingsChange) -> Result<Settings, Error> {
        Ok(self.tell::<SettingsAnswer>(Method::PATCH, "/v1/me/settings", change).await?.settings)
    }

    /// A user's public profile.
    ///
    /// # Errors
    /// `not_found`: do not retry.
    pub async fn user_of(&self, user_id: UserId) -> Result<User, Error> {
        Ok(self.get::<UserAnswer>(&format!("/v1/users/{user_id}")).await?.user)
    }

    /// Users whose name is this or begins with it: at most 200, an exact match first.
    ///
    /// # Errors
    /// `invalid` for an empty name: do not retry.
    pub async fn find_users(&self, username: &str) -> Result<Page<User>, Error> {
        let path = format!("/v1/users?limit={}&username={}", super::MOST, escaped(username));
        Ok(self.get::<UsersAnswer>(&path).await?.into())
    }

    /// Friends and requests beyond `from`, at most 200.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn friends(&self, from: Option<UserId>) -> Result<Page<Friend>, Error> {
        Ok(self.get::<FriendsAnswer>(&after("/v1/me/friends", from)).await?.into())
    }

    /// Asks to be friends, or accepts if they have asked.
    ///
    /// # Errors
    /// `blocked`, `not_found`: do not retry.
    pub async fn befriend(&self, user_id: UserId) -> Result<Friend, Error> {
        let path = format!("/v1/me/friends/{user_id}");
        Ok(self.tell::<FriendAnswer>(Method::PUT, &path, &Nothing {}).await?.friend)
    }

    /// Ends a friendship, takes a request back or declines one.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn unfriend(&self, user_id: UserId) -> Result<(), Error> {
        self.done(Method::DELETE, &format!("/v1/me/friends/{user_id}")).await
    }

    /// Whom the caller has blocked, beyond `from`, at most 200.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn blocks(&self, from: Option<UserId>) -> Result<Page<UserId>, Error> {
        let page: Page<super::Blocked> =
            self.get::<BlocksAnswer>(&after("/v1/me/blocks", from)).await?.into();
        let entries = page.entries.into_iter().map(|blocked| blocked.user_id).collect();
        Ok(Page { entries, has_more: page.has_more })
    }

    /// From now on this user cannot send to the caller directly.
    ///
    /// # Errors
    /// `not_found`: do not retry.
    pub async fn block(&self, user_id: UserId) -> Result<(), Error> {
        self.done(Method::PUT, &format!("/v1/me/blocks/{user_id}")).await
    }

    /// They can again.
    ///
    /// # Errors
    /// See [`Account`].
    pub async fn unblock(&self, user_id: UserId) -> Result<(), Error> {
        self.done(Method::DELETE, &format!("/v1/me/blocks/{user_id}")).await
    }
}

#[derive(serde::Serialize)]
struct Nothing {}
