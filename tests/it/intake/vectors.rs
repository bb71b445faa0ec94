//! The vectors that the presets carry, through the whole program. A preset that is added is tested by being
//! there. HTTP can't say what time it is, so the sources tolerate any age.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hookonce::source::catalog;
use hookonce::source::preset::{Preset, Vector, VectorKind};

use crate::both_databases;
use crate::support::raw::{RawAnswer, RawRequest};
use crate::support::{Daemon, DaemonPlan};

/// A source for one set of secrets, params and URL of a preset, with its vectors.
struct Case {
    name: String,
    preset: &'static Preset,
    vectors: Vec<&'static Vector>,
}

/// Whether a daemon can be asked: the config refuses weak secrets, a token's end can't be tolerated
/// away, and the library's own tests judge both as of the vector's time. Answers to HEAD have no body
/// though they tell its length: `handshakes.rs` reads those.
fn fits(preset: &Preset, vector: &Vector) -> bool {
    let verify = format!("{:?}", preset.source.verify);
    let by_http = vector.method != "HEAD";
    // Contentful's sign a path of the library's tests, and SNS's confirmation asks Amazon.
    let elsewhere = preset.slug == "contentful" && vector.public_url.is_none();
    let calls_out = preset.slug == "aws-sns" && vector.answer.is_some();
    by_http && !elsewhere && !calls_out && !vector.weak && !verify.contains("jwt: Some")
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for preset in catalog::all() {
        let mut sets: BTreeMap<String, Vec<&'static Vector>> = BTreeMap::new();
        for vector in preset.vector.iter().filter(|vector| fits(preset, vector)) {
            let set = format!("{:?} {:?} {:?}", vector.secrets, vector.params, vector.public_url);
            sets.entry(set).or_default().push(vector);
        }
        for (n, vectors) in sets.into_values().enumerate() {
            cases.push(Case { name: format!("{}.{n}", preset.slug), preset, vectors });
        }
    }
    cases
}

/// The source as an operator writes it.
fn source(case: &Case, all: &[Case]) -> String {
    let (slug, vector) = (case.preset.slug, case.vectors[0]);
    let facts = case.preset.source.facts().expect(slug);
    let mut text = format!("[sources.\"{}\"]\nprovider = {slug:?}\n", case.name);
    if !vector.secrets.is_empty() {
        let secrets: Vec<String> =
            vector.secrets.iter().map(|secret| format!("{{ value = {secret:?} }}")).collect();
        text += &format!("secrets = [{}]\n", secrets.join(", "));
    }
    let shared: Vec<String> = all
        .iter()
        .filter(|other| other.name != case.name)
        .filter(|other| other.vectors[0].secrets.iter().any(|it| vector.secrets.contains(it)))
        .map(|other| format!("{:?}", other.name))
        .collect();
    if !shared.is_empty() {
        text += &format!("secrets_shared_with = [{}]\n", shared.join(", "));
    }
    if !vector.params.is_empty() {
        let params: Vec<String> =
            vector.params.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
        text += &format!("params = {{ {} }}\n", params.join(", "));
    }
    if let Some(url) = &vector.public_url {
        text += &format!("public_url = {url:?}\n");
    }
    // Where nothing signs a time, a tolerance is a fault.
    if facts.fresh { text + "tolerance = \"20000d\"\n" } else { text }
}

fn body(vector: &Vector) -> Vec<u8> {
    match &vector.body_base64 {
        Some(text) => BASE64_STANDARD.decode(text).expect("base64"),
        None => vector.body.clone().into_bytes(),
    }
}

async fn send(daemon: &Daemon, source: &str, vector: &Vector, body: &[u8]) -> RawAnswer {
    let query = vector.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("/in/{source}{query}");
    let mut request = match vector.method.as_str() {
        "POST" => RawRequest::post(&target, body),
        method => RawRequest::new(method, &target),
    };
    for (name, lines) in &vector.headers {
        request = request.without(name);
        for line in lines.as_slice() {
            request = request.header(name, line);
        }
    }
    request.send(daemon.public()).await
}

both_databases!(
    each_presets_vectors_are_accepted_and_refused_with_one_bit_changed,
    |db| async move {
        let cases = cases();
        let mut plan = DaemonPlan::on(&db);
        for case in &cases {
            plan = plan.toml(&source(case, &cases));
        }
        let mut daemon = plan.start().await;
        let mut faults = Vec::new();
        let (mut all, mut others, mut changed, mut refusals) = (0, 0, 0, 0);
        for (case, vector) in cases.iter().flat_map(|it| it.vectors.iter().map(move |v| (it, v))) {
            let what = format!("{} {:?}", case.name, vector.id);
            let full = case.preset.source.facts().expect("facts").integrity.as_str() == "full";
            let bytes = body(vector);
            if let Some(code) = &vector.refused {
                let answer = send(&daemon, &case.name, vector, &bytes).await;
                let reply = case.preset.source.reply.clone().unwrap_or_default();
                let right = match reply.empty_refusals {
                    Some(true) => {
                        answer.body.is_empty() && answer.head.header("set-cookie").is_none()
                    }
                    _ => answer.code() == *code,
                };
                if !right || !(400..500).contains(&answer.status) {
                    faults.push(format!("{what}: refused with {answer:?}"));
                }
                refusals += 1;
                continue;
            }
            if full && vector.answer.is_none() && vector.id.is_some() && !bytes.is_empty() {
                let mut bytes = bytes.clone();
                bytes[0] ^= 1;
                let refused = send(&daemon, &case.name, vector, &bytes).await;
                if refused.status < 400 || refused.status >= 500 {
                    faults.push(format!("{what}: a changed copy is answered {refused:?}"));
                }
                changed += 1;
            }
            let answer = send(&daemon, &case.name, vector, &bytes).await;
            let right = match &vector.answer {
                Some(wanted) => {
                    answer.status == wanted.status && answer.body == wanted.body.as_bytes()
                }
                None => (200..300).contains(&answer.status),
            };
            if !right {
                faults.push(format!("{what}: answered {answer:?}"));
            }
            for id in vector.id.iter().flat_map(|ids| ids.as_slice()) {
                let id = id.replace('\'', "''");
                let query = format!(
                    "SELECT count(*) FROM event WHERE source = '{}' AND event_id = '{id}'",
                    case.name
                );
                if db.number(&query).await != 1 {
                    faults.push(format!("{what}: {id} is not stored once"));
                }
            }
            all += 1;
            others += usize::from(vector.kind != VectorKind::Computed);
        }
        assert!(daemon.stop().await.success());
        assert!(faults.is_empty(), "{} of {all}:\n{}", faults.len(), faults.join("\n"));
        assert!(all >= 150 && others >= 60 && changed >= 80, "{all} {others} {changed}");
        assert!(refusals >= 7, "{refusals}");
    }
);

both_databases!(a_vector_is_stale_where_nobody_tolerates_its_age, |db| async move {
    let slack = catalog::get("slack").expect("a preset");
    let documented = |vector: &&Vector| vector.kind == VectorKind::Documented;
    let documented = slack.vector.iter().find(documented).expect("a documented one");
    let signer = crate::support::Signer::of("slack").with_secret(&documented.secrets[0]);
    let daemon = DaemonPlan::on(&db).source(&signer).start().await;
    let answer = send(&daemon, "slack", documented, documented.body.as_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "timestamp_stale"));
});
