//! The `hookonce` program; see `hookonce --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hookonce::cli::main()
}
