//! Sessions over HTTP: opened and ended here, with every transport mounted below each of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use pabal_core::engine::{Engine, Session};
use pabal_core::model::{SessionId, TokenHash};
use pabal_core::protocol::{Cursors, Problem, ProblemCode};

use crate::http::{
    Body, RequestBody, json_response, problem_response, read_body, require_method, with_allow,
};
use crate::meter::{ConnectionMeter, Meters};
use crate::requests::Requests;
use crate::transport::{Answering, Attach, Location, Mounted, Transport, respond};
use crate::websocket::{Way, offered_token};
use crate::{LongPolling, ServerSentEvents, ShortPolling, WebSocket, commands};

const SESSIONS: &str = "/v1/sessions";
const WEBSOCKET: &str = "/v1/websocket";
/// As many other nodes as a session names.
const ELSEWHERE: usize = 3;

/// What the transports are configured with.
#[derive(Clone, Debug)]
pub struct TransportsConfig {
    /// How often clients should poll at most.
    pub poll_min_interval: Duration,
    /// How long a long poll is held at most.
    pub long_poll_max_wait: Duration,
    /// How often WebSockets are pinged, and quiet SSE streams get a comment.
    pub ping_interval: Duration,
    /// The largest body and WebSocket message, in bytes.
    pub body_bytes: usize,
    /// How long a request body may take to arrive.
    pub body_timeout: Duration,
    /// How often clients may ask.
    pub requests: Requests,
    /// Host and port for URLs that must be absolute; what the client used, if absent.
    pub authority: Option<String>,
    /// Whether clients come by TLS.
    pub secure: bool,
}

impl Default for TransportsConfig {
    fn default() -> Self {
        Self {
            poll_min_interval: Duration::from_millis(100),
            long_poll_max_wait: Duration::from_secs(60),
            ping_interval: Duration::from_secs(25),
            body_bytes: 256 * 1024,
            body_timeout: Duration::from_secs(20),
            requests: Requests::unlimited(),
            authority: None,
            secure: false,
        }
    }
}

/// The realtime part of the HTTP interface. Cheap to clone.
#[derive(Clone)]
pub struct Transports {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    config: TransportsConfig,
    mounted: Vec<Mounted>,
    /// The one that can also open a session in the same step.
    websocket: (usize, WebSocket),
    meters: Meters,
}

impl std::fmt::Debug for Transports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.inner.mounted.iter().map(|mounted| mounted.name);
        f.debug_list().entries(names).finish()
    }
}

/// Which transports there are, before they are served.
pub struct TransportsBuilder {
    engine: Engine,
    config: TransportsConfig,
    mounted: Vec<Mounted>,
    websocket: (usize, WebSocket),
}

impl std::fmt::Debug for TransportsBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.mounted.iter().map(|mounted| mounted.name);
        f.debug_list().entries(names).finish()
    }
}

impl TransportsBuilder {
    /// Mounts one more.
    #[must_use]
    pub fn with(mut self, transport: impl Transport) -> Self {
        self.mounted.push(Mounted::new(transport));
        self
    }

    /// All of them, ready to serve.
    pub fn build(self) -> Transports {
        let Self { engine, config, mounted, websocket } = self;
        let meters = Meters::new(mounted.iter().map(|mounted| mounted.name));
        let inner = Arc::new(Inner { engine, config, mounted, websocket, meters });
        Transports { inner }
    }
}

impl Transports {
    /// The four that Pabal has.
    pub fn new(engine: Engine, config: TransportsConfig) -> Self {
        Self::builder(engine, config).build()
    }

    /// The four that Pabal has, and room for more.
    pub fn builder(engine: Engine, config: TransportsConfig) -> TransportsBuilder {
        let websocket =
            WebSocket::new(config.ping_interval, config.body_bytes, config.requests.clone());
        let mounted = vec![
            Mounted::new(ShortPolling { min_interval: config.poll_min_interval }),
            Mounted::new(LongPolling { max_wait: config.long_poll_max_wait }),
            Mounted::new(websocket.clone()),
            Mounted::new(ServerSentEvents { keep_alive: config.ping_interval }),
        ];
        TransportsBuilder { engine, config, mounted, websocket: (2, websocket) }
    }

    /// The counters of all transports.
    pub fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    /// Who counts what clients ask. Those who serve connections count addresses, which are not known
    /// here; users are counted here.
    pub fn requests(&self) -> &Requests {
        &self.inner.config.requests
    }

    /// Whether this path is served here.
    pub fn serves(&self, path: &str) -> bool {
        path == WEBSOCKET
            || path
                .strip_prefix(SESSIONS)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether GET on this path reads from a session: served here, and answered from the head of the
    /// request alone.
    pub fn reads(&self, path: &str) -> bool {
        let below = path.strip_prefix(SESSIONS).and_then(|rest| rest.strip_prefix('/'));
        let mount = below.and_then(|rest| rest.split_once('/')).map(|(_, mount)| mount);
        mount.is_some_and(|mount| {
            self.inner.mounted.iter().any(|mounted| mounted.reads && mounted.mount == mount)
        })
    }

    /// Answers a request to a path that [`serves`](Self::serves).
    pub async fn serve<B: RequestBody>(
        &self,
        request: Request<B>,
        connection: &Arc<ConnectionMeter>,
    ) -> Response<Body> {
        let path = request.uri().path();
        if path == WEBSOCKET {
            // Boxed, like the other rare ways: the future of a parked poll is as large as the largest.
            return respond(Box::pin(self.open_websocket(request.map(drop), connection)).await);
        }
        let path = path.strip_prefix(SESSIONS).unwrap_or_default();
        let Some(path) = path.strip_prefix('/') else {
            connection.claim_for_api();
            return with_allow(respond(Box::pin(self.open_session(request)).await), "POST");
        };
        match path.split_once('/') {
            None => {
                let id = path.to_owned();
                connection.claim_for_api();
                with_allow(respond(Box::pin(self.close_session(&id, request)).await), "DELETE")
            }
            Some((id, mount)) => match self.attach(id, mount, request.headers()).await {
                Ok((session, Some(index))) => {
                    match self.begin(index, session, request.map(drop), connection).await {
                        Ok(response) => with_allow(response, "GET"),
                        Err(never) => match never {},
                    }
                }
                Ok((session, None)) => {
                    connection.claim_for_api();
                    let (engine, bounds) = (self.inner.engine.clone(), self.body_bounds());
                    let answer = Box::pin(commands::post(engine, session, request, bounds)).await;
                    with_allow(respond(answer), "POST")
                }
                Err(problem) => {
                    connection.claim_for_api();
                    respond(Err(problem))
                }
            },
        }
    }

    /// Begins to answer GET on a path that [`reads`](Self::reads). What is left is the wait, and holds
    /// nothing of the request.
    pub async fn begin_read(
        &self,
        request: Request<()>,
        connection: &Arc<ConnectionMeter>,
    ) -> Answering {
        let below = request.uri().path().strip_prefix(SESSIONS).unwrap_or_default();
        let (id, mount) = below.trim_start_matches('/').split_once('/').unwrap_or_default();
        match self.attach(id, mount, request.headers()).await {
            Ok((session, Some(index))) => self.begin(index, session, request, connection),
            outcome => {
                connection.claim_for_api();
                let none = Problem::new(ProblemCode::NotFound, "there is no such transport");
                let problem = outcome.err().unwrap_or(none);
                Box::pin(std::future::ready(Ok(problem_response(&problem))))
            }
        }
    }

    /// Waits until every WebSocket has closed, at most `grace`. Their sessions should have ended by
    /// now, or they are cut off.
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.websocket.1.shutdown(grace).await;
    }

    /// The session and which transport is asked for; no transport is `commands`.
    async fn attach(
        &self,
        id: &str,
        mount: &str,
        headers: &HeaderMap,
    ) -> Result<(Arc<Session>, Option<usize>), Problem> {
        let index = self.inner.mounted.iter().position(|mounted| mounted.mount == mount);
        if index.is_none() && mount != "commands" {
            return Err(Problem::new(ProblemCode::NotFound, "there is no such transport"));
        }
        Ok((self.session(id, headers).await?, index))
    }

    async fn session(&self, id: &str, headers: &HeaderMap) -> Result<Arc<Session>, Problem> {
        let token = token(headers)?;
        let id: SessionId = id
            .parse()
            .map_err(|_| Problem::new(ProblemCode::NotFound, "this is not the id of a session"))?;
        let session = self.inner.engine.session(&id, token).await?;
        self.requests().of_user(session.user_id())?;
        Ok(session)
    }

    fn begin(
        &self,
        index: usize,
        session: Arc<Session>,
        request: Request<()>,
        connection: &Arc<ConnectionMeter>,
    ) -> Answering {
        let attach = self.attachment(index, session, request, connection);
        (self.inner.mounted[index].call)(attach)
    }

    fn attachment(
        &self,
        index: usize,
        session: Arc<Session>,
        request: Request<()>,
        connection: &Arc<ConnectionMeter>,
    ) -> Attach {
        let meter = self.inner.meters.transport(index);
        meter.claim(connection);
        meter.request();
        let (engine, connection) = (self.inner.engine.clone(), Arc::clone(connection));
        Attach { engine, session, request, meter, connection }
    }

    async fn open_session<B: RequestBody>(
        &self,
        request: Request<B>,
    ) -> Result<Response<Body>, Problem> {
        require_method(&request, &Method::POST)?;
        let token = token(request.headers())?;
        let access = self.inner.engine.authenticate(token).await?;
        self.requests().of_user(access.device.user_id)?;
        let (parts, body) = request.into_parts();
        let body = read_body(body, self.body_bounds()).await?;
        let cursors = cursors(&body)?;
        let session = self.inner.engine.open_session(&access, cursors).await?;
        let document = self.document(&session, &parts.uri, &parts.headers);
        Ok(json_response(StatusCode::CREATED, document.to_string()))
    }

    async fn close_session<B>(
        &self,
        id: &str,
        request: Request<B>,
    ) -> Result<Response<Body>, Problem> {
        require_method(&request, &Method::DELETE)?;
        let session = self.session(id, request.headers()).await?;
        self.inner.engine.close_session(&session).await;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    /// `GET /v1/websocket`: opens a session and attaches in one step.
    async fn open_websocket(
        &self,
        request: Request<()>,
        connection: &Arc<ConnectionMeter>,
    ) -> Result<Response<Body>, Problem> {
        Way::of(&request)?;
        let access = self.inner.engine.authenticate(token(request.headers())?).await?;
        self.requests().of_user(access.device.user_id)?;
        let session = self.inner.engine.open_session(&access, None).await?;
        let document = self.document(&session, request.uri(), request.headers());
        let greeting = serde_json::json!({ "session": document }).to_string();
        let (index, websocket) = &self.inner.websocket;
        let attach = self.attachment(*index, Arc::clone(&session), request, connection);
        let answer = websocket.open(attach, Some(Bytes::from(greeting)));
        let opened = answer.as_ref().is_ok_and(|it| !it.status().is_client_error());
        if !opened {
            // Nobody knows of it, so nobody would end it.
            self.inner.engine.close_session(&session).await;
        }
        answer
    }

    fn body_bounds(&self) -> (usize, Duration) {
        (self.inner.config.body_bytes, self.inner.config.body_timeout)
    }

    /// What a client is told of its session.
    fn document(
        &self,
        session: &Session,
        uri: &http::Uri,
        headers: &HeaderMap,
    ) -> serde_json::Value {
        let config = &self.inner.config;
        let path = format!("{SESSIONS}/{}", session.id());
        // HTTP/2 has the authority in the URI, HTTP/1.1 in a header.
        let used = uri.authority().map(http::uri::Authority::as_str);
        let used = used.or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok()));
        let authority = config.authority.as_deref().or(used).unwrap_or("localhost");
        let at = Location { path: &path, authority, secure: config.secure };
        let transports: serde_json::Map<String, serde_json::Value> = self
            .inner
            .mounted
            .iter()
            .map(|mounted| (mounted.name.to_owned(), (mounted.describe)(&at)))
            .collect();
        let resume_window = self.inner.engine.limits().resume_window;
        let mut document = serde_json::json!({
            "session_id": session.id(),
            "node": session.id().node(),
            "next": session.start(),
            "resume_window_ms": resume_window.as_millis() as u64,
            "transports": transports,
        });
        let elsewhere = self.inner.engine.other_node_urls(ELSEWHERE);
        if !elsewhere.is_empty() {
            document["elsewhere"] = elsewhere.into();
        }
        document
    }
}

/// The bearer token of a request, hashed.
fn token(headers: &HeaderMap) -> Result<TokenHash, Problem> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| offered_token(headers)).map(TokenHash::of).ok_or_else(|| {
        Problem::new(ProblemCode::Unauthenticated, "a bearer token is needed: log in")
    })
}

fn cursors(body: &[u8]) -> Result<Option<Cursors>, Problem> {
    #[derive(Default, serde::Deserialize)]
    struct Open {
        channels: Option<Cursors>,
    }
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let open: Open = serde_json::from_slice(body).map_err(|error| {
        Problem::invalid("channels", format!("must map channel ids to message ids: {error}"))
    })?;
    Ok(open.channels)
}
