//! The `hookonce` program; see `hookonce --help`.

use std::process::ExitCode;

/// A request is some sixty small allocations, made on one thread and freed on another: what the
/// system's allocator is slowest at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hookonce::cli::main()
}
