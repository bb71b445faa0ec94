//! The `http` handler.
