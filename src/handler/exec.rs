//! The `exec` handler.
