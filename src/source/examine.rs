//! A request looked at step by step, as a doctor would: what passed, what failed, and why.

use chrono::{DateTime, Utc};

use super::spec::{SchemeSpec, SourceSpec};
use super::{Admitted, Source, Sources};
use crate::received::Received;
use crate::verify::diagnose::{Cause, Diagnosis, Step};
use crate::verify::{Effort, Verified};

/// What was found.
#[derive(Debug)]
pub struct Examined {
    /// The steps that passed, each with what was seen.
    pub passed: Vec<(Step, String)>,
    /// Why it is refused; `None` when it would be accepted.
    pub diagnosis: Option<Diagnosis>,
    /// The stable code of the refusal.
    pub code: Option<&'static str>,
    /// Id and type of each event in it.
    pub events: Vec<(String, String)>,
}

impl Source {
    /// Judges a request as of `now` and says what was seen on the way. `spec` is what the source was
    /// compiled from; `others` are those that the request may be meant for. No value of a secret is in it.
    #[must_use]
    pub fn examine(
        &self,
        spec: &SourceSpec,
        received: Received,
        now: DateTime<Utc>,
        others: &Sources,
    ) -> Examined {
        let diagnosis = others.diagnose(self, &received, now, Effort::PATIENT);
        let mut seen = vec![(Step::Request, request(&received))];
        let schemes = spec.verify.iter().flat_map(leaves).collect::<Vec<_>>();
        seen.push((Step::Signature, joined(schemes.iter().map(|scheme| place(scheme)))));
        let content = joined(schemes.iter().filter_map(|scheme| content(scheme)));
        if !content.is_empty() {
            seen.push((Step::Content, content));
        }
        let signed = self.scheme.signed_time(&received);
        let (events, secret, code) = match self.admit(received, now) {
            Ok(Admitted::Event(verified)) => {
                (vec![named(&verified)], verified.proof().secret, None)
            }
            Ok(Admitted::Events(all)) => {
                let secret = all.first().and_then(|verified| verified.proof().secret);
                (all.iter().map(named).collect(), secret, None)
            }
            Ok(Admitted::Empty) => {
                seen.push((Step::Match, "authentic".to_owned()));
                seen.push((Step::Event, "none: it is accepted and nothing is recorded".to_owned()));
                (Vec::new(), None, None)
            }
            Ok(Admitted::Handshake(answer)) => {
                seen.truncate(1);
                let said =
                    format!("a handshake, to be answered {}; nothing is recorded", answer.status);
                seen.push((Step::Event, said));
                (Vec::new(), None, None)
            }
            Err(refused) => (Vec::new(), None, Some(refused.rejection.code.as_str())),
        };
        if !events.is_empty() {
            seen.push((Step::Match, self.matched(secret)));
            seen.push((Step::Freshness, fresh(signed, now, self.facts().fresh)));
            let ids: Vec<&str> = events.iter().map(|(id, _)| id.as_str()).collect();
            seen.push((Step::Event, format!("id {}", ids.join(", "))));
        }
        if let Some(diagnosis) = &diagnosis {
            seen.retain(|(step, _)| (*step as u8) < diagnosis.step() as u8);
            // What fails behind the proof has passed it.
            if diagnosis.step() as u8 > Step::Match as u8 {
                seen.push((Step::Match, "authentic".to_owned()));
            }
            if diagnosis.step() == Step::Event {
                seen.push((Step::Freshness, fresh(signed, now, self.facts().fresh)));
            }
        }
        let code = code.or_else(|| diagnosis.as_ref().map(refusal));
        Examined { passed: seen, diagnosis, code, events }
    }

    fn matched(&self, secret: Option<usize>) -> String {
        let integrity = match self.facts().integrity.as_str() {
            "full" => "it covers the whole body",
            "partial" => "it covers some values of the body, not all",
            _ => "it does not cover the body",
        };
        match secret {
            Some(position) => format!(
                "secret number {} of {} made it; {integrity}",
                position + 1,
                self.clues.secrets.len()
            ),
            None => format!("accepted; {integrity}"),
        }
    }
}

/// The code of what [`Source::admit`] isn't asked about.
fn refusal(diagnosis: &Diagnosis) -> &'static str {
    match diagnosis.cause {
        Cause::MethodRefused => "method_not_allowed",
        _ => "ip_denied",
    }
}

fn named(verified: &Verified) -> (String, String) {
    let identity = verified.identity();
    (identity.event_id.clone(), identity.kind.clone())
}

fn request(received: &Received) -> String {
    format!("{}, a body of {} bytes", received.method, received.body.len())
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    let mut texts: Vec<String> = texts.collect();
    texts.dedup();
    texts.join("; or ")
}

/// The schemes of which one is made.
fn leaves(spec: &SchemeSpec) -> Vec<&SchemeSpec> {
    let members: Vec<&SchemeSpec> = spec.any.iter().chain(&spec.all).flatten().collect();
    if members.is_empty() { vec![spec] } else { members.into_iter().flat_map(leaves).collect() }
}

fn place(spec: &SchemeSpec) -> String {
    match (&spec.signature, &spec.token) {
        (Some(signature), _) => format!("found in {}", signature.from),
        (_, Some(token)) => format!("a token, found in {}", token.from),
        _ if spec.basic.is_some() => "user and password, found in header:authorization".to_owned(),
        _ if spec.jwt.is_some() => "a JSON Web Token, found".to_owned(),
        _ => "none is asked for".to_owned(),
    }
}

fn content(spec: &SchemeSpec) -> Option<String> {
    spec.signature.as_ref()?;
    Some(format!("signed is {}", spec.content.as_deref().unwrap_or("{body}")))
}

fn fresh(signed: Option<DateTime<Utc>>, now: DateTime<Utc>, judged: bool) -> String {
    match signed {
        Some(time) => format!("signed {} s ago", now.signed_duration_since(time).num_seconds()),
        None if judged => "its time was judged".to_owned(),
        None => "nothing signed says when it was made".to_owned(),
    }
}
