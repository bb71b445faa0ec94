//! The ground that the tests stand on: real databases, real servers, the real program.
//!
//! Nothing here is a mock. What a test needs of the outside (a PostgreSQL cluster, an endpoint that
//! handlers call, a provider that signs) is started for it and gone after it, also when the test
//! process is killed.

pub mod app;
pub mod cli;
pub mod daemon;
pub mod database;
pub mod elsewhere;
pub mod endpoint;
pub mod issuer;
pub mod leash;
pub mod link;
pub mod nats;
pub mod port;
pub mod postgres;
pub mod rabbitmq;
pub mod raw;
pub mod redis;
pub mod scratch;
pub mod sender;
pub mod sqlite;
pub mod tls;
pub mod wait;

pub use app::TestApp;
pub use daemon::{Daemon, DaemonPlan};
pub use database::{Kind, TestDatabase};
pub use elsewhere::Elsewhere;
pub use endpoint::{Answer, Endpoint};
pub use issuer::{Issuer, IssuerKey};
pub use link::Link;
pub use postgres::PostgresServer;
pub use raw::RawRequest;
pub use sender::{Sender, Signer};
pub use tls::Authority;
pub use wait::{eventually, within};
