//! The test ground itself: it must be what the other tests take it for.

mod cluster;
mod endpoint;
mod signer;
