//! The bytes in flight of a request: for whom they are, its body, and answers that are counted before they
//! are built.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use pabal_core::engine::{Budget, BudgetKind, Holder, Reservation};
use pabal_core::model::UserId;
use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::Held;
use serde::Serialize;

use super::Failure;

/// What a request holds, as one of its extensions. Clones are the same request.
#[derive(Clone, Debug, Default)]
pub struct RequestBytes(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    holder: Holder,
    /// The body, as long as the request lasts: what was parsed is as large.
    body: Option<Reservation>,
}

impl RequestBytes {
    /// Of a request whose user is not known yet.
    pub fn new(holder: Holder) -> Self {
        Self(Arc::new(Mutex::new(Parts { holder, body: None })))
    }

    /// For whom the bytes are.
    pub fn holder(&self) -> Holder {
        self.lock().holder.clone()
    }

    /// The token of the request is one of this user.
    pub(super) fn of_user(&self, user_id: UserId) {
        self.lock().holder.user = Some(user_id);
    }

    /// The body was read.
    pub(super) fn keep_body(&self, body: Reservation) {
        self.lock().body = Some(body);
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts an answer before it is read from a store.
///
/// # Errors
/// Those of [`Budget::reserve`].
pub(super) fn reserve(
    budget: &Budget,
    holder: &Holder,
    bytes: usize,
) -> Result<Reservation, Problem> {
    budget.reserve(BudgetKind::Answers, holder.clone(), bytes)
}

/// A JSON response whose bytes `held` counts until they are written.
pub(super) fn json(mut held: Reservation, body: &impl Serialize) -> Result<Response, Failure> {
    let mut bytes = Vec::new();
    serde_json::to_writer(&mut bytes, body).map_err(|error| {
        tracing::error!(%error, "an answer was not serialised");
        Problem::new(ProblemCode::Internal, "the answer could not be written")
    })?;
    bytes.shrink_to_fit();
    held.resize(bytes.len())?;
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut response = (StatusCode::OK, [(CONTENT_TYPE, JSON)], bytes).into_response();
    response.extensions_mut().insert(Held(Arc::new(held)));
    Ok(response)
}
