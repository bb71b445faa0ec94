//! The provider: a server on TLS, and a fetcher that believes it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::fetch::FetchSettings;

/// What the provider answers to everybody, changed while it runs.
#[derive(Clone)]
struct Reply {
    head: String,
    body: Vec<u8>,
    after: Duration,
}

/// A provider, and who may be believed about it.
pub(super) struct Provider {
    asked: Arc<AtomicUsize>,
    reply: Arc<Mutex<Reply>>,
    pub(super) keys: Keys,
    pub(super) issuer: CertifiedIssuer<'static, KeyPair>,
}

const HOST: &str = "keys.example.com";

impl Provider {
    pub(super) async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        let issuer = issuer.expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let names = [HOST, "certs.example.com"].map(str::to_owned);
        let leaf = CertificateParams::new(names).expect("params").signed_by(&key, &issuer);
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.expect("a certificate").der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("DER"),
            )
            .expect("a config");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let reply = Arc::new(Mutex::new(Reply {
            head: "200 OK".to_owned(),
            body: Vec::new(),
            after: Duration::ZERO,
        }));
        let asked = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            Arc::clone(&reply),
            Arc::clone(&asked),
        ));
        let root: CertificateDer<'static> = issuer.der().clone();
        let anchor = webpki::anchor_from_trusted_cert(&root).expect("an anchor").to_owned();
        let at: BTreeMap<_, _> = [HOST, "certs.example.com", "other.example.com"]
            .map(|host| (host.to_owned(), address))
            .into();
        let settings = FetchSettings { roots: vec![root.to_vec()], resolve: at };
        let fetcher = Fetcher::with(&settings);
        let keys = Keys::new(fetcher, Roots::of(vec![anchor]), Metrics::new());
        Self { asked, reply, keys, issuer }
    }

    pub(super) fn says(&self, head: &str, body: impl Into<Vec<u8>>) {
        let mut reply = self.reply.lock().expect("not poisoned");
        reply.head = head.to_owned();
        reply.body = body.into();
    }

    pub(super) fn waits(&self, after: Duration) {
        self.reply.lock().expect("not poisoned").after = after;
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    tls: TlsAcceptor,
    reply: Arc<Mutex<Reply>>,
    asked: Arc<AtomicUsize>,
) {
    loop {
        let Ok((peer, _)) = listener.accept().await else { return };
        let (tls, reply, asked) = (tls.clone(), Arc::clone(&reply), Arc::clone(&asked));
        tokio::spawn(async move {
            let Ok(mut peer) = tls.accept(peer).await else { return };
            let mut head = vec![0; 8192];
            if peer.read(&mut head).await.is_err() {
                return;
            }
            asked.fetch_add(1, Ordering::SeqCst);
            let reply = reply.lock().expect("not poisoned").clone();
            tokio::time::sleep(reply.after).await;
            let head = format!(
                "HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                reply.head,
                reply.body.len()
            );
            // The one who asked may have hung up.
            drop(peer.write_all(&[head.as_bytes(), &reply.body].concat()).await);
            drop(peer.shutdown().await);
        });
    }
}
