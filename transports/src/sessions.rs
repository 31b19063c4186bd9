//! Sessions over HTTP: clients open and end them here, and every transport is mounted below each of
//! them. Owns the paths below `/v1/sessions` and `/v1/websocket`, and who may use a session.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use pabal_core::engine::{Budget, BudgetKind, Engine, Reservation, Session};
use pabal_core::model::{SessionId, UserId};
use pabal_core::protocol::{Cursors, Problem, ProblemCode};

use crate::http::bearer;
use crate::http::{
    Body, BodyLimits, RequestBody, json, json_response, problem_response, read_held_body,
    require_method, with_allow,
};
use crate::meter::{ConnectionMeter, Meters};
use crate::mounted::Mounted;
use crate::requests::Requests;
use crate::transport::{Attach, Location, ResponseFuture, Transport, respond};
use crate::websocket::HandshakeKind;
use crate::{LongPolling, ServerSentEvents, ShortPolling, WebSocket, commands};

const SESSIONS: &str = "/v1/sessions";
const WEBSOCKET: &str = "/v1/websocket";
/// The last segment of the path that takes commands; not a transport.
const COMMANDS: &str = "commands";
/// How many other nodes a session document names at most.
const ELSEWHERE: usize = 3;

/// The configuration of the transports.
#[derive(Clone, Debug)]
pub struct TransportsConfig {
    /// The shortest interval at which clients should poll. Clients learn it from the session
    /// document; the rate limit enforces another bound.
    pub poll_min_interval: Duration,
    /// The longest wait of a long poll, and the wait of one that does not say.
    pub long_poll_max_wait: Duration,
    /// How often WebSockets are pinged, and idle event streams get a comment.
    pub ping_interval: Duration,
    /// The largest request body and WebSocket message, in bytes.
    pub body_bytes: usize,
    /// How long a request body may take to arrive.
    pub body_timeout: Duration,
    /// The rate limits of clients.
    pub requests: Requests,
    /// Host and port for URLs that must be absolute. `None`: those of the request.
    pub authority: Option<String>,
    /// Whether clients connect by TLS, to this node or to a proxy before it.
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

/// The realtime part of the HTTP interface. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Transports {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    config: TransportsConfig,
    mounted: Vec<Mounted>,
    /// The transport that also opens a session in the same step, and its index in `mounted`.
    websocket: (usize, WebSocket),
    meters: Meters,
}

impl std::fmt::Debug for Transports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.inner.mounted.iter().map(|mounted| mounted.name);
        f.debug_list().entries(names).finish()
    }
}

/// The table of transports while it is being filled.
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
    /// Mounts one more transport, within the [layers](crate::layers) that all of them have.
    #[must_use]
    pub fn with<T: Transport>(mut self, transport: T) -> Self {
        debug_assert!(
            self.mounted.iter().all(|other| other.mount != T::MOUNT && other.name != T::NAME),
            "two transports with one path or name"
        );
        self.mounted.push(Mounted::new(transport, &self.config.requests));
        self
    }

    /// The finished table, ready to serve.
    pub fn build(self) -> Transports {
        let Self { engine, config, mounted, websocket } = self;
        let meters = Meters::new(mounted.iter().map(|mounted| mounted.name));
        let inner = Arc::new(Inner { engine, config, mounted, websocket, meters });
        Transports { inner }
    }
}

impl Transports {
    /// Short polling, long polling, WebSocket and server-sent events.
    pub fn new(engine: Engine, config: TransportsConfig) -> Self {
        Self::builder(engine, config).build()
    }

    /// The same four, to which others may be added.
    pub fn builder(engine: Engine, config: TransportsConfig) -> TransportsBuilder {
        let websocket =
            WebSocket::new(config.ping_interval, config.body_bytes, config.requests.clone());
        let requests = &config.requests;
        let mounted = vec![
            Mounted::new(ShortPolling { min_interval: config.poll_min_interval }, requests),
            Mounted::new(LongPolling { max_wait: config.long_poll_max_wait }, requests),
            Mounted::new(websocket.clone(), requests),
            Mounted::new(ServerSentEvents { keep_alive: config.ping_interval }, requests),
        ];
        TransportsBuilder { engine, config, mounted, websocket: (2, websocket) }
    }

    /// What the node holds for its clients, in bytes.
    pub fn budget(&self) -> &Budget {
        self.inner.engine.budget()
    }

    /// The counters of all transports.
    pub fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    /// The rate limits. The requests of a user are counted here. Those of an address are counted by the
    /// server that accepts connections, because addresses are not known here.
    pub fn requests(&self) -> &Requests {
        &self.inner.config.requests
    }

    /// Whether [`serve`](Self::serve) is to be called for this path.
    pub fn serves(&self, path: &str) -> bool {
        path == WEBSOCKET
            || path
                .strip_prefix(SESSIONS)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether `GET` on this path reads from a session, by a transport that
    /// [needs the head only](Transport::READS).
    pub fn reads(&self, path: &str) -> bool {
        let below = path.strip_prefix(SESSIONS).and_then(|rest| rest.strip_prefix('/'));
        let mount = below.and_then(|rest| rest.split_once('/')).map(|(_, mount)| mount);
        mount.is_some_and(|mount| {
            self.inner.mounted.iter().any(|mounted| mounted.reads && mounted.mount == mount)
        })
    }

    /// The response to a request whose path this [serves](Self::serves). Whatever is wrong with the
    /// request becomes a response, too.
    ///
    /// Dropping the future ends a wait and loses no event. A send that was begun is stored all the same.
    pub async fn serve<B: RequestBody>(
        &self,
        request: Request<B>,
        connection: &Arc<ConnectionMeter>,
    ) -> Response<Body> {
        let path = request.uri().path();
        if path == WEBSOCKET {
            // Boxed, like the other rare branches: the future of a parked poll is as large as the largest
            // branch.
            return respond(Box::pin(self.open_websocket(request.map(drop), connection)).await);
        }
        let path = path.strip_prefix(SESSIONS).unwrap_or_default();
        let Some(path) = path.strip_prefix('/') else {
            connection.claim_for_api();
            return with_allow(
                respond(Box::pin(self.open_session(request, connection)).await),
                "POST",
            );
        };
        match path.split_once('/') {
            None => {
                let id = path.to_owned();
                connection.claim_for_api();
                with_allow(respond(Box::pin(self.close_session(&id, request)).await), "DELETE")
            }
            Some((id, mount)) => match self.resolve(id, mount, request.headers()).await {
                Ok((session, Some(index))) => {
                    let request = request.map(drop);
                    match self.call(index, session, request, connection).await {
                        Ok(response) => with_allow(response, "GET"),
                        Err(never) => match never {},
                    }
                }
                Ok((session, None)) => {
                    connection.claim_for_api();
                    with_allow(
                        respond(Box::pin(self.commands(session, request, connection)).await),
                        "POST",
                    )
                }
                Err(problem) => {
                    connection.claim_for_api();
                    respond(Err(problem))
                }
            },
        }
    }

    /// Begins `GET` on a path that [`reads`](Self::reads). The returned future is what is left: the wait
    /// for events. It holds nothing of the request.
    pub async fn begin_read(
        &self,
        request: Request<()>,
        connection: &Arc<ConnectionMeter>,
    ) -> ResponseFuture {
        let below = request.uri().path().strip_prefix(SESSIONS).unwrap_or_default();
        let (id, mount) = below.trim_start_matches('/').split_once('/').unwrap_or_default();
        match self.resolve(id, mount, request.headers()).await {
            Ok((session, Some(index))) => self.call(index, session, request, connection),
            outcome => {
                connection.claim_for_api();
                let problem = outcome.err().unwrap_or_else(no_transport);
                Box::pin(std::future::ready(Ok(problem_response(&problem))))
            }
        }
    }

    /// Waits until every WebSocket has closed, at most `grace`. The sessions must have been ended before,
    /// or their sockets are left open.
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.websocket.1.shutdown(grace).await;
    }

    /// The session of a request, and the index of the transport; none for `commands`.
    async fn resolve(
        &self,
        id: &str,
        mount: &str,
        headers: &HeaderMap,
    ) -> Result<(Arc<Session>, Option<usize>), Problem> {
        let index = self.inner.mounted.iter().position(|mounted| mounted.mount == mount);
        if index.is_none() && mount != COMMANDS {
            return Err(no_transport());
        }
        Ok((self.session(id, headers).await?, index))
    }

    async fn session(&self, id: &str, headers: &HeaderMap) -> Result<Arc<Session>, Problem> {
        let token = bearer::token_or_subprotocol(headers)?;
        let id: SessionId = id
            .parse()
            .map_err(|_| Problem::new(ProblemCode::NotFound, "this is not the id of a session"))?;
        self.inner.engine.session(&id, token).await
    }

    /// Calls a transport within its layers.
    fn call(
        &self,
        index: usize,
        session: Arc<Session>,
        request: Request<()>,
        connection: &Arc<ConnectionMeter>,
    ) -> ResponseFuture {
        (self.inner.mounted[index].call)(self.attach(index, session, request, connection))
    }

    fn attach(
        &self,
        index: usize,
        session: Arc<Session>,
        request: Request<()>,
        connection: &Arc<ConnectionMeter>,
    ) -> Attach {
        let meter = self.inner.meters.transport(index);
        let (engine, connection) = (self.inner.engine.clone(), Arc::clone(connection));
        Attach { engine, session, request, meter, connection }
    }

    async fn commands<B: RequestBody>(
        &self,
        session: Arc<Session>,
        request: Request<B>,
        connection: &ConnectionMeter,
    ) -> Result<Response<Body>, Problem> {
        self.requests().of_user(session.user_id())?;
        let held = self.holding(connection, session.user_id())?;
        let body = (self.body_limits(), held);
        commands::post(self.inner.engine.clone(), session, request, body).await
    }

    async fn open_session<B: RequestBody>(
        &self,
        request: Request<B>,
        connection: &ConnectionMeter,
    ) -> Result<Response<Body>, Problem> {
        require_method(&request, &Method::POST)?;
        let token = bearer::token_or_subprotocol(request.headers())?;
        let access = self.inner.engine.authenticate(token).await?;
        self.requests().of_user(access.device.user_id)?;
        let (parts, body) = request.into_parts();
        let mut held = self.holding(connection, access.device.user_id)?;
        let body = read_held_body(body, self.body_limits(), &mut held).await?;
        let NewSession { channels } = json::parse(&body)?;
        let session = self.inner.engine.open_session(&access, channels).await?;
        let document = self.document(&session, &parts.uri, &parts.headers);
        Ok(json_response(StatusCode::CREATED, Bytes::from(document.to_string())))
    }

    async fn close_session<B>(
        &self,
        id: &str,
        request: Request<B>,
    ) -> Result<Response<Body>, Problem> {
        require_method(&request, &Method::DELETE)?;
        let session = self.session(id, request.headers()).await?;
        self.requests().of_user(session.user_id())?;
        self.inner.engine.close_session(&session).await;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    /// `GET /v1/websocket`: opens a session and attaches in one step. Goes past the layers of the mounted
    /// WebSocket: the rate limit has to be checked before a session is opened.
    async fn open_websocket(
        &self,
        request: Request<()>,
        connection: &Arc<ConnectionMeter>,
    ) -> Result<Response<Body>, Problem> {
        HandshakeKind::of(&request)?;
        let token = bearer::token_or_subprotocol(request.headers())?;
        let access = self.inner.engine.authenticate(token).await?;
        self.requests().of_user(access.device.user_id)?;
        let session = self.inner.engine.open_session(&access, None).await?;
        let document = self.document(&session, request.uri(), request.headers());
        let greeting = serde_json::json!({ "session": document }).to_string();
        let (index, websocket) = &self.inner.websocket;
        let attach = self.attach(*index, Arc::clone(&session), request, connection);
        attach.count();
        let response = websocket.open(attach, Some(Bytes::from(greeting)));
        let opened = response.as_ref().is_ok_and(|it| !it.status().is_client_error());
        if !opened {
            // The client has not learnt its id and could not end it.
            self.inner.engine.close_session(&session).await;
        }
        response
    }

    /// A reservation of no bytes yet, for the body of a request.
    fn holding(
        &self,
        connection: &ConnectionMeter,
        user_id: UserId,
    ) -> Result<Reservation, Problem> {
        let holder = connection.holder(Some(user_id));
        self.inner.engine.budget().reserve(BudgetKind::Bodies, holder, 0)
    }

    fn body_limits(&self) -> BodyLimits {
        let TransportsConfig { body_bytes: bytes, body_timeout: timeout, .. } = self.inner.config;
        BodyLimits { bytes, timeout }
    }

    /// The session document: what a client needs to read from its session.
    fn document(&self, session: &Session, uri: &Uri, headers: &HeaderMap) -> serde_json::Value {
        let config = &self.inner.config;
        let path = format!("{SESSIONS}/{}", session.id());
        // HTTP/2 has the authority in the URI, HTTP/1.1 in a header, which may be empty.
        let used = uri.authority().map(http::uri::Authority::as_str);
        let used = used.or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok()));
        let used = used.filter(|authority| !authority.is_empty());
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

/// The body of `POST /v1/sessions`.
#[derive(Debug, serde::Deserialize)]
struct NewSession {
    /// The cursors to catch up from; absent, the session starts at now.
    channels: Option<Cursors>,
}

fn no_transport() -> Problem {
    Problem::new(ProblemCode::NotFound, "there is no such transport")
}
