//! The server under load, and connections to it: many loopback addresses to come from, TLS.

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

/// As many connections as come from one loopback address: ports of one address are few, and
/// servers bound the connections of an address.
const PER_ADDRESS: usize = 4_000;
/// How long a connection may take to stand, with TLS. A storm makes them wait for each other.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);

/// The server under load.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is: `http://…` or `https://…`, perhaps with a path in front of everything.
    pub url: String,
    /// Certificates to trust in place of the system's, in PEM.
    pub roots: Option<PathBuf>,
    /// Trusts whatever certificate the server shows.
    pub insecure: bool,
}

impl Target {
    /// A server to be reached without a word about certificates.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), roots: None, insecure: false }
    }
}

/// A place to connect to: the target, or another node that it named.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Those that its name has, which may not all have a server.
    addresses: Vec<SocketAddr>,
    /// Host and port as they stand in requests.
    pub(crate) authority: String,
    /// What stands before `/v1`.
    pub(crate) prefix: String,
    name: Option<ServerName<'static>>,
}

impl Place {
    /// Finds the addresses that a URL names. What is beneath `/v1` in it does not matter.
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

/// How to come to a place. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Roads {
    http1: TlsConnector,
    http2: TlsConnector,
}

impl std::fmt::Debug for Roads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Roads")
    }
}

impl Roads {
    pub(crate) fn to(target: &Target, place: &Place) -> Result<Self, LoadError> {
        let provider = Arc::new(ring::default_provider());
        let tls = |error: TlsError| LoadError::Plan(format!("TLS: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(tls)?;
        let mut config = if target.insecure {
            let anything = Arc::new(Anything(provider));
            builder.dangerous().with_custom_certificate_verifier(anything).with_no_client_auth()
        } else {
            // The system's are many to read, and of no use where nothing is encrypted.
            let roots = match &target.roots {
                None if !place.is_secure() => RootCertStore::empty(),
                added => roots(added.as_deref())?,
            };
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        // Each client is a device of its own: none knows another's tickets.
        config.resumption = Resumption::disabled();
        let connector = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        Ok(Self { http1: connector(b"http/1.1"), http2: connector(b"h2") })
    }

    /// Connects as the `number`th of many.
    pub(crate) async fn connect(
        &self,
        place: &Place,
        number: usize,
        http: Http,
        meter: Arc<Meter>,
    ) -> Result<Stream, Broken> {
        let connect = async {
            let mut reached = Err(std::io::ErrorKind::AddrNotAvailable.into());
            for address in &place.addresses {
                reached = reach(*address, number).await;
                if reached.is_ok() {
                    break;
                }
            }
            let tcp = reached?;
            // Requests and frames are written whole: Nagle's algorithm could only delay them.
            tcp.set_nodelay(true)?;
            let counted = Counted::new(tcp, meter);
            let Some(name) = &place.name else { return Ok(Either::Left(counted)) };
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

/// Connects to an address as the `number`th of many.
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
        // What of the system's store cannot be read is simply not trusted.
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
