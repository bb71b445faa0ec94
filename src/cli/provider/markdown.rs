//! `docs/providers.md`: all that is known of every preset, on one page.

use super::{Shown, config, id_signed, retries, type_signed, unconfirmed};

const HEAD: &str = "\
# Providers

Written by `hookonce provider list --markdown`: `make docs` does it again, and a test compares.

A preset is one file of `src/source/catalog/`, in the same words that you can write under `[sources.x]` (see
[sources.md](sources.md)). It is *proven* when bytes that are not ours show that it is right: from the provider's own page, or made or
accepted by its own library. One that isn't follows the documentation that it names, and nothing more is claimed.

**Body signed** says what the signature covers: `full`, every byte; `partial`, some values; `none`, nothing: who holds a captured request
can send any body with it. Where the id or the type isn't signed, the preset's section says so. **Retries** is how long after the first
try the last one may come, where the provider says so; *(reported)* where only others do.
";

/// The whole page.
pub(super) fn page(presets: &[Shown<'_>]) -> String {
    let proven = presets.iter().filter(|it| it.proven).count();
    let mut out = String::from(HEAD);
    out.push_str(&format!("\n{} presets, {proven} of them proven.\n\n| name | provider | scheme | body signed | id | retries | proven |\n|---|---|---|---|---|---|---|\n",
        presets.len()
    ));
    for it in presets {
        out.push_str(&format!(
            "| [`{0}`](#{0}) | {1} | {2} | {3} | {4} | {5} | {6} |\n",
            it.slug,
            cell(it.name),
            cell(&it.scheme),
            it.integrity,
            cell(&it.id.join(", else ")),
            retries(it).unwrap_or_default(),
            if it.proven { "yes" } else { "" }
        ));
    }
    for it in presets {
        section(it, &mut out);
    }
    out
}

fn section(it: &Shown<'_>, out: &mut String) {
    out.push_str(&format!(
        "\n## {}\n\n{}. [Documentation]({}), read {}.\n\n",
        it.slug, it.name, it.doc, it.read
    ));
    for hint in it.console {
        out.push_str(&format!("* Set up: {hint}\n"));
    }
    if !it.id_signed && it.id != ["none"] {
        out.push_str(&format!("* Id from {}: {}.\n", places(&it.id), id_signed(it)));
    }
    if !it.type_signed {
        out.push_str(&format!("* Type from {}: {}.\n", places(&it.kind), type_signed(it)));
    }
    for shake in &it.handshake {
        out.push_str(&format!("* Handshake: {}\n", code(shake)));
    }
    for (name, param) in it.params {
        out.push_str(&format!("* Param `{name}`: {}\n", param.about));
    }
    for note in it.notes {
        out.push_str(&format!("* {note}\n"));
    }
    for what in it.unconfirmed {
        out.push_str(&format!("* Unconfirmed: {}\n", unconfirmed(*what)));
    }
    let mut proofs = it.proofs.clone();
    proofs.dedup();
    for proof in proofs {
        out.push_str(&format!("* Proven by {proof}.\n"));
    }
    out.push_str(&format!("\n```toml\n{}\n```\n", config(it).trim_end()));
}

fn places(places: &[String]) -> String {
    places.iter().map(|place| code(place)).collect::<Vec<_>>().join(", else ")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
