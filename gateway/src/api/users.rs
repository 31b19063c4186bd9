//! `/v1/users`: signing up, and looking others up.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use pabal_core::model::{User, UserId};
use pabal_core::ports::DirectoryError;
use pabal_core::protocol::{Problem, ProblemCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::login::new_access;
use super::request::{ClientAddress, Json, Parameters, PathId};
use super::views::{LoggedIn, UserAnswer, UserView};
use super::{Api, Failure, rules};
use crate::auth::Caller;

/// Somebody who wants to be a user.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SignUp {
    /// 2 to 32 letters and digits of any script, `_`, `-` and `.`, beginning and ending with a letter
    /// or digit. Kept in lower case and NFKC, and unique in that form.
    #[schema(example = "mina")]
    username: String,
    /// 8 to 256 bytes.
    #[schema(format = Password, example = "correct horse")]
    password: String,
    /// 1 to 64 characters; the username if absent.
    display_name: Option<String>,
}

/// Sign up and log in.
///
/// The answer's token is the first one of the new user, given to their first device.
#[utoipa::path(post, path = "/v1/users", tag = "accounts", security(()), request_body = SignUp,
    responses(
        (status = 201, description = "Signed up and logged in", body = LoggedIn),
        (status = 409, description = "`username_taken`"),
        (status = 422, description = "`invalid`"),
        (status = 429, description = "`rate_limited`: too many from this address"),
        (status = 503, description = "`unavailable`: too many passwords wait to be hashed"),
    ))]
pub(super) async fn sign_up(
    State(api): State<Api>,
    ClientAddress(address): ClientAddress,
    Json(body): Json<SignUp>,
) -> Result<(StatusCode, Answer<LoggedIn>), Failure> {
    let username = rules::username(&body.username)?;
    rules::password(&body.password)?;
    let display_name = match &body.display_name {
        Some(name) => rules::display_name(name)?,
        None => body.username.trim().to_owned(),
    };
    api.attempts.from_address(address)?;
    let password_hash = api.passwords.hash(body.password).await?;
    // A generated id may collide with another one of the same millisecond, once in millions.
    for _ in 0..3 {
        let now = api.engine.ports().clock.now();
        let user = User {
            user_id: UserId::generate(now),
            username: username.clone(),
            display_name: display_name.clone(),
            status_text: String::new(),
            avatar_url: String::new(),
            created_at: now,
        };
        let (token, access) = new_access(&api, user.user_id, String::new());
        let signed_up =
            api.directory().sign_up(user.clone(), password_hash.clone(), access.clone()).await;
        match signed_up {
            Err(DirectoryError::IdTaken) => continue,
            outcome => outcome?,
        }
        let answer = LoggedIn {
            user: user.into(),
            token,
            expires_at: access.expires_at,
            device_id: access.device.device_id,
        };
        return Ok((StatusCode::CREATED, Answer(answer)));
    }
    Err(DirectoryError::IdTaken.into())
}

/// A user's public profile.
#[utoipa::path(get, path = "/v1/users/{user_id}", tag = "accounts",
    params(("user_id" = String, Path, description = "The user")),
    responses(
        (status = 200, description = "The profile", body = UserAnswer),
        (status = 404, description = "`not_found`"),
    ))]
pub(super) async fn show(
    State(api): State<Api>,
    _: Caller,
    PathId(user_id): PathId<UserId>,
) -> Result<Answer<UserAnswer>, Failure> {
    let user = api.directory().user(user_id).await?;
    let user = user.ok_or_else(|| Problem::new(ProblemCode::NotFound, "there is no such user"))?;
    Ok(Answer(UserAnswer { user: user.into() }))
}

/// `{"users": […]}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsersAnswer {
    /// By username; an exact match comes first.
    users: Vec<UserView>,
    has_more: bool,
}

/// Users by name.
///
/// Those whose username is or begins with `username`, without case, by username.
#[utoipa::path(get, path = "/v1/users", tag = "accounts",
    params(
        ("username" = String, Query, description = "The name or its beginning"),
        ("limit" = Option<usize>, Query, description = "1 to 200; 50 if absent"),
    ),
    responses(
        (status = 200, description = "Those found, perhaps nobody", body = UsersAnswer),
        (status = 422, description = "`invalid`"),
    ))]
pub(super) async fn search(
    State(api): State<Api>,
    _: Caller,
    parameters: Parameters,
) -> Result<Answer<UsersAnswer>, Failure> {
    let limit = parameters.limit()?;
    let prefix = rules::username_prefix(parameters.text("username").unwrap_or_default());
    if prefix.is_empty() {
        return Err(Problem::invalid("username", "is required").into());
    }
    let mut found = api.directory().users_by_prefix(&prefix, limit + 1).await?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let users = found.into_iter().map(UserView::from).collect();
    Ok(Answer(UsersAnswer { users, has_more }))
}
