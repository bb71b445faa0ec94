//! The `log` handler.
