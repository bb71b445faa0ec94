//! Bare `hookonce`: dev mode, but only where no config could be meant.

use super::{Failure, Global, Output, dev};

pub(super) async fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    if global.has_config() {
        let path = global.config_path().display();
        return Err(Failure::Usage(format!(
            "there is a {path}, so this is not dev mode: run it with `hookonce serve`, or see `hookonce --help`"
        )));
    }
    if global.url().is_some() {
        return Err(Failure::Usage("--url needs a verb; see `hookonce --help`".to_owned()));
    }
    dev::run(global, output).await
}
