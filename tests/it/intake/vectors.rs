//! The vectors that the presets carry, through the whole program. A preset that is added is tested by being
//! there. HTTP can't say what time it is, so the sources tolerate any age.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::both_databases;
use crate::support::raw::{RawAnswer, RawRequest};
use crate::support::{Daemon, DaemonPlan, TestDatabase};
use crate::tidy;

#[derive(Deserialize)]
struct Preset {
    source: toml::Table,
    vector: Vec<Vector>,
}

#[derive(Deserialize, Clone)]
struct Vector {
    kind: String,
    secrets: Vec<String>,
    headers: BTreeMap<String, String>,
    body: String,
    id: Option<String>,
    #[serde(default)]
    r#type: String,
    answer: Option<String>,
}

/// Each preset by its slug.
fn presets() -> Vec<(String, Preset)> {
    let files = tidy::files("src/source/catalog", &[".toml"]);
    let slug = |path: &str| path.rsplit('/').next().unwrap().trim_end_matches(".toml").to_owned();
    files
        .iter()
        .map(|file| {
            let preset: Preset =
                toml::from_str(&file.content).unwrap_or_else(|e| panic!("{}: {e}", file.path));
            (slug(&file.path), preset)
        })
        .collect()
}

/// One source for each set of secrets; returns its name for each vector.
fn plan(db: &TestDatabase, slug: &str, preset: &Preset) -> (DaemonPlan, Vec<String>) {
    // Where nothing signs a time, a tolerance is a fault.
    let signs_time = preset.source["verify"].to_string().contains("timestamp");
    let tolerance = if signs_time { "tolerance = \"20000d\"" } else { "" };
    let mut sets: Vec<&Vec<String>> = Vec::new();
    let mut names = Vec::new();
    for vector in &preset.vector {
        let at = sets.iter().position(|set| **set == vector.secrets).unwrap_or_else(|| {
            sets.push(&vector.secrets);
            sets.len() - 1
        });
        names.push(format!("{slug}.{at}"));
    }
    let mut plan = DaemonPlan::on(db);
    for (at, set) in sets.iter().enumerate() {
        let secrets: Vec<String> =
            set.iter().map(|secret| format!("{{ value = {secret:?} }}")).collect();
        let overlaps = |other: &&Vec<String>| other.iter().any(|secret| set.contains(secret));
        let shared: Vec<String> = (0..sets.len())
            .filter(|other| *other != at && overlaps(&sets[*other]))
            .map(|other| format!("{:?}", format!("{slug}.{other}")))
            .collect();
        let shared = if shared.is_empty() {
            String::new()
        } else {
            format!("secrets_shared_with = [{}]", shared.join(", "))
        };
        plan = plan.toml(&format!(
            "[sources.\"{slug}.{at}\"]\nprovider = {slug:?}\nsecrets = [{}]\n{tolerance}\n{shared}\n",
            secrets.join(", ")
        ));
    }
    (plan, names)
}

async fn send(daemon: &Daemon, source: &str, vector: &Vector, body: &[u8]) -> RawAnswer {
    let mut request = RawRequest::post(&format!("/in/{source}"), body);
    for (name, value) in &vector.headers {
        request = request.without(name).header(name, value);
    }
    request.send(daemon.public()).await
}

both_databases!(
    each_presets_vectors_are_accepted_and_refused_with_one_bit_changed,
    |db| async move {
        let (mut documented, mut all) = (0, 0);
        for (slug, preset) in presets() {
            let (plan, names) = plan(&db, &slug, &preset);
            let mut daemon = plan.start().await;
            for (vector, source) in preset.vector.iter().zip(&names) {
                let what = format!("{slug}: {:?} ({})", vector.id, vector.kind);
                if slug != "gitlab-token" {
                    // A token covers no body.
                    let mut changed = vector.body.clone().into_bytes();
                    changed[0] ^= 1;
                    let refused = send(&daemon, source, vector, &changed).await;
                    assert_eq!(
                        (refused.status, refused.code().as_str()),
                        (401, "signature_mismatch"),
                        "{what}"
                    );
                }
                let answer = send(&daemon, source, vector, vector.body.as_bytes()).await;
                assert_eq!(answer.status, 200, "{what}: {answer:?}");
                if let Some(wanted) = &vector.answer {
                    assert_eq!(answer.body, wanted.as_bytes(), "{what}");
                }
                if let Some(id) = &vector.id {
                    let query = format!(
                        "SELECT event_id || ' ' || type FROM event WHERE source = '{source}'"
                    );
                    let stored = db.texts(&query).await;
                    // Two vectors may be two ways to send one event; its type is the first one's.
                    let again = answer.body.windows(9).any(|part| part == b"duplicate");
                    let found = stored.iter().any(|row| match again {
                        true => row.starts_with(&format!("{id} ")),
                        false => *row == format!("{id} {}", vector.r#type),
                    });
                    assert!(found, "{what}: {stored:?}");
                }
                all += 1;
                documented += usize::from(vector.kind == "documented");
            }
            assert!(daemon.stop().await.success());
        }
        println!("{all} vectors, {documented} of them published by the provider");
        assert!(all >= 8, "each preset has vectors");
    }
);

both_databases!(a_vector_is_stale_where_nobody_tolerates_its_age, |db| async move {
    let (_, slack) = presets().into_iter().find(|(slug, _)| slug == "slack").unwrap();
    let documented = slack.vector.iter().find(|vector| vector.kind == "documented").unwrap();
    let secret = documented.secrets[0].clone();
    let signer = crate::support::Signer::of("slack").with_secret(&secret);
    let daemon = DaemonPlan::on(&db).source(&signer).start().await;
    let answer = send(&daemon, "slack", documented, documented.body.as_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "timestamp_stale"));
});
