//! An authority that only those believe who are told to, and TLS for this machine by it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// An authority, and a certificate of it for some hosts, as files.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        Self::of(&["localhost", "127.0.0.1"])
    }

    /// One whose certificate is for these hosts.
    pub fn of(hosts: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("hookonce-tls-").tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let authority = Self { dir };
        std::fs::write(authority.root(), issuer.pem()).unwrap();
        std::fs::write(authority.certificate(), leaf.pem()).unwrap();
        std::fs::write(authority.key(), key.serialize_pem()).unwrap();
        authority
    }

    /// What one has to believe in: for `SSL_CERT_FILE`.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }

    /// The certificate of its hosts.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("certificate.pem")
    }

    /// Its private key.
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    /// TLS in front of a server.
    pub async fn before(&self, server: SocketAddr) -> TlsFront {
        let chain = vec![CertificateDer::from_pem_file(self.certificate()).unwrap()];
        let key = PrivateKeyDer::from_pem_file(Path::new(&self.key())).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((peer, _)) = listener.accept().await else { return };
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Who doesn't believe the certificate hangs up: that is what a test may want.
                    let Ok(mut peer) = acceptor.accept(peer).await else { return };
                    let Ok(mut server) = TcpStream::connect(server).await else { return };
                    drop(tokio::io::copy_bidirectional(&mut peer, &mut server).await);
                });
            }
        });
        TlsFront { address, accepting }
    }
}

/// A listener on TLS. It stops when this is dropped.
#[derive(Debug)]
pub struct TlsFront {
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
