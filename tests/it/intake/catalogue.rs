//! Every preset on the real program: sent as its provider would, received once, refused when forged.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt as _;
use hookonce::fixture::{secrets, shipped};
use hookonce::secret::Secret;
use hookonce::source::catalog;
use hookonce::source::preset::Preset;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::both_databases;
use crate::support::{Daemon, DaemonPlan, TestDatabase};

/// Signed with a hash that AWS-LC makes no new signatures with: its vector shows that it verifies.
const NOT_SIGNED: [&str; 1] = ["travis-ci"];

/// What makes the daemon call its provider: no test asks Amazon.
const CALLS_OUT: [(&str, &str); 1] = [("aws-sns", "subscription")];

/// Programs that run at once.
const AT_ONCE: usize = 4;

/// Its secrets, the same ones each time, but for private keys.
fn secrets_of(preset: &Preset) -> Vec<Secret> {
    let seed = catalog::slugs().position(|slug| slug == preset.slug).expect("a preset");
    secrets::fresh(&preset.source, &mut StdRng::seed_from_u64(seed as u64)).expect(preset.slug)
}

/// A source of this preset, as an operator writes it.
fn source(preset: &Preset) -> String {
    let slug = preset.slug;
    let secrets = secrets_of(preset);
    let mut text = format!("[sources.{slug}]\nprovider = \"{slug}\"\n");
    if !secrets.is_empty() {
        let texts: Vec<String> =
            secrets.iter().map(|it| format!("{{ value = {:?} }}", it.expose())).collect();
        text += &format!("secrets = [{}]\n", texts.join(", "));
    }
    let params: Vec<String> =
        preset.params.iter().map(|(name, it)| format!("{name} = {:?}", it.example)).collect();
    if !params.is_empty() {
        text += &format!("params = {{ {} }}\n", params.join(", "));
    }
    text + &format!("public_url = \"https://hooks.example.com/in/{slug}\"\n")
}

/// Whether each of its requests is an event of its own.
fn never_known(preset: &Preset) -> bool {
    let id = preset.source.event.as_ref().and_then(|event| event.id.as_ref());
    id.is_some_and(|id| id.as_slice() == ["none"])
}

/// What is wrong with how a preset was received; nothing when all is right.
async fn faults_of(preset: &'static Preset, daemon: &Daemon) -> Vec<String> {
    let slug = preset.slug;
    let reply = preset.source.reply.clone().unwrap_or_default();
    let ok = reply.ok.unwrap_or_default();
    let mut faults = Vec::new();
    let said = daemon.run(&["send", slug, "--twice", "-o", "jsonl"]).await;
    let lines: Vec<Value> =
        said.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let statuses: Vec<u64> = lines.iter().filter_map(|line| line["status"].as_u64()).collect();
    if said.code != 0 || statuses != [u64::from(ok.status.unwrap_or(200)); 2] {
        faults.push(format!("{slug}: answered {lines:?} {}", said.err.trim()));
        return faults;
    }
    let listed = daemon.run(&["event", "list", "--source", slug, "-o", "jsonl"]).await.lines();
    let never = never_known(preset);
    let duplicates: Vec<u64> =
        listed.iter().filter_map(|event| event["duplicates"].as_u64()).collect();
    let once = match never {
        true => duplicates == [0, 0],
        false => !duplicates.is_empty() && duplicates.iter().all(|count| *count == 1),
    };
    if !once {
        faults.push(format!("{slug}: recorded with {duplicates:?} duplicates"));
    }
    let second = if ok.body.is_some() {
        "ok"
    } else if never {
        "accepted"
    } else {
        "duplicate"
    };
    if lines[1]["code"] != second {
        faults.push(format!("{slug}: the second is {}", lines[1]));
    }
    if preset.source.verify.as_ref().is_some_and(|scheme| scheme.none == Some(true)) {
        return faults;
    }
    let wanted = u64::from(reply.unauthorized.unwrap_or(401));
    let mut chance = StdRng::seed_from_u64(4711);
    let others = secrets::fresh(&preset.source, &mut chance).expect(slug);
    let mut forged = vec![vec!["send", slug, "--bad-signature", "-o", "jsonl"]];
    if let [other] = others.as_slice() {
        forged.push(vec!["send", slug, "--secret", other.expose(), "-o", "jsonl"]);
    }
    for arguments in forged {
        let said = daemon.run(&arguments).await;
        let line: Value = serde_json::from_str(said.text().trim()).unwrap_or_default();
        if said.code != 1 || line["status"] != wanted {
            let what = arguments[2];
            faults.push(format!("{slug}: {what} is answered {line} {}", said.err.trim()));
        }
    }
    let after = daemon.run(&["event", "list", "--source", slug, "-o", "jsonl"]).await.lines();
    if after.len() != listed.len() {
        faults.push(format!("{slug}: a forged request was recorded"));
    }
    faults
}

/// The presets that can be sent, and a daemon with a source of each.
async fn daemon_of_all(db: &TestDatabase) -> (Vec<&'static Preset>, Daemon) {
    let presets: Vec<&'static Preset> =
        catalog::all().filter(|preset| !NOT_SIGNED.contains(&preset.slug)).collect();
    let mut plan = DaemonPlan::on(db);
    for preset in &presets {
        plan = plan.toml(&source(preset));
    }
    let daemon = plan.start().await;
    (presets, daemon)
}

both_databases!(every_preset_is_received_once_and_refused_when_forged, |db| async move {
    let (presets, daemon) = &daemon_of_all(&db).await;
    let seen: BTreeMap<&str, Vec<String>> = futures::stream::iter(presets)
        .map(|preset| async move { (preset.slug, faults_of(preset, daemon).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let faults: Vec<String> = seen.values().flatten().cloned().collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), seen.len(), faults.join("\n"));
});

// What is stored is said above; here it is what each type is answered, so one database is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_of_every_preset_is_accepted() {
    let db = TestDatabase::sqlite().await;
    let (presets, daemon) = &daemon_of_all(&db).await;
    // The first of each is sent by the test above.
    let others = presets.iter().flat_map(|preset| {
        let names = shipped::names(preset.slug).into_iter().skip(1);
        names.map(|name| (preset.slug, name)).filter(|it| !CALLS_OUT.contains(it))
    });
    let sent: Vec<Option<String>> = futures::stream::iter(others)
        .map(|(slug, name)| async move {
            let said = daemon.run(&["send", slug, name, "-o", "jsonl"]).await;
            let line: Value = serde_json::from_str(said.text().trim()).unwrap_or_default();
            let ok = said.code == 0 && matches!(line["status"].as_u64(), Some(200..300));
            (!ok).then(|| format!("{slug} {name}: answered {line} {}", said.err.trim()))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let faults: Vec<&str> = sent.iter().flatten().map(String::as_str).collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), sent.len(), faults.join("\n"));
    assert!(sent.len() > 60, "only {} were sent", sent.len());
}

/// Their bodies are XML: what is personal in them can't be told.
const OPAQUE: [&str; 2] = ["braintree", "websub-youtube"];

/// The time at which it is signed is a part of its id.
const NEW_WHEN_SIGNED: [&str; 1] = ["plaid"];

/// The events of a source, and how often each came again.
async fn listed(daemon: &Daemon, slug: &str) -> BTreeMap<String, u64> {
    let lines = daemon.run(&["event", "list", "--source", slug, "-o", "jsonl"]).await.lines();
    let one = |line: &Value| Some((line["id"].as_str()?.to_owned(), line["duplicates"].as_u64()?));
    lines.iter().filter_map(one).collect()
}

/// Secrets that stand in a recorded fixture, as they are or in base64.
fn leaked(preset: &Preset, fixture: &str) -> Vec<String> {
    let secrets = secrets_of(preset);
    let texts = secrets.iter().map(Secret::expose);
    let texts = texts.flat_map(|text| [text.to_owned(), BASE64_STANDARD.encode(text)]);
    texts.filter(|text| fixture.contains(text)).collect()
}

/// What is wrong with how an event of a preset becomes a fixture that is sent again.
async fn round_trip_faults(preset: &'static Preset, daemon: &Daemon) -> Vec<String> {
    let slug = preset.slug;
    daemon.run(&["send", slug]).await.code(0);
    let before = listed(daemon, slug).await;
    let Some(event) = before.keys().next() else { return vec![format!("{slug}: none is there")] };
    let file = format!("{slug}.json");
    let mut record = vec!["record", event, "-o", &file];
    record.extend(OPAQUE.contains(&slug).then_some("--no-redact"));
    let said = daemon.run(&record).await;
    if said.code != 0 {
        return vec![format!("{slug}: it can't be recorded: {}", said.err.trim())];
    }
    let mut faults = Vec::new();
    let fixture = std::fs::read_to_string(daemon.dir().join(&file)).unwrap();
    if !leaked(preset, &fixture).is_empty() {
        faults.push(format!("{slug}: its secret stands in the fixture: {fixture}"));
    }
    for _ in 0..2 {
        let said = daemon.run(&["send", &file, "-o", "jsonl"]).await;
        let line: Value = serde_json::from_str(said.text().trim()).unwrap_or_default();
        if said.code != 0 || !matches!(line["status"].as_u64(), Some(200..300)) {
            faults.push(format!("{slug}: answered {line} {}: {fixture}", said.err.trim()));
            return faults;
        }
    }
    // Where its id was taken out, or is the body's hash, the fixture is an event of its own, once.
    let after = listed(daemon, slug).await;
    let added: Vec<u64> =
        after.iter().filter(|(id, _)| !before.contains_key(*id)).map(|(_, n)| *n).collect();
    let once = match added.as_slice() {
        added if never_known(preset) => added == [0, 0],
        // Of those signed within the same second one is new.
        added if NEW_WHEN_SIGNED.contains(&slug) => {
            added.len() as u64 + added.iter().sum::<u64>() + after[event] == 2
        }
        [] => after[event] == 2,
        added => added == [1],
    };
    if !once {
        faults.push(format!("{slug}: recorded again as {added:?}, {after:?}: {fixture}"));
    }
    faults
}

// Recording is shown on both databases elsewhere (`cli::recording`); here it is what each provider's
// requests become.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_every_preset_becomes_a_fixture_that_is_accepted_again() {
    let db = TestDatabase::sqlite().await;
    let (presets, daemon) = &daemon_of_all(&db).await;
    let seen: Vec<Vec<String>> = futures::stream::iter(presets)
        .map(|preset| round_trip_faults(preset, daemon))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let faults: Vec<&str> = seen.iter().flatten().map(String::as_str).collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), seen.len(), faults.join("\n"));
    assert!(seen.len() > 110, "only {} were recorded", seen.len());
}
