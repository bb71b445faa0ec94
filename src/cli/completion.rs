//! `hookonce completion`: for a shell.

use clap::CommandFactory;

use super::{Cli, Failure, Output};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hookonce", &mut script);
    output.bytes(&script)
}
