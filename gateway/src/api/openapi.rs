//! The description of everything that is served over HTTP, in OpenAPI 3.1: what stands at the
//! handlers, what the transports serve, and the problems that any of them may answer.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};

use super::views::{FieldErrorSchema, IdSchema, ProblemSchema, TimeSchema};
use super::{realtime, router};

/// The parts that no handler states: title, tags, security, shared schemas, and the paths that the
/// transports serve.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Pabal",
        description = "A text chat system whose routing engine sits behind interchangeable \
            transports.\n\nAll 64-bit ids are decimal strings; times are RFC 3339 UTC. Every error \
            is `application/problem+json` with a stable `code`. Unknown request fields are ignored; \
            clients must ignore unknown response fields.\n\nBegin with `POST /v1/users`, then put \
            the token into Authorize.",
    ),
    tags(
        (name = "accounts", description = "Signing up, logging in, profiles and settings"),
        (name = "people", description = "Friends and blocks"),
        (name = "channels", description = "Direct channels and groups, and who is in them"),
        (name = "messages", description = "Sending, reading, catching up"),
        (name = "realtime", description = "Sessions, and the transports that read from them"),
        (name = "discovery", description = "Where to connect, and how"),
        (name = "operation", description = "For whoever runs the node"),
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
            .description(Some("The token of a sign-up or log-in"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The description without the handlers.
pub(super) fn frame() -> OpenApi {
    Frame::openapi()
}

/// The whole description, as it is served.
pub fn document() -> OpenApi {
    let (_, mut document) = router::described().split_for_parts();
    for path in document.paths.paths.values_mut() {
        let operations =
            [&mut path.get, &mut path.put, &mut path.post, &mut path.delete, &mut path.patch];
        for operation in operations.into_iter().flatten() {
            add_problems(operation);
        }
    }
    document
}

/// Every answer of 400 and above is a problem, and those that need a token may lack it.
fn add_problems(operation: &mut Operation) {
    // Operations that need no token say so by an empty requirement of their own.
    let needs_token = operation.security.is_none();
    let responses = &mut operation.responses.responses;
    let mut add = |status: &str, description: &str| {
        let response = ResponseBuilder::new().description(description).build();
        let entry = responses.entry(status.to_owned());
        entry.or_insert_with(|| RefOr::T(response));
    };
    if needs_token {
        add("401", "`unauthenticated`: no token, or one that is unknown or has ended");
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
