//! What the example needs around the transport: an engine in memory, a user who sends a message every
//! second, and a port.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pabal_core::engine::{Engine, EngineConfig, Limits, SendRequest};
use pabal_core::memory::{
    MemoryDirectory, MemoryHistoryStore, MemoryInterest, MemoryMessageLog, MemoryNodeInbox,
    MemoryNodeRegistry, MemoryPresence, MemoryPushNotifier, SystemClock,
};
use pabal_core::model::{
    Channel, ChannelId, ChannelKind, Device, DeviceId, TokenHash, User, UserId,
};
use pabal_core::ports::{Access, Clock, Directory, Ports, RelationLimits};
use pabal_transports::{Admission, AdmissionLimits, Connection, Transports, Wire};
use tokio::net::{TcpListener, TcpStream};

const ANN: UserId = UserId::new(1);
const NOTES: ChannelId = ChannelId::new(1);
const TOKEN: &str = "ann";

/// An engine on the in-memory adapters, with Ann and a group of her own.
pub(crate) async fn engine() -> Result<Engine, Box<dyn Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let directory = Arc::new(MemoryDirectory::default());
    let now = clock.now();
    let user = User {
        user_id: ANN,
        username: "ann".into(),
        display_name: "Ann".into(),
        status_text: String::new(),
        avatar_url: String::new(),
        created_at: now,
    };
    let device = Device { device_id: DeviceId::new(1), user_id: ANN, name: "curl".into() };
    let token = TokenHash::of(TOKEN);
    let access = Access { token, device, expires_at: now.plus(Duration::from_secs(86_400)) };
    directory.sign_up(user, "no password".into(), access).await?;
    let name = Some("notes".into());
    let channel = Channel { channel_id: NOTES, kind: ChannelKind::Group, name, created_at: now };
    directory.create_group(channel, ANN, Vec::new(), RelationLimits::DEFAULT).await?;
    let ports = Ports {
        log: Arc::new(MemoryMessageLog::new(Arc::clone(&clock), 1_024)),
        inbox: Arc::new(MemoryNodeInbox::new(1_024)),
        history: Arc::new(MemoryHistoryStore::default()),
        presence: Arc::new(MemoryPresence::default()),
        interest: Arc::new(MemoryInterest::default()),
        directory,
        push: Arc::new(MemoryPushNotifier::new(1_024)),
        registry: Arc::new(MemoryNodeRegistry::default()),
        clock,
    };
    let config =
        EngineConfig { node: "example".parse()?, partitions: 1, limits: Limits::default() };
    Ok(Engine::start(config, ports).await?)
}

/// Serves the realtime part on a free port until Ctrl-C.
pub(crate) async fn serve(
    engine: Engine,
    transports: Transports,
    mount: &str,
) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let sessions = format!("http://{}/v1/sessions", listener.local_addr()?);
    let header = format!("-H 'Authorization: Bearer {TOKEN}'");
    println!("curl -sX POST {header} {sessions}");
    println!("curl -sN {header} {sessions}/<session_id>/{mount}");
    let admission = Admission::new(AdmissionLimits::default());
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, address) = accepted?;
                if let Ok(connection) = admit(stream, address.ip(), &admission, &transports) {
                    connections.spawn(connection);
                }
            }
            _ = every_second.tick() => {
                let content = "The courier passes.".to_owned();
                let send = SendRequest { channel_id: NOTES, content, client_message_id: None };
                engine.submit(ANN, send).await.map_err(|problem| problem.detail)?;
            }
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    connections.shutdown().await;
    engine.shutdown().await;
    Ok(())
}

fn admit(
    stream: TcpStream,
    address: IpAddr,
    admission: &Admission,
    transports: &Transports,
) -> Result<impl Future<Output = ()> + Send + use<>, Box<dyn Error>> {
    let meter = transports.meters().connection();
    let wire = Wire::new(stream, Arc::clone(&meter), Duration::from_secs(30));
    let stream = Connection::new(wire, Arc::clone(&meter), admission.admit(Some(address))?);
    let transports = transports.clone();
    let service = service_fn(move |request| {
        let (transports, meter) = (transports.clone(), Arc::clone(&meter));
        async move { Ok::<_, std::convert::Infallible>(transports.serve(request, &meter).await) }
    });
    Ok(async move {
        let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        let served = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
        if let Err(error) = served.await {
            eprintln!("connection failed: {error}");
        }
    })
}
