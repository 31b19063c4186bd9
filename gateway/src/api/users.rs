//! `/v1/users`: sign-up, profiles and search.

use axum::Json as Reply;
use axum::extract::State;
use http::StatusCode;
use pabal_core::model::{User, UserId};
use pabal_core::ports::DirectoryError;
use pabal_core::protocol::{Problem, ProblemCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Caller;
use super::login::{new_access, note_seen_from};
use super::request::{ClientAddress, Json, Parameters, PathId};
use super::views::{LoggedIn, UserAnswer, UserView, page};
use super::{Api, Failure, rules};

/// A sign-up.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SignUp {
    /// 2 to 32 letters and digits of any script, `_`, `-` and `.`, beginning and ending with a
    /// letter or digit. Stored in lower case and NFKC, and unique in that form.
    #[schema(example = "mina")]
    username: String,
    /// 8 to 256 bytes.
    #[schema(format = Password, example = "correct horse")]
    password: String,
    /// 1 to 64 characters; the username by default.
    display_name: Option<String>,
}

/// Sign up and log in
///
/// Creates a user with a first device, and returns a token for that device.
#[utoipa::path(post, path = "/v1/users", tag = "accounts", security(()), request_body = SignUp,
    responses(
        (status = 201, description = "Signed up and logged in", body = LoggedIn),
        (status = 409, description = "`username_taken`"),
        (status = 422, description = "`invalid`"),
        (status = 429, description = "`rate_limited`: too many attempts from this address"),
        (status = 503, description = "`unavailable`: too many passwords are waiting to be hashed"),
    ))]
pub(super) async fn sign_up(
    State(api): State<Api>,
    ClientAddress(address): ClientAddress,
    Json(body): Json<SignUp>,
) -> Result<(StatusCode, Reply<LoggedIn>), Failure> {
    let username = rules::username(&body.username)?;
    rules::password("password", &body.password)?;
    let display_name = match &body.display_name {
        Some(name) => rules::display_name(name)?,
        None => body.username.trim().to_owned(),
    };
    api.attempts.from_address(address)?;
    let password_hash = api.passwords.hash(address, body.password).await?;
    // A generated id collides with another one of the same millisecond once in millions.
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
        note_seen_from(&api, user.user_id, address).await;
        return Ok((StatusCode::CREATED, Reply(LoggedIn::new(user, token, &access))));
    }
    Err(DirectoryError::IdTaken.into())
}

/// Get a user's public profile
#[utoipa::path(get, path = "/v1/users/{user_id}", tag = "accounts",
    params(("user_id" = String, Path, description = "The user")),
    responses(
        (status = 200, description = "The profile", body = UserAnswer),
        (status = 404, description = "`not_found`: no such user"),
    ))]
pub(super) async fn show(
    State(api): State<Api>,
    _: Caller,
    PathId(user_id): PathId<UserId>,
) -> Result<Reply<UserAnswer>, Failure> {
    let user = api.directory().user(user_id).await?;
    let user = user.ok_or_else(|| Problem::new(ProblemCode::NotFound, "no such user"))?;
    Ok(Reply(UserAnswer { user: user.into() }))
}

/// `{"users": […]}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsersAnswer {
    /// Ordered by username; an exact match comes first.
    users: Vec<UserView>,
    has_more: bool,
}

/// Search users by name
///
/// Returns users whose username equals or begins with `username`, ignoring case, ordered by
/// username.
#[utoipa::path(get, path = "/v1/users", tag = "accounts",
    params(
        ("username" = String, Query, description = "The username, or its beginning"),
        ("limit" = Option<usize>, Query, description = "Page size, 1 to 200; 50 by default"),
    ),
    responses(
        (status = 200, description = "The users found; may be empty", body = UsersAnswer),
        (status = 422, description = "`invalid`"),
        (status = 429, description = "`rate_limited`: too many users found in a short time"),
    ))]
pub(super) async fn search(
    State(api): State<Api>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Reply<UsersAnswer>, Failure> {
    let limit = parameters.limit()?;
    let prefix = rules::username_prefix(parameters.text("username").unwrap_or_default());
    if prefix.is_empty() {
        return Err(Problem::invalid("username", "is required").into());
    }
    // One before the read, so that a user above the rate costs no read, and the rest after it.
    api.effects.found(caller.user_id(), 1)?;
    let read = api.directory().users_by_prefix(&prefix, limit + 1).await?;
    let (users, has_more) = page(read, limit);
    if users.len() > 1 {
        api.effects.found(caller.user_id(), users.len() - 1)?;
    }
    let users = users.into_iter().map(UserView::from).collect();
    Ok(Reply(UsersAnswer { users, has_more }))
}
