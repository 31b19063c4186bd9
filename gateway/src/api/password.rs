//! `/v1/me/password`: a new password ends what the old one gave to others.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use pabal_core::protocol::{Problem, ProblemCode};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Caller;
use super::login::known_network;
use super::request::{ClientAddress, Json};
use super::{Api, Failure, rules};

/// A change of the password.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewPassword {
    #[schema(format = Password, example = "correct horse")]
    old: String,
    /// 8 to 256 bytes.
    #[schema(format = Password, example = "battery staple")]
    new: String,
}

/// Change the caller's password
///
/// On return every other token of the caller is invalid on every node, and the sessions and connections
/// of other devices are closed. The token of this request stays valid.
#[utoipa::path(put, path = "/v1/me/password", tag = "accounts", request_body = NewPassword,
    responses(
        (status = 204, description = "Changed"),
        (status = 403, description = "`forbidden`: `old` is not the password"),
        (status = 422, description = "`invalid`"),
        (status = 429, description = "`rate_limited`: too many attempts from this address or for this
            user"),
        (status = 503, description = "`unavailable`: too many passwords are waiting to be checked"),
    ))]
pub(super) async fn change(
    State(api): State<Api>,
    ClientAddress(address): ClientAddress,
    caller: Caller,
    Json(body): Json<NewPassword>,
) -> Result<StatusCode, Failure> {
    rules::password("new", &body.new)?;
    let (user_id, token) = (caller.user_id(), caller.access.token);
    let user = api.directory().user(user_id).await?.ok_or_else(ended)?;
    api.attempts.from_address(address)?;
    let network = known_network(&api, user_id, address).await?;
    let attempt = api.attempts.for_username(&user.username, network)?;
    let known = api.directory().credentials(&user.username).await?.ok_or_else(ended)?;
    let (old, new) = (known.password_hash, body.new);
    match api.passwords.verify(address, body.old, Some(old.clone())).await {
        Ok(true) => attempt.withdraw(),
        Ok(false) => {
            return Err(Problem::new(ProblemCode::Forbidden, "the old password is wrong").into());
        }
        Err(problem) => {
            attempt.withdraw();
            return Err(problem.into());
        }
    }
    let new = api.passwords.hash(address, new).await?;
    let accounts = Arc::clone(&api.accounts);
    let replaced = api
        .take_back(async move { Ok(accounts.replace_password(token, &old, new).await?) })
        .await?;
    // The token or the password may have ended since they were checked.
    if replaced { Ok(StatusCode::NO_CONTENT) } else { Err(ended().into()) }
}

fn ended() -> Problem {
    Problem::new(ProblemCode::Unauthenticated, "the token or the password has changed: log in")
}
