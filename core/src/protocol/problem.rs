//! Errors as clients see them: RFC 9457 problem details with a stable `code`.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// What went wrong, as a word on which clients may depend. Never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemCode {
    /// 401: no token, or an unknown, expired or revoked one. Log in.
    Unauthenticated,
    /// 403: the caller is not a member of this channel.
    NotAMember,
    /// 403: the other user of this direct channel has blocked the caller.
    Blocked,
    /// 403: the caller may not do this.
    Forbidden,
    /// 404: it does not exist.
    NotFound,
    /// 405: the path exists, but not with this method.
    MethodNotAllowed,
    /// 409: another user has this username.
    UsernameTaken,
    /// 410: the session has ended. Open a new one with the channels' cursors.
    SessionGone,
    /// 413: larger than the limit that `detail` names.
    TooLarge,
    /// 415: the body is not JSON.
    UnsupportedMediaType,
    /// 421: the session is on another node, at `url`.
    WrongNode,
    /// 422: a field is invalid; `errors` names it.
    Invalid,
    /// 429: too many; retry after `retry_after_ms`.
    RateLimited,
    /// 500: a fault of the server. Its log has the detail.
    Internal,
    /// 503: a service that the server needs is unavailable. Retry.
    Unavailable,
    /// 503: this node is about to stop. Retry on another node.
    Draining,
    /// 503: the send may or may not have been accepted. Repeat it with the same
    /// `client_message_id`.
    NotConfirmed,
}

/// When to retry, unless a problem states another time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl ProblemCode {
    const fn parts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Unauthenticated => ("unauthenticated", 401, "Not logged in"),
            Self::NotAMember => ("not_a_member", 403, "Not a member of the channel"),
            Self::Blocked => ("blocked", 403, "Blocked by the other user"),
            Self::Forbidden => ("forbidden", 403, "Not allowed"),
            Self::NotFound => ("not_found", 404, "Not found"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, "Method not allowed"),
            Self::UsernameTaken => ("username_taken", 409, "Username taken"),
            Self::SessionGone => ("session_gone", 410, "Session gone"),
            Self::TooLarge => ("too_large", 413, "Too large"),
            Self::UnsupportedMediaType => ("unsupported_media_type", 415, "Unsupported media type"),
            Self::WrongNode => ("wrong_node", 421, "Session on another node"),
            Self::Invalid => ("invalid", 422, "Invalid request"),
            Self::RateLimited => ("rate_limited", 429, "Too many requests"),
            Self::Internal => ("internal", 500, "Internal error"),
            Self::Unavailable => ("unavailable", 503, "Temporarily unavailable"),
            Self::Draining => ("draining", 503, "Node is draining"),
            Self::NotConfirmed => ("not_confirmed", 503, "Not confirmed"),
        }
    }

    /// The stable snake_case word.
    pub const fn as_str(self) -> &'static str {
        self.parts().0
    }

    /// The HTTP status that carries it.
    pub const fn status(self) -> u16 {
        self.parts().1
    }

    const fn retryable(self) -> bool {
        matches!(self.status(), 429 | 503)
    }

    /// A short title, the same for every occurrence.
    pub const fn title(self) -> &'static str {
        self.parts().2
    }
}

/// An error as a client sees it: problem details (RFC 9457). `detail` is for people and holds nothing
/// private.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The stable code.
    pub code: ProblemCode,
    /// What happened, in a sentence.
    pub detail: String,
    /// When to retry; absent if a retry is of no use.
    pub retry_after: Option<Duration>,
    /// The invalid fields.
    pub errors: Vec<FieldError>,
    /// The URL to use instead.
    pub url: Option<String>,
}

/// An invalid field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The name of the field in the request.
    pub field: String,
    /// What it must be.
    pub detail: String,
}

impl Problem {
    /// A problem with a sentence for people. If a retry is of use, it states when: after a second,
    /// unless [`retry_after`](Self::retry_after) sets another time.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let retry_after = code.retryable().then_some(RETRY_AFTER);
        Self { code, detail: detail.into(), retry_after, errors: Vec::new(), url: None }
    }

    /// A problem with one invalid field.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let (field, detail) = (field.into(), detail.into());
        let mut problem = Self::new(ProblemCode::Invalid, format!("{field}: {detail}"));
        problem.errors.push(FieldError { field, detail });
        problem
    }

    /// The same problem with the time after which to retry.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The same problem with the URL to use instead.
    #[must_use]
    pub fn at(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Whether the same request may succeed later.
    pub const fn retryable(&self) -> bool {
        self.code.retryable()
    }

    /// The value of `Retry-After` (RFC 9110 section 10.2.3): the wait in whole seconds, rounded up, and
    /// at least one. Present whenever `retry_after_ms` is, which is more precise.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let seconds = self.retry_after?.as_millis().div_ceil(1_000).max(1);
        Some(u64::try_from(seconds).unwrap_or(u64::MAX))
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after_ms: Option<u128>,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            errors: &'a [FieldError],
            #[serde(skip_serializing_if = "Option::is_none")]
            url: Option<&'a str>,
        }
        let code = self.code.as_str();
        Wire {
            r#type: format!("urn:pabal:problem:{code}"),
            title: self.code.title(),
            status: self.code.status(),
            detail: &self.detail,
            code,
            retry_after_ms: self.retry_after.map(|after| after.as_millis()),
            errors: &self.errors,
            url: self.url.as_deref(),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_rfc_9457_with_extension_members() {
        let problem = Problem::invalid("content", "must not be empty")
            .retry_after(Duration::from_millis(1_500));
        let json = serde_json::to_value(&problem).expect("serialises");
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:pabal:problem:invalid",
                "title": "Invalid request",
                "status": 422,
                "detail": "content: must not be empty",
                "code": "invalid",
                "retry_after_ms": 1500,
                "errors": [{"field": "content", "detail": "must not be empty"}],
            })
        );
    }

    #[test]
    fn a_retryable_problem_states_when_to_retry() {
        let draining = Problem::new(ProblemCode::Draining, "this node is stopping");
        assert_eq!(draining.retry_after_seconds(), Some(1));
        assert_eq!(Problem::new(ProblemCode::NotFound, "nothing").retry_after_seconds(), None);
        for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (20_000, 20)] {
            let problem = draining.clone().retry_after(Duration::from_millis(millis));
            assert_eq!(problem.retry_after_seconds(), Some(seconds), "{millis}");
        }
    }
}
