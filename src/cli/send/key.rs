//! A private key in the place of a provider's own, which only the provider has.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::cli::Output;
use crate::fixture::secrets;
use crate::secret::Secret;
use crate::source::SourceSettings;

/// What a private key in PEM holds.
const PRIVATE: &str = "PRIVATE KEY-----";

/// Where the scheme wants signatures by a private key, and no secret of the source is one: signs with
/// the key in `file`, which is made when it isn't there, and says how a test source trusts it.
pub(super) fn stand_in(
    settings: &mut SourceSettings,
    file: Option<&Path>,
    output: &Output,
) -> Result<(), Failure> {
    // Before a key is made that would be good for nothing.
    if let Some(why) = secrets::why_unsignable(&settings.spec) {
        return Err(Failure::Usage(format!(
            "source `{0}`: {why}. Let the provider send a request, and judge a captured one by `hookonce verify {0}`",
            settings.name
        )));
    }
    let positions = secrets::private_positions(&settings.spec);
    let has = |at: &usize| {
        settings.secrets.get(*at).is_some_and(|secret| secret.expose().contains(PRIVATE))
    };
    if positions.is_empty() || positions.iter().all(has) {
        return Ok(());
    }
    let made = secrets::fresh(&settings.spec, &mut rand::rng()).map_err(Failure::Failed)?;
    let own = PathBuf::from(format!("hookonce-send-{}.pem", settings.name));
    let file = file.unwrap_or(&own);
    for position in positions {
        let Some(fresh) = made.get(position) else { continue };
        let key = kept(file, fresh, output)?;
        // A scheme of several keeps its other secrets.
        let missing = made.iter().take(position + 1).skip(settings.secrets.len());
        settings.secrets.extend(missing.cloned());
        if let Some(place) = settings.secrets.get_mut(position) {
            *place = key;
        }
    }
    output.say(&format!(
        "signed with the test key in {0}; a source of tests trusts it by secrets = [{{ file = \"{0}\" }}]",
        file.display()
    ));
    Ok(())
}

/// The key in the file; `fresh` is written there when there is none.
fn kept(file: &Path, fresh: &Secret, output: &Output) -> Result<Secret, Failure> {
    let failed = |why: std::io::Error| Failure::Failed(format!("{}: {why}", file.display()));
    match fs::read_to_string(file) {
        Ok(text) if text.contains(PRIVATE) => return Ok(Secret::new(text.trim().to_owned())),
        Ok(_) => {
            let fault = format!("{} holds no private key in PEM (PKCS #8)", file.display());
            return Err(Failure::Usage(fault));
        }
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
        Err(why) => return Err(failed(why)),
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut written = options.open(file).map_err(failed)?;
    written.write_all(fresh.expose().as_bytes()).map_err(failed)?;
    output.say(&format!("made a private key for tests: {}", file.display()));
    Ok(fresh.clone())
}
