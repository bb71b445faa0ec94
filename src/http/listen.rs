//! Binds a listener and runs it. The framework's server is known only here.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle, Service, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::{App, Error, HttpServer, web};

/// For a connection's first head to arrive whole, or its first byte when it stays idle.
///
/// The framework times no later head: once a byte of it came, neither this nor [`KEEP_ALIVE`] runs.
/// [`KEPT_MAX`] bounds how many connections can be held in that way.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept. Longer than most balancers keep theirs, so that they are the
/// ones who close it and never send into a closing connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// While more connections than this are open, each is closed after its answer: whoever holds many
/// with half a second request can hold no more than this, and the head that each one buffers, 128 KiB
/// at most, stays within 256 MiB. Balancers keep far fewer.
const KEPT_MAX: usize = 2048;

/// After an answer that ends the connection: for the sender to read it before we close.
const LINGER: Duration = Duration::from_secs(2);

/// A bound listener that does not serve yet: connections wait in the kernel until it runs.
pub struct Listener {
    address: SocketAddr,
    server: Server,
}

/// Stops a [`Listener`] from elsewhere. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stopper(ServerHandle);

impl Listener {
    /// Where it really listens: the port that the kernel chose when the settings say 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.server.handle())
    }

    /// Serves until it is stopped.
    ///
    /// Dropping the future leaves threads behind that serve on: stop it instead.
    pub async fn run(self) -> io::Result<()> {
        self.server.await
    }
}

impl Stopper {
    /// Closes the listener and returns when it is closed. When graceful, requests that are being
    /// served are finished first, each on its own connection, which is closed after it; what is left
    /// after the listener's grace is cut off.
    pub async fn stop(&self, graceful: bool) {
        self.0.stop(graceful).await;
    }
}

/// Binds `address`. `routes` is called once a worker; `grace` is for requests that are being served
/// when it is stopped gracefully.
pub(super) fn bind<F>(
    address: SocketAddr,
    workers: NonZeroUsize,
    grace: Duration,
    routes: F,
) -> io::Result<Listener>
where
    F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
{
    bind_keeping(KEPT_MAX, address, workers, grace, routes)
}

/// [`bind`], with as many kept connections as `kept_max` says.
pub(super) fn bind_keeping<F>(
    kept_max: usize,
    address: SocketAddr,
    workers: NonZeroUsize,
    grace: Duration,
    routes: F,
) -> io::Result<Listener>
where
    F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
{
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    let app = move || {
        let open = Arc::clone(&open);
        App::new()
            // Not `from_fn`, which allocates for the service and for its future.
            .wrap_fn(move |request, routes| {
                let crowded = open.load(Ordering::Relaxed) > kept_max;
                close_when(crowded, routes.call(request))
            })
            .configure(routes.clone())
    };
    let server = HttpServer::new(app)
        .on_connect(move |_, extensions| {
            extensions.insert(Open::new(&counted));
        })
        .workers(workers.get())
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(LINGER)
        .tcp_nodelay(true)
        // Signals have one owner, and that is `app`.
        .disable_signals()
        .shutdown_timeout(grace.as_secs().max(1))
        // Not `bind_auto_h2c`: it waits for a first byte without a deadline, so idle connections
        // would stay for ever, and no provider speaks HTTP/2 without TLS.
        .bind(address)?;
    let address = server.addrs().first().copied().unwrap_or(address);
    Ok(Listener { address, server: server.run() })
}

/// Counts an open connection: it lives as long as the connection's extensions do.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn close_when<B>(
    crowded: bool,
    answered: impl Future<Output = Result<ServiceResponse<B>, Error>>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = answered.await?;
    if crowded {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// One worker a core.
pub(super) fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
