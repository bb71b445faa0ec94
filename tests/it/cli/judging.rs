//! `hookonce verify` judges what the presets carry, and requests as providers' pages publish them with keys
//! in the form in which they hand them out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt as _;
use hookonce::source::catalog;
use hookonce::source::preset::{Vector, VectorKind};
use serde::Deserialize;
use serde_json::Value;

use super::run_in;

/// Programs that run at once.
const AT_ONCE: usize = 4;

/// A request, the source that it comes to, and files that lie beside the config.
struct Question {
    config: String,
    files: BTreeMap<String, String>,
    head: String,
    body: Vec<u8>,
    now: i64,
}

/// What the program said.
#[derive(Debug)]
struct Verdict {
    exit: i32,
    /// Nothing when it couldn't judge.
    report: Option<Value>,
    err: String,
}

impl Question {
    /// Asks the program, with the clock of the question.
    async fn ask(&self) -> Verdict {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        for (name, text) in &self.files {
            put(name, text.as_bytes());
        }
        put("hookonce.toml", self.whole_config().as_bytes());
        put("head", self.head.as_bytes());
        put("body", &self.body);
        self.run(dir.path()).await
    }

    fn whole_config(&self) -> String {
        let ground = "[database]\nurl = \"sqlite://hookonce.db\"\n";
        let handler = "\n[handlers.audit]\nfrom = \"source\"\nlog = {}\n";
        format!("{ground}{}{handler}", self.config)
    }

    async fn run(&self, dir: &Path) -> Verdict {
        let now = self.now.to_string();
        let arguments = [
            "verify",
            "source",
            "--headers",
            "head",
            "--body",
            "body",
            "--now",
            &now,
            "-o",
            "json",
        ];
        let (exit, out, err) = run_in(dir, &arguments).await;
        // No value of a secret is ever shown.
        for secret in self.files.values().filter(|text| !text.contains("PUBLIC KEY")) {
            let shown = format!("{out}{err}");
            assert!(secret.len() < 12 || !shown.contains(secret.trim()), "{shown}");
        }
        Verdict { exit, report: serde_json::from_str(&out).ok(), err }
    }

    fn with_body(&self, body: Vec<u8>) -> Self {
        Self {
            config: self.config.clone(),
            files: self.files.clone(),
            head: self.head.clone(),
            body,
            now: self.now,
        }
    }
}

impl Verdict {
    fn accepted(&self) -> bool {
        self.exit == 0 && self.report.as_ref().is_some_and(|report| report["accepted"] == true)
    }

    fn is_handshake(&self) -> bool {
        let said = self.report.as_ref().map(|report| report["steps"].to_string());
        self.accepted() && said.is_some_and(|said| said.contains("a handshake, to be answered"))
    }

    fn events(&self, member: &str) -> Vec<String> {
        let events = self.report.as_ref().and_then(|report| report["events"].as_array().cloned());
        let text = |event: &Value| event[member].as_str().unwrap_or_default().to_owned();
        events.iter().flatten().map(text).collect()
    }

    fn refused(&self) -> (i32, &str, &str) {
        let word = |name: &str| self.report.as_ref().and_then(|report| report[name].as_str());
        (self.exit, word("code").unwrap_or_default(), word("cause").unwrap_or_default())
    }
}

/// A vector of a preset as it would be asked about by who has captured it.
fn question(slug: &str, vector: &Vector) -> Question {
    let mut config = format!("[sources.source]\nprovider = {slug:?}\n");
    let mut files = BTreeMap::new();
    for (n, secret) in vector.secrets.iter().enumerate() {
        files.insert(format!("secret-{n}"), secret.clone());
    }
    if !files.is_empty() {
        let all: Vec<String> =
            files.keys().map(|name| format!("{{ file = \"{name}\" }}")).collect();
        writeln!(config, "secrets = [{}]", all.join(", ")).unwrap();
    }
    let params: Vec<String> =
        vector.params.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
    if !params.is_empty() {
        writeln!(config, "params = {{ {} }}", params.join(", ")).unwrap();
    }
    if let Some(url) = &vector.public_url {
        writeln!(config, "public_url = {url:?}").unwrap();
    }
    // The vectors whose path is signed are signed for this one.
    config += "path = \"/in/s\"\n";
    let query = vector.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let mut head = format!("{} /in/s{query} HTTP/1.1\n", vector.method);
    for (name, lines) in &vector.headers {
        for line in lines.as_slice() {
            writeln!(head, "{name}: {line}").unwrap();
        }
    }
    let body = match &vector.body_base64 {
        Some(text) => BASE64_STANDARD.decode(text).unwrap(),
        None => vector.body.clone().into_bytes(),
    };
    Question { config, files, head, body, now: vector.now }
}

/// How many of each there were.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    accepted: usize,
    of_others: usize,
    handshakes: usize,
    refused: usize,
    weak: usize,
}

/// What is wrong with how a vector was judged.
fn fault(vector: &Vector, verdict: &Verdict, tally: &mut Tally) -> Option<String> {
    let texts = |texts: &Option<_>| -> Vec<String> {
        let texts: Option<&hookonce::source::spec::Texts> = texts.as_ref();
        texts.map(|texts| texts.as_slice().to_vec()).unwrap_or_default()
    };
    let right = if vector.weak {
        tally.weak += 1;
        verdict.exit == 2 && verdict.err.contains("secrets[")
    } else if let Some(code) = &vector.refused {
        tally.refused += 1;
        verdict.exit == 1 && verdict.refused().1 == code
    } else if vector.answer.is_some() {
        tally.handshakes += 1;
        verdict.is_handshake()
    } else {
        tally.accepted += 1;
        let ids = verdict.events("id");
        let ids_fit = match &vector.id {
            Some(_) => ids == texts(&vector.id),
            None => ids.iter().all(|id| id.starts_with("none:")),
        };
        let kinds: Vec<String> =
            verdict.events("type").into_iter().filter(|kind| !kind.is_empty()).collect();
        verdict.accepted() && ids_fit && kinds == texts(&vector.kind_of_event)
    };
    tally.of_others += usize::from(vector.kind != VectorKind::Computed && vector.refused.is_none());
    (!right).then(|| format!("{:?} {verdict:?}", vector.from))
}

/// What HTTP can't ask, for want of a clock, is asked here too: old tokens, and every weak secret.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_vector_of_every_preset_is_judged_as_it_says() {
    let all = catalog::all().flat_map(|preset| preset.vector.iter().map(|it| (preset.slug, it)));
    let judged: Vec<(&str, &Vector, Verdict)> = futures::stream::iter(all)
        .map(|(slug, vector)| async move { (slug, vector, question(slug, vector).ask().await) })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut tally = Tally::default();
    let faults: Vec<String> = judged
        .iter()
        .filter_map(|(slug, vector, verdict)| {
            fault(vector, verdict, &mut tally).map(|fault| format!("{slug}: {fault}"))
        })
        .collect();
    println!("{} vectors: {tally:?}", judged.len());
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), judged.len(), faults.join("\n"));
    assert!(tally.accepted >= 180 && tally.of_others >= 70, "{tally:?}");
}

/// What `published.toml` holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    page: String,
    #[serde(default)]
    why: Option<String>,
    config: String,
    #[serde(default)]
    files: BTreeMap<String, String>,
    head: String,
    body: String,
    now: i64,
    #[serde(default)]
    signed: bool,
    want: Want,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Want {
    /// Parted by spaces.
    ids: Option<String>,
    handshake: bool,
    code: Option<String>,
    cause: Option<String>,
    says: Option<String>,
}

impl Case {
    fn question(&self) -> Question {
        Question {
            config: self.config.clone(),
            files: self.files.clone(),
            head: self.head.clone(),
            body: self.body.clone().into_bytes(),
            now: self.now,
        }
    }

    fn is_right(&self, verdict: &Verdict) -> bool {
        let Want { ids, handshake, code, cause, says } = &self.want;
        match (ids, code, says) {
            (Some(ids), None, None) => {
                let ids: Vec<&str> = ids.split(' ').collect();
                verdict.accepted() && verdict.events("id") == ids
            }
            (None, Some(code), None) => {
                verdict.refused() == (1, code, cause.as_deref().unwrap_or_default())
            }
            // One fault, and no other one that only follows from it.
            (None, None, Some(says)) => {
                let faults = verdict.err.lines().filter(|line| line.starts_with("hookonce.toml:"));
                verdict.exit == 2 && verdict.err.contains(says.as_str()) && faults.count() == 1
            }
            (None, None, None) if *handshake => verdict.is_handshake(),
            _ => panic!("{}: it wants nothing, or several things: {:?}", self.name, self.want),
        }
    }

    /// Its answer, and that of a copy with one byte of the body changed.
    async fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let question = self.question();
        let verdict = question.ask().await;
        if !self.is_right(&verdict) {
            faults.push(format!("{} ({}): {verdict:?}", self.name, self.page));
        }
        if self.signed {
            let mut body = self.body.clone().into_bytes();
            let last = body.len() - 1;
            body[last / 2] ^= 1;
            let verdict = question.with_body(body).ask().await;
            if verdict.refused().0 != 1 || verdict.accepted() {
                faults.push(format!("{}, one byte changed: {verdict:?}", self.name));
            }
        }
        faults
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_pages_publish_is_judged_with_keys_as_they_are_handed_out() {
    let all: Published = toml::from_str(include_str!("published.toml")).unwrap();
    let faults: Vec<Vec<String>> =
        futures::stream::iter(&all.case).map(Case::faults).buffered(AT_ONCE).collect().await;
    let faults = faults.concat();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), all.case.len(), faults.join("\n"));
    for case in &all.case {
        // Whatever isn't accepted for a reason that lies in the page has that reason beside it.
        let unjudged = case.want.says.is_some() && !case.name.contains("private");
        assert!(case.why.is_some() || !unjudged, "{}: say why", case.name);
        assert!(case.page.starts_with("https://"), "{}", case.name);
    }
    let changed = all.case.iter().filter(|case| case.signed).count();
    println!("{} requests, {changed} changed copies", all.case.len());
    assert!(all.case.len() >= 50 && changed >= 18, "{} {changed}", all.case.len());
}
