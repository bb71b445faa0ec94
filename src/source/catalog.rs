//! The providers that we ship: one file each, built into the binary.

use std::sync::{LazyLock, OnceLock};

use super::preset::Preset;

/// A file of `source/catalog/`, read when it is first asked for: a daemon needs few of them.
struct File {
    slug: &'static str,
    text: &'static str,
    preset: OnceLock<Option<Preset>>,
}

/// Each file of `source/catalog/`, by name and in order; the build lists the folder.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let texts: Vec<(&str, &str)> = Vec::from(include!(concat!(env!("OUT_DIR"), "/catalog.rs")));
    let file = |(slug, text)| File { slug, text, preset: OnceLock::new() };
    texts.into_iter().map(file).collect()
});

impl File {
    fn preset(&self) -> Option<&Preset> {
        let read = || match read(self.slug, self.text) {
            Ok(preset) => Some(preset),
            Err(error) => {
                // Built in, so only a broken build gets here: a test reads every file.
                tracing::error!(provider.slug = self.slug, "broken preset {}: {error}", self.slug);
                None
            }
        };
        self.preset.get_or_init(read).as_ref()
    }
}

fn read(slug: &'static str, text: &str) -> Result<Preset, toml::de::Error> {
    toml::from_str::<Preset>(text).map(|preset| Preset { slug, ..preset })
}

/// Every preset, by slug.
pub fn all() -> impl Iterator<Item = &'static Preset> {
    FILES.iter().filter_map(File::preset)
}

/// Every preset's name, by which operators call it.
pub fn slugs() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.slug)
}

/// The preset with this slug.
#[must_use]
pub fn get(slug: &str) -> Option<&'static Preset> {
    FILES.iter().find(|file| file.slug == slug).and_then(File::preset)
}

/// The presets as they lie in the folder, so that a file can be worked on without building anew.
#[cfg(test)]
pub(super) fn on_disk() -> Vec<Preset> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/source/catalog");
    let mut presets: Vec<Preset> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let slug = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
            let text = std::fs::read_to_string(&path).expect("a text");
            read(slug.clone().leak(), &text).unwrap_or_else(|error| panic!("{slug}: {error}"))
        })
        .collect();
    presets.sort_by_key(|preset| preset.slug);
    presets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_built_in_and_can_be_read() {
        let on_disk: Vec<&str> = on_disk().iter().map(|preset| preset.slug).collect();
        assert_eq!(slugs().collect::<Vec<_>>(), on_disk);
        for file in FILES.iter() {
            if let Err(error) = read(file.slug, file.text) {
                panic!("{}: {error}", file.slug);
            }
        }
        assert_eq!(all().count(), FILES.len());
        assert_eq!(get("stripe").map(|preset| preset.slug), Some("stripe"));
        assert!(get("none").is_none());
    }

    #[test]
    fn every_preset_can_be_used() {
        let mut faults = Vec::new();
        for preset in on_disk() {
            if let Err(found) = preset.source.facts() {
                faults.extend(found.iter().map(|fault| format!("{}: {fault}", preset.slug)));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    /// It goes on every six hours, and doesn't say for how long.
    const WITHOUT_END: &str = "quickbooks";

    #[test]
    fn what_a_preset_says_of_retries_holds_together() {
        for preset in on_disk() {
            let slug = preset.slug;
            let retries = preset.source.retries.clone().unwrap_or_default();
            let waits: std::time::Duration =
                retries.schedule.iter().flatten().map(|wait| wait.0).sum();
            let long_enough = match retries.horizon {
                Some(horizon) => horizon.0 >= waits,
                None => retries.schedule.is_none() || slug == WITHOUT_END,
            };
            assert!(long_enough, "{slug}: ids would be forgotten before the last try");
            // Whoever loses an event of such a provider must have been told.
            let told = preset.notes.iter().any(|note| note.contains("never"));
            assert!(
                retries.none != Some(true) || told,
                "{slug}: no note says that it never retries"
            );
        }
    }

    #[test]
    fn every_preset_says_where_and_when_it_was_read() {
        for preset in on_disk() {
            assert!(preset.doc.starts_with("https://"), "{}", preset.slug);
            assert_eq!(preset.read, "2026-11", "{}", preset.slug);
            assert!(!preset.vector.is_empty(), "{} has no vector", preset.slug);
        }
    }
}
