//! TLS with a private certificate authority.

use std::sync::Arc;

use pabal_client::{Client, Error, Policy, Transport};
use pabal_tests::address::Address;
use pabal_tests::node::Node;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::stage::{Journal, PASSWORD, hears, lines, options, run, say};

const AUTHORITY: &[u8] = include_bytes!("certificates/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("certificates/localhost.pem");
const KEY: &[u8] = include_bytes!("certificates/localhost.key");

/// Terminates TLS in front of a node.
async fn terminate(listener: TcpListener, node: Address) {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, node) = (acceptor.clone(), node.clone());
        connections.spawn(async move {
            if let (Ok(mut client), Ok(mut node)) =
                (acceptor.accept(stream).await, TcpStream::connect(node.get()).await)
            {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
            }
        });
    }
}

async fn front(node: &Address) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let mut front = JoinSet::new();
    front.spawn(terminate(listener, node.clone()));
    (url, front)
}

/// Although the session document of the node names a `ws://` URL.
#[test]
fn every_transport_is_encrypted() {
    run(async {
        let node = Node::shared().await;
        let (url, _front) = front(node.address()).await;
        let client = Client::builder(&url).certificate_authority(AUTHORITY).build().unwrap();
        let mina = client.sign_up("mina-tls", PASSWORD).await.unwrap();
        let joon = client.sign_up("joon-tls", PASSWORD).await.unwrap();
        let channel_id = mina.direct(joon.user_id()).await.unwrap().channel_id;
        for transport in Transport::ALL {
            let mut at_joon = joon.connect(options(Policy::Only(transport))).await.unwrap();
            let said = lines(&format!("{transport:?}"), 5);
            say(&mina, channel_id, &said).await;
            let mut journal = Journal::default();
            hears(&mut at_joon, &mut journal, &said).await;
            let sent = at_joon.send(channel_id, "encrypted");
            pabal_tests::wait::soon("a send", sent).await.unwrap();
            hears(&mut at_joon, &mut journal, &["encrypted".to_owned()]).await;
            at_joon.close().await.unwrap();
        }
    });
}

#[test]
fn an_authority_that_was_not_added_is_not_trusted() {
    run(async {
        let node = Node::shared().await;
        let (url, _front) = front(node.address()).await;
        let client = Client::builder(&url).build().unwrap();
        let error = client.log_in("mina", PASSWORD).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unreachable(why) if why.contains("certificate")),
            "{error}"
        );
    });
}
