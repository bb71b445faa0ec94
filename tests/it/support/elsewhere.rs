//! A server of ours in the place of somebody's on the internet, for the program as it is shipped: see
//! `elsewhere.c`, which is put under it.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::process::Command;

use super::daemon::DaemonPlan;
use super::endpoint::Endpoint;
use super::tls::{Authority, TlsFront};

/// The hosts of a provider.
#[derive(Debug)]
pub struct Elsewhere {
    /// What answers in their place.
    pub server: Endpoint,
    authority: Authority,
    front: TlsFront,
    hosts: String,
    dir: TempDir,
}

impl Elsewhere {
    /// A server that has these names, and certificates for them by an authority of its own.
    ///
    /// # Panics
    /// Without a C compiler, which the program itself is built with.
    pub async fn at(hosts: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("hookonce-elsewhere-").tempdir().unwrap();
        let source = dir.path().join("elsewhere.c");
        std::fs::write(&source, include_str!("elsewhere.c")).unwrap();
        let mut compile = Command::new("cc");
        compile
            .args(["-Wall", "-shared", "-fPIC", "-O1", "-o"])
            .arg(dir.path().join("elsewhere.so"));
        let said = compile.arg(&source).arg("-ldl").output().await;
        let said = said.expect("a C compiler: install `gcc`");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let server = Endpoint::start().await;
        let authority = Authority::of(hosts);
        let front = authority.before(server.address()).await;
        Self { server, authority, front, hosts: hosts.join(" "), dir }
    }

    /// The plan of a daemon for which it has these names, and which believes its authority.
    pub fn under(&self, plan: DaemonPlan) -> DaemonPlan {
        let text = |path: PathBuf| path.to_str().expect("a path of text").to_owned();
        plan.environment("LD_PRELOAD", &text(self.dir.path().join("elsewhere.so")))
            .environment("ELSEWHERE_HOSTS", &self.hosts)
            .environment("ELSEWHERE_PORT", &self.front.address.port().to_string())
            .environment("SSL_CERT_FILE", &text(self.authority.root()))
    }

    /// What was asked for so far, such as `GET api.example.com /keys`.
    pub fn asked(&self) -> Vec<String> {
        let calls = self.server.calls();
        let line = calls.iter();
        line.map(|it| format!("{} {} {}", it.method, it.header("host"), it.target)).collect()
    }
}
