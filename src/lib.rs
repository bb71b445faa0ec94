//! hookonce.

pub mod event;
pub mod handler;
pub mod http;
pub mod intake;
pub mod received;
pub mod retry;
pub mod secret;
pub mod source;
pub mod store;
pub mod upkeep;
pub mod verify;
