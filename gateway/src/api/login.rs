//! `/v1/login` and `/v1/logout`: issuing and revoking tokens.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Reply;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use pabal_core::model::{Device, DeviceId, TokenHash, UserId};
use pabal_core::ports::{Access, DirectoryError};
use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::http::bearer;
use pabal_transports::network;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Caller;
use super::request::{ClientAddress, Json};
use super::views::{IdSchema, LoggedIn};
use super::{Api, Failure, rules};
use crate::auth::{NETWORK_KNOWN_FOR, new_token};

/// A log-in.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct LogIn {
    #[schema(example = "mina")]
    username: String,
    #[schema(format = Password, example = "correct horse")]
    password: String,
    /// The name of this device: up to 64 characters.
    device_name: Option<String>,
    /// This device, if it has a token that has not ended, which goes into `Authorization`. The device then
    /// keeps its id and its sessions, and gets another token. Without such a token the log-in creates a
    /// device.
    #[schema(value_type = Option<IdSchema>)]
    device_id: Option<DeviceId>,
}

/// Log in on a device
///
/// A log-in creates a device with a token of its own; earlier tokens stay valid. A user has at most 100
/// devices: another one ends the one whose token expires first. With `device_id` and a token of that
/// device, the device gets another token; it keeps these two, and its others end.
#[utoipa::path(post, path = "/v1/login", tag = "accounts", security(()),
    request_body = LogIn,
    responses(
        (status = 200, description = "Logged in", body = LoggedIn),
        (status = 401, description = "`unauthenticated`: no such user, or a wrong password"),
        (status = 403, description = "`forbidden`: an operator has disabled the account"),
        (status = 422, description = "`invalid`"),
        (status = 429, description = "`rate_limited`: too many attempts from this address, or too many
            wrong passwords for this username"),
        (status = 503, description = "`unavailable`: too many passwords are waiting to be checked"),
    ))]
pub(super) async fn log_in(
    State(api): State<Api>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
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
    let credentials = api.directory().credentials(&username).await?;
    let (user, stored) = match credentials {
        Some(credentials) => (Some(credentials.user), Some(credentials.password_hash)),
        None => (None, None),
    };
    // An unknown name costs the same calls.
    let user_id = user.as_ref().map_or(UserId::default(), |user| user.user_id);
    let known = known_network(&api, user_id, address).await?;
    let attempt = api.attempts.for_username(&username, known)?;
    rules::password("password", &body.password).map_err(|_| wrong())?;
    let fits = match api.passwords.verify(address, body.password, stored).await {
        Ok(fits) => fits,
        Err(problem) => {
            attempt.withdraw();
            return Err(problem.into());
        }
    };
    let user = user.filter(|_| fits).ok_or_else(wrong)?;
    attempt.withdraw();
    note_seen_from(&api, user.user_id, address).await;
    let again = body.device_id.zip(bearer::token(&headers).ok());
    if let Some((device_id, known)) = again
        && let Some((token, access)) =
            log_in_again(&api, known, user.user_id, device_id, &device_name).await?
    {
        return Ok(Reply(LoggedIn::new(user, token, &access)));
    }
    for _ in 0..3 {
        let (token, access) = new_access(&api, user.user_id, device_name.clone());
        match api.directory().log_in(access.clone()).await {
            Err(DirectoryError::IdTaken) => continue,
            outcome => outcome?,
        }
        return Ok(Reply(LoggedIn::new(user, token, &access)));
    }
    Err(DirectoryError::IdTaken.into())
}

/// A further token for a device of a user, if `known` is a token of it that has not ended.
async fn log_in_again(
    api: &Api,
    known: TokenHash,
    user_id: UserId,
    device_id: DeviceId,
    device_name: &str,
) -> Result<Option<(String, Access)>, Failure> {
    let (token, mut access) = new_access(api, user_id, device_name.to_owned());
    access.device.device_id = device_id;
    let (accounts, added) = (Arc::clone(&api.accounts), access.clone());
    let now = api.engine.ports().clock.now();
    let added =
        api.take_back(async move { Ok(accounts.log_in_again(known, added, now).await?) }).await?;
    Ok(added.then_some((token, access)))
}

/// How old the time of a known network becomes before it is written again.
const NOTED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The network of `address`, if the user has logged in from there within [`NETWORK_KNOWN_FOR`].
pub(super) async fn known_network(
    api: &Api,
    user_id: UserId,
    address: IpAddr,
) -> Result<Option<IpAddr>, Failure> {
    let (network, now) = (network(address), api.engine.ports().clock.now());
    let seen = api.accounts.seen_from(user_id, network).await?;
    Ok(seen.is_some_and(|seen| now < seen.plus(NETWORK_KNOWN_FOR)).then_some(network))
}

/// Notes that a user has logged in from the network of `address`. The log-in succeeds without it, too.
pub(super) async fn note_seen_from(api: &Api, user_id: UserId, address: IpAddr) {
    let (network, now) = (network(address), api.engine.ports().clock.now());
    let noted = async {
        let seen = api.accounts.seen_from(user_id, network).await?;
        if seen.is_none_or(|seen| now >= seen.plus(NOTED_FOR)) {
            api.accounts.note_seen_from(user_id, network, now).await?;
        }
        Ok::<(), DirectoryError>(())
    };
    if let Err(error) = noted.await {
        tracing::warn!(%error, "the network of a log-in was not noted");
    }
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

/// Which devices to log out.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct LogOut {
    /// Whether to log out every device of the user; only this one by default.
    #[serde(default)]
    everywhere: bool,
}

/// Log out
///
/// On return the tokens of the device, or of every device of the user, are invalid on every node. Their
/// sessions and connections are closed. The body may be empty.
#[utoipa::path(post, path = "/v1/logout", tag = "accounts", request_body = Option<LogOut>,
    responses(
        (status = 204, description = "Logged out"),
        (status = 422, description = "`invalid`"),
    ))]
pub(super) async fn log_out(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<LogOut>,
) -> Result<StatusCode, Failure> {
    let (user_id, token) = (caller.user_id(), caller.access.token);
    let work = api.clone();
    api.take_back(async move {
        if body.everywhere {
            work.accounts.end_access(user_id).await?;
        } else {
            work.directory().log_out(token).await?;
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
