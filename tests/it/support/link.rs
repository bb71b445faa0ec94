//! The way to a server, which falls silent as the way to a machine that died does: open, and no byte passes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A port behind which a server is.
pub struct Link {
    /// On the loopback interface.
    pub port: u16,
    era: Arc<Mutex<Era>>,
}

/// What goes for the connections that are made until the next one begins.
#[derive(Clone)]
struct Era {
    passes: bool,
    over: CancellationToken,
    /// Whether connections are closed when it is over.
    closed: Arc<AtomicBool>,
    passing: TaskTracker,
}

impl Era {
    fn new(passes: bool) -> Self {
        let (over, closed) = (CancellationToken::new(), Arc::default());
        Self { passes, over, closed, passing: TaskTracker::new() }
    }
}

impl Link {
    /// To the server at this host and port.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let era = Arc::new(Mutex::new(Era::new(true)));
        let current = Arc::clone(&era);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (era, token) = {
                    let era = current.lock().unwrap();
                    (era.clone(), era.passing.token())
                };
                let server = server.clone();
                tokio::spawn(async move {
                    let died = !era.passes || {
                        let mut upstream = TcpStream::connect(server).await.unwrap();
                        tokio::select! {
                            _ = copy_bidirectional(&mut client, &mut upstream) => false,
                            () = era.over.cancelled() => true,
                        }
                    };
                    drop(token);
                    if died && !era.closed.load(Ordering::SeqCst) {
                        // Held open, and no byte passes any more.
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { port, era }
    }

    /// No byte of any connection passes from when it returns, and none of those that are made then, either.
    pub async fn fall_silent(&self) {
        self.begin(false).await;
    }

    /// Connections are closed, and those that are made from then on are silent.
    pub async fn cut(&self) {
        self.era.lock().unwrap().closed.store(true, Ordering::SeqCst);
        self.begin(false).await;
    }

    /// As if another machine had taken over: connections that were made before stay silent.
    pub async fn take_over(&self) {
        self.begin(true).await;
    }

    async fn begin(&self, passes: bool) {
        let old = std::mem::replace(&mut *self.era.lock().unwrap(), Era::new(passes));
        old.over.cancel();
        old.passing.close();
        old.passing.wait().await;
    }
}

/// A port behind which a server is that hears nothing more of a connection from this word on; both of its ends stay
/// open, and what the server says is heard.
pub async fn deaf_from(server: String, word: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(&server).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = upstream.into_split();
            tokio::spawn(async move {
                tokio::io::copy(&mut from_server, &mut to_client).await.ok();
            });
            tokio::spawn(async move {
                let mut said = vec![0; 1 << 16];
                while let Ok(length @ 1..) = from_client.read(&mut said).await {
                    let said = &said[..length];
                    if said.windows(word.len()).any(|it| it == word) {
                        std::future::pending::<()>().await;
                    }
                    to_server.write_all(said).await.unwrap();
                }
            });
        }
    });
    port
}
