//! The OpenAPI 3.1 document: the shared parts, the paths that the transports serve, and the
//! problems that any operation may return. Descriptions of handlers are at the handlers; `router`
//! collects them.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};

use super::realtime;
use super::views::{FieldErrorSchema, IdSchema, ProblemSchema, TimeSchema};

/// The parts that belong to no handler: title, tags, security, shared schemas, and the paths that
/// the transports serve.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Pabal",
        description = "A text chat system with interchangeable transports.\n\nAll 64-bit ids are decimal strings; times are RFC 3339 UTC. Every error \
            is `application/problem+json` with a stable `code`. Unknown request fields are ignored; \
            clients must ignore unknown response fields.\n\nBegin with `POST /v1/users`, then put \
            the token of the response into Authorize.",
    ),
    tags(
        (name = "accounts", description = "Sign-up, log-in, profiles and settings"),
        (name = "people", description = "Friends and blocks"),
        (name = "channels", description = "Direct channels, groups and their members"),
        (name = "messages", description = "Sending, reading and catching up"),
        (name = "realtime", description = "Sessions, and the transports that read them"),
        (name = "discovery", description = "The node and the transport to use"),
        (name = "operation", description = "Health and metrics, for operators"),
    ),
    paths(
        realtime::open_session, realtime::end_session, realtime::poll, realtime::long_poll,
        realtime::websocket, realtime::events, realtime::commands, realtime::one_step_websocket,
    ),
    components(schemas(ProblemSchema, FieldErrorSchema, IdSchema, TimeSchema)),
    security(("bearer" = [])),
    modifiers(&Bearer),
)]
struct Frame;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token that a sign-up or log-in returned"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The document without the handlers.
pub(super) fn frame() -> OpenApi {
    Frame::openapi()
}

/// Adds to every operation the problems that it may return.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    for path in document.paths.paths.values_mut() {
        let operations =
            [&mut path.get, &mut path.put, &mut path.post, &mut path.delete, &mut path.patch];
        for operation in operations.into_iter().flatten() {
            add_problems(operation);
        }
    }
    document
}

/// Every response of 400 and above is a problem, and an operation that needs a token may return
/// 401.
fn add_problems(operation: &mut Operation) {
    // An operation that needs no token has an empty security requirement of its own.
    let needs_token = operation.security.is_none();
    let responses = &mut operation.responses.responses;
    let mut add = |status: &str, description: &str| {
        let response = ResponseBuilder::new().description(description).build();
        let entry = responses.entry(status.to_owned());
        entry.or_insert_with(|| RefOr::T(response));
    };
    if needs_token {
        add("401", "`unauthenticated`: no token, or an unknown or expired one");
    }
    add("default", "Any other problem");
    for (status, response) in responses.iter_mut() {
        let is_problem = status == "default" || status.starts_with(['4', '5']);
        if let RefOr::T(response) = response
            && is_problem
        {
            let schema = Ref::from_schema_name("Problem");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            response.content.insert("application/problem+json".to_owned(), RefOr::T(content));
        }
    }
}
