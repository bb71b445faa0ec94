//! The admin API.

pub mod shape;
