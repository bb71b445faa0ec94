//! `hookonce init`: a commented hookonce.toml.

use std::io::Write;

use super::{Failure, Global, Output};
use crate::config;

pub(super) fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    let path = global.config_path();
    let shown = path.display();
    // One call that fails when something is there: nobody's file is overwritten between two.
    let mut file = std::fs::File::create_new(path).map_err(|why| match why.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::Failed(format!("{shown} is there already and was not touched"))
        }
        _ => Failure::Failed(format!("{shown} can't be written: {why}")),
    })?;
    file.write_all(config::EXAMPLE.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|why| Failure::Failed(format!("{shown} can't be written: {why}")))?;
    output.say(&format!(
        "wrote {shown}: add a source and a handler, then `hookonce check` and `hookonce serve`"
    ));
    Ok(())
}
