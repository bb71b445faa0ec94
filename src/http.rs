//! HTTP: the public listener and the admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::secret::Secret;

pub mod admin;

/// The public listener.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Bytes of bodies held at once.
    pub max_inflight: usize,
    /// For the whole body to arrive.
    pub body_timeout: Duration,
    /// From the whole body to the answer.
    pub ack_deadline: Duration,
    /// Between readiness turning 503 and the listener closing.
    pub drain: Duration,
}

/// The admin listener.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Required unless loopback.
    pub token: Option<Secret>,
    /// Host names that a request may name, beside loopback's and the listener's own.
    pub hosts: Vec<String>,
}
