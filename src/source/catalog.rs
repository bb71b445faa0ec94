//! The providers that we ship: one file each, built into the binary.

use std::sync::LazyLock;

use super::preset::Preset;

/// Each file of `source/catalog/` by its name. A test compares this list with the folder.
const FILES: &[(&str, &str)] = &[
    ("github", include_str!("catalog/github.toml")),
    ("gitlab-signing-token", include_str!("catalog/gitlab-signing-token.toml")),
    ("gitlab-token", include_str!("catalog/gitlab-token.toml")),
    ("shopify", include_str!("catalog/shopify.toml")),
    ("slack", include_str!("catalog/slack.toml")),
    ("standard-webhooks", include_str!("catalog/standard-webhooks.toml")),
    ("stripe", include_str!("catalog/stripe.toml")),
    ("svix", include_str!("catalog/svix.toml")),
];

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let mut presets = Vec::with_capacity(FILES.len());
    for (slug, text) in FILES {
        match toml::from_str::<Preset>(text) {
            Ok(preset) => presets.push(Preset { slug, ..preset }),
            // Built in, so only a broken build gets here: a test reads every file.
            Err(error) => tracing::error!(provider.slug = slug, "broken preset {slug}: {error}"),
        }
    }
    presets
});

/// Every preset, by slug.
#[must_use]
pub fn all() -> &'static [Preset] {
    &PRESETS
}

/// The preset with this slug.
#[must_use]
pub fn get(slug: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.slug == slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_listed_and_can_be_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/source/catalog");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        files.sort();
        let listed: Vec<String> = FILES.iter().map(|(slug, _)| format!("{slug}.toml")).collect();
        assert_eq!(listed, files);
        for (slug, text) in FILES {
            if let Err(error) = toml::from_str::<Preset>(text) {
                panic!("{slug}: {error}");
            }
        }
        assert_eq!(all().len(), FILES.len());
    }

    #[test]
    fn every_preset_says_where_and_when_it_was_read() {
        for preset in all() {
            assert!(preset.doc.starts_with("https://"), "{}", preset.slug);
            assert_eq!(preset.read, "2026-11", "{}", preset.slug);
            assert!(!preset.vector.is_empty(), "{} has no vector", preset.slug);
        }
    }
}
