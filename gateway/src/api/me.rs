//! `/v1/me`: the profile and settings of the caller.

use axum::Json as Reply;
use axum::extract::State;
use pabal_core::model::NotificationLevel;
use pabal_core::ports::{ProfileChange, SettingsChange};
use pabal_core::protocol::{Problem, ProblemCode};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::Caller;
use super::request::Json;
use super::views::{NotificationLevelSchema, SettingsView, UserAnswer};
use super::{Api, Failure, rules};

/// Get the caller's profile
#[utoipa::path(get, path = "/v1/me", tag = "accounts",
    responses((status = 200, description = "The profile", body = UserAnswer)))]
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Reply<UserAnswer>, Failure> {
    let user = api.directory().user(caller.user_id()).await?;
    let user = user.ok_or_else(|| Problem::new(ProblemCode::NotFound, "no such user"))?;
    Ok(Reply(UserAnswer { user: user.into() }))
}

/// A change of a profile; absent fields are kept.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ProfilePatch {
    /// 1 to 64 characters.
    display_name: Option<String>,
    /// Up to 140 characters; null or empty for none.
    #[serde(default, deserialize_with = "null_is_empty")]
    status_text: Option<String>,
    /// An http or https URL of up to 2,048 bytes; null or empty for none.
    #[serde(default, deserialize_with = "null_is_empty")]
    avatar_url: Option<String>,
}

/// Null removes a text, as in a JSON merge patch (RFC 7396).
fn null_is_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(from).map(|text| Some(text.unwrap_or_default()))
}

/// Change the caller's profile
#[utoipa::path(patch, path = "/v1/me", tag = "accounts", request_body = ProfilePatch,
    responses(
        (status = 200, description = "The profile after the change", body = UserAnswer),
        (status = 422, description = "`invalid`"),
    ))]
pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<ProfilePatch>,
) -> Result<Reply<UserAnswer>, Failure> {
    let rule = |text: Option<String>, rule: fn(&str) -> Result<String, Problem>| {
        text.map(|text| rule(&text)).transpose()
    };
    let change = ProfileChange {
        display_name: rule(body.display_name, rules::display_name)?,
        status_text: rule(body.status_text, rules::status_text)?,
        avatar_url: rule(body.avatar_url, rules::avatar_url)?,
    };
    let user = api.directory().change_profile(caller.user_id(), change).await?;
    Ok(Reply(UserAnswer { user: user.into() }))
}

/// `{"settings": {…}}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingsAnswer {
    settings: SettingsView,
}

/// Get the caller's settings
#[utoipa::path(get, path = "/v1/me/settings", tag = "accounts",
    responses((status = 200, description = "The settings", body = SettingsAnswer)))]
pub(super) async fn show_settings(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Reply<SettingsAnswer>, Failure> {
    let settings = api.directory().settings(caller.user_id()).await?.into();
    Ok(Reply(SettingsAnswer { settings }))
}

/// A change of settings; absent fields are kept.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SettingsPatch {
    /// A language tag such as `en` or `ko-KR`.
    locale: Option<String>,
    /// Which messages are pushed while the user is offline.
    #[schema(value_type = Option<NotificationLevelSchema>)]
    notifications: Option<NotificationLevel>,
    /// Whether friends see when this user is connected.
    share_presence: Option<bool>,
    /// Whether other members see up to which message this user has read.
    share_read: Option<bool>,
}

/// Change the caller's settings
#[utoipa::path(patch, path = "/v1/me/settings", tag = "accounts", request_body = SettingsPatch,
    responses(
        (status = 200, description = "The settings after the change", body = SettingsAnswer),
        (status = 422, description = "`invalid`"),
    ))]
pub(super) async fn change_settings(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<SettingsPatch>,
) -> Result<Reply<SettingsAnswer>, Failure> {
    let change = SettingsChange {
        locale: body.locale.as_deref().map(rules::locale).transpose()?,
        notifications: body.notifications,
        share_presence: body.share_presence,
        share_read: body.share_read,
    };
    let settings = api.directory().change_settings(caller.user_id(), change).await?.into();
    Ok(Reply(SettingsAnswer { settings }))
}
