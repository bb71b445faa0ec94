//! The `function` handler.
