//! The server under load and connections to it, from many loopback addresses and with TLS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use tokio_util::either::Either;

use crate::error::{Broken, LoadError};
use crate::net::{Counted, Meter, Stream};
use pabal_cost::Http;

/// Connections per loopback source address: an address has few ports, and servers limit the connections of
/// an address.
const PER_ADDRESS: usize = 4_000;
/// Timeout for TCP and TLS handshakes. After a storm many connections queue at the server.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);

/// The server under load.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its URL: `http://…` or `https://…`, with an optional path prefix.
    pub url: String,
    /// Certificates to trust instead of the system's, in PEM.
    pub roots: Option<PathBuf>,
    /// Accept any certificate of the server.
    pub insecure: bool,
}

impl Target {
    /// A server whose certificate the system's authorities have signed.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), roots: None, insecure: false }
    }
}

/// A server address to connect to: the target, or another node whose URL the target returned.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The addresses of its name; some of them may have no server.
    addresses: Vec<SocketAddr>,
    /// Host and port, as in requests.
    pub(crate) authority: String,
    /// The path prefix before `/v1`.
    pub(crate) prefix: String,
    name: Option<ServerName<'static>>,
}

impl Endpoint {
    /// Resolves the host of a URL. The path from `/v1` on is ignored.
    pub(crate) async fn find(url: &str) -> Result<Self, LoadError> {
        let wrong = || LoadError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let unreachable = |why: String| LoadError::Unreachable { url: url.to_owned(), why };
        let found = tokio::net::lookup_host((host, port))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let addresses: Vec<_> = found.collect();
        if addresses.is_empty() {
            return Err(unreachable("the name has no address".into()));
        }
        let name = if secure {
            Some(ServerName::try_from(host.to_owned()).map_err(|_| wrong())?)
        } else {
            None
        };
        let path = uri.path();
        let prefix = path.split("/v1/").next().unwrap_or(path).trim_end_matches('/').to_owned();
        Ok(Self { addresses, authority: authority.to_string(), prefix, name })
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.name.is_some()
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.is_secure() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }
}

/// Opens connections to endpoints. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector {
    http1: TlsConnector,
    http2: TlsConnector,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    pub(crate) fn new(target: &Target, endpoint: &Endpoint) -> Result<Self, LoadError> {
        let provider = Arc::new(ring::default_provider());
        let tls = |error: TlsError| LoadError::Plan(format!("TLS: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(tls)?;
        let mut config = if target.insecure {
            let anything = Arc::new(Anything(provider));
            builder.dangerous().with_custom_certificate_verifier(anything).with_no_client_auth()
        } else {
            // Reading the system's certificates takes time and is useless without TLS.
            let roots = match &target.roots {
                None if !endpoint.is_secure() => RootCertStore::empty(),
                added => roots(added.as_deref())?,
            };
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        // Each client is a separate device, which has no session ticket of another one.
        config.resumption = Resumption::disabled();
        let for_protocol = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        Ok(Self { http1: for_protocol(b"http/1.1"), http2: for_protocol(b"h2") })
    }

    /// Opens connection `number` to an endpoint.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        number: usize,
        http: Http,
        meter: Arc<Meter>,
    ) -> Result<Stream, Broken> {
        let connect = async {
            let mut reached = Err(std::io::ErrorKind::AddrNotAvailable.into());
            for address in &endpoint.addresses {
                reached = reach(*address, number).await;
                if reached.is_ok() {
                    break;
                }
            }
            let tcp = reached?;
            // Requests and frames are written whole: Nagle's algorithm could only delay them.
            tcp.set_nodelay(true)?;
            let counted = Counted::new(tcp, meter);
            let Some(name) = &endpoint.name else { return Ok(Either::Left(counted)) };
            let tls = if http == Http::Two { &self.http2 } else { &self.http1 };
            let stream = tls.connect(name.clone(), counted).await?;
            if http == Http::Two && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err(std::io::Error::other("the server does not speak HTTP/2"));
            }
            Ok(Either::Right(Box::new(stream)))
        };
        let connected = timeout(CONNECT_WITHIN, connect).await;
        connected.map_err(|_| Broken::cut("no connection in time"))?.map_err(Broken::cut)
    }
}

/// Opens TCP connection `number` to an address.
async fn reach(address: SocketAddr, number: usize) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if address.is_ipv4() && address.ip().is_loopback() {
        socket.bind(SocketAddr::new(source(number), 0))?;
    }
    socket.connect(address).await
}

/// The loopback address of the `number`th connection.
fn source(number: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, 1 + (number / PER_ADDRESS % 250) as u8).into()
}

/// The system's certificate authorities and those in a file.
fn roots(added: Option<&Path>) -> Result<RootCertStore, LoadError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = added else {
        // Certificates of the system's store that cannot be read are not trusted.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let unreadable = |why: String| LoadError::Roots { path: path.to_owned(), why };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("it holds none".into()));
    }
    Ok(roots)
}

/// Trusts every certificate, as `--insecure` says.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
