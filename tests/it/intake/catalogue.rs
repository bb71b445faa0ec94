//! Every preset on the real program: sent as its provider would, received once, refused when forged.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use hookonce::fixture::secrets;
use hookonce::source::catalog;
use hookonce::source::preset::Preset;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::both_databases;
use crate::support::{Daemon, DaemonPlan};

/// Signed with a hash that AWS-LC makes no new signatures with: its vector shows that it verifies.
const NOT_SIGNED: [&str; 1] = ["travis-ci"];

/// Programs that run at once.
const AT_ONCE: usize = 4;

/// A source of this preset, as an operator writes it.
fn source(preset: &Preset, seed: u64) -> String {
    let slug = preset.slug;
    let mut chance = StdRng::seed_from_u64(seed);
    let secrets = secrets::fresh(&preset.source, &mut chance).expect(slug);
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
    let never = preset.source.event.as_ref().and_then(|event| event.id.as_ref());
    let never = never.is_some_and(|id| id.as_slice() == ["none"]);
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

both_databases!(every_preset_is_received_once_and_refused_when_forged, |db| async move {
    let presets: Vec<&'static Preset> =
        catalog::all().filter(|preset| !NOT_SIGNED.contains(&preset.slug)).collect();
    let mut plan = DaemonPlan::on(&db);
    for (seed, preset) in presets.iter().enumerate() {
        plan = plan.toml(&source(preset, seed as u64));
    }
    let daemon = &plan.start().await;
    let seen: BTreeMap<&str, Vec<String>> = futures::stream::iter(&presets)
        .map(|preset| async move { (preset.slug, faults_of(preset, daemon).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let faults: Vec<String> = seen.values().flatten().cloned().collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), seen.len(), faults.join("\n"));
});
