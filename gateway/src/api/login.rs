//! `/v1/login` and `/v1/logout`: issuing and revoking tokens.

use axum::Json as Reply;
use axum::extract::State;
use http::StatusCode;
use pabal_core::model::{Device, DeviceId, TokenHash, UserId};
use pabal_core::ports::{Access, DirectoryError};
use pabal_core::protocol::{Problem, ProblemCode};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Caller;
use super::request::{ClientAddress, Json};
use super::views::LoggedIn;
use super::{Api, Failure, rules};
use crate::auth::new_token;

/// A log-in.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct LogIn {
    #[schema(example = "mina")]
    username: String,
    #[schema(format = Password, example = "correct horse")]
    password: String,
    /// The name of this device: up to 64 characters.
    device_name: Option<String>,
}

/// Log in on a device
///
/// Every log-in creates a device with a token of its own; earlier tokens stay valid. A user has at most
/// 100 devices: another one ends the one whose token expires first.
#[utoipa::path(post, path = "/v1/login", tag = "accounts", security(()), request_body = LogIn,
    responses(
        (status = 200, description = "Logged in", body = LoggedIn),
        (status = 401, description = "`unauthenticated`: no such user, or a wrong password"),
        (status = 403, description = "`forbidden`: an operator has disabled the account"),
        (status = 422, description = "`invalid`"),
        (status = 429, description = "`rate_limited`: too many attempts from this address or for this
            username"),
        (status = 503, description = "`unavailable`: too many passwords are waiting to be checked"),
    ))]
pub(super) async fn log_in(
    State(api): State<Api>,
    ClientAddress(address): ClientAddress,
    Json(body): Json<LogIn>,
) -> Result<Reply<LoggedIn>, Failure> {
    let device_name = rules::device_name(body.device_name.as_deref().unwrap_or_default())?;
    let wrong = || Problem::new(ProblemCode::Unauthenticated, "wrong username or password");
    // A name or password that no user can have is refused like a wrong one: the response must not
    // reveal the difference.
    let Ok(username) = rules::username(&body.username) else {
        return Err(wrong().into());
    };
    api.attempts.from_address(address)?;
    api.attempts.for_username(&username)?;
    rules::password(&body.password).map_err(|_| wrong())?;
    let credentials = api.directory().credentials(&username).await?;
    let (user, stored) = match credentials {
        Some(credentials) => (Some(credentials.user), Some(credentials.password_hash)),
        None => (None, None),
    };
    let fits = api.passwords.verify(body.password, stored).await?;
    let user = user.filter(|_| fits).ok_or_else(wrong)?;
    for _ in 0..3 {
        let (token, access) = new_access(&api, user.user_id, device_name.clone());
        match api.directory().log_in(access.clone()).await {
            Err(DirectoryError::IdTaken) => continue,
            outcome => outcome?,
        }
        return Ok(Reply(LoggedIn {
            user: user.into(),
            token,
            expires_at: access.expires_at,
            device_id: access.device.device_id,
        }));
    }
    Err(DirectoryError::IdTaken.into())
}

/// A new token for a new device of a user, and the record of it for the directory.
pub(super) fn new_access(api: &Api, user_id: UserId, name: String) -> (String, Access) {
    let now = api.engine.ports().clock.now();
    let token = new_token();
    let access = Access {
        token: TokenHash::of(&token),
        device: Device { device_id: DeviceId::generate(now), user_id, name },
        expires_at: now.plus(api.token_lifetime),
    };
    (token, access)
}

/// Log out
///
/// On return the token is invalid on every node. The sessions opened with it are closed.
#[utoipa::path(post, path = "/v1/logout", tag = "accounts",
    responses((status = 204, description = "Logged out")))]
pub(super) async fn log_out(State(api): State<Api>, caller: Caller) -> Result<StatusCode, Failure> {
    let token = caller.access.token;
    let work = api.clone();
    api.finish(async move {
        work.directory().log_out(token).await?;
        work.revocations.tell().await;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
