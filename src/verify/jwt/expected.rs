//! What a token must claim.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::compact::Object;
use super::url;
use crate::received::Received;
use crate::verify::rejection::{Code, Rejection};

/// What a token must claim.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    /// The issuers; any when empty.
    pub(crate) iss: Vec<String>,
    /// The audiences, one of which must be named; any when empty.
    pub(crate) aud: Vec<String>,
    /// Claims with their values.
    pub(crate) claims: Vec<(String, String)>,
    /// Whether it must say until when it is good.
    pub(crate) exp: bool,
    /// Whether it must say from when it is good.
    pub(crate) nbf: bool,
    /// Whether it must say when it was issued.
    pub(crate) iat: bool,
    /// How long ago it may have been issued.
    pub(crate) max_age: Option<Duration>,
    /// By how much clocks may differ.
    pub(crate) leeway: Duration,
    /// Hashes of the URL.
    pub(crate) urls: UrlDigests,
}

/// Claims that are hashes of the URL.
#[derive(Debug, Clone, Default)]
pub(crate) struct UrlDigests {
    /// The claim of the registered URL with the request's query.
    pub(crate) whole: Option<String>,
    /// The claim of Atlassian's hash of method, path and query.
    pub(crate) query: Option<String>,
    /// The registered URL, where there is one.
    pub(crate) registered: Option<String>,
}

impl UrlDigests {
    /// Whether there is one.
    pub(crate) fn is_any(&self) -> bool {
        self.whole.is_some() || self.query.is_some()
    }

    /// Each claim with the value that it must have for this request.
    pub(super) fn of(&self, received: &Received) -> Vec<(&str, String)> {
        let registered = self.registered.as_deref();
        let whole = self.whole.as_deref().zip(registered);
        let whole = whole.map(|(claim, registered)| (claim, url::whole(registered, received)));
        let query = self.query.as_deref().map(|claim| (claim, url::query(registered, received)));
        whole.into_iter().chain(query).collect()
    }
}

impl Expected {
    /// Compares what a verified token claims, but for its times.
    pub(super) fn check(&self, claims: &Object, received: &Received) -> Result<(), Rejection> {
        self.check_parties(claims)?;
        for (name, wanted) in &self.claims {
            let same = match claims.0.get(name) {
                Some(Value::String(text)) => text == wanted,
                Some(Value::Bool(flag)) => flag.to_string() == *wanted,
                Some(Value::Number(number)) => number.to_string() == *wanted,
                _ => false,
            };
            if !same {
                return mismatch(format!(
                    "the token's claim `{name}` is not the one of the config"
                ));
            }
        }
        for (claim, wanted) in self.urls.of(received) {
            // A hash of what everybody knows: there is nothing to find out by timing.
            if !claims.text(claim).is_some_and(|text| text.eq_ignore_ascii_case(&wanted)) {
                return mismatch(format!(
                    "the token's claim `{claim}` is not the hash of this request's URL: is `public_url` the registered one?"
                ));
            }
        }
        Ok(())
    }

    /// Compares who issued a verified token, and for whom.
    pub(super) fn check_parties(&self, claims: &Object) -> Result<(), Rejection> {
        let is_one = |wanted: &[String], text: &str| wanted.iter().any(|it| it == text);
        if !self.iss.is_empty() && !claims.text("iss").is_some_and(|iss| is_one(&self.iss, iss)) {
            return mismatch(format!("the token's issuer (iss) is not {}", self.iss.join(" or ")));
        }
        let named = match claims.0.get("aud") {
            Some(Value::String(one)) => is_one(&self.aud, one),
            Some(Value::Array(several)) => {
                several.iter().filter_map(Value::as_str).any(|one| is_one(&self.aud, one))
            }
            _ => false,
        };
        if !self.aud.is_empty() && !named {
            return mismatch(format!("the token is not for (aud) {}", self.aud.join(" or ")));
        }
        Ok(())
    }

    /// Judges the times of a verified token. Each that is there counts, whether it must be or not.
    pub(super) fn check_times(&self, claims: &Object, now: DateTime<Utc>) -> Result<(), Rejection> {
        let exp = time(claims, "exp", self.exp)?;
        let nbf = time(claims, "nbf", self.nbf)?;
        let iat = time(claims, "iat", self.iat || self.max_age.is_some())?;
        let now = now.timestamp();
        let leeway = seconds(self.leeway);
        if let Some(exp) = exp
            && now > exp.saturating_add(leeway)
        {
            let detail =
                format!("the token was good until (exp) {} s ago", now.saturating_sub(exp));
            return Err(Rejection::new(Code::TimestampStale, detail));
        }
        for (name, time) in [("nbf", nbf), ("iat", iat)] {
            if let Some(time) = time
                && time > now.saturating_add(leeway)
            {
                let ahead = time.saturating_sub(now);
                let detail = format!("the token's {name} is {ahead} s ahead of our clock");
                return Err(Rejection::new(Code::TimestampFuture, detail));
            }
        }
        if let (Some(iat), Some(max_age)) = (iat, self.max_age)
            && now > iat.saturating_add(seconds(max_age)).saturating_add(leeway)
        {
            let detail = format!(
                "the token was issued (iat) {} s ago; {} s are allowed",
                now.saturating_sub(iat),
                max_age.as_secs()
            );
            return Err(Rejection::new(Code::TimestampStale, detail));
        }
        Ok(())
    }
}

fn mismatch(detail: String) -> Result<(), Rejection> {
    Err(Rejection::new(Code::SignatureMismatch, detail))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// A time in seconds since 1970; a fraction is cut.
fn time(claims: &Object, name: &str, required: bool) -> Result<Option<i64>, Rejection> {
    let malformed = || {
        let detail = format!("the token's {name} is not a number of seconds since 1970");
        Rejection::new(Code::SignatureMalformed, detail)
    };
    match claims.0.get(name) {
        None if required => {
            let detail = format!("the token has no {name}");
            Err(Rejection::new(Code::TimestampMissing, detail))
        }
        None => Ok(None),
        Some(Value::Number(number)) => {
            let whole = number.as_i64().or_else(|| number.as_f64().and_then(cut));
            // Beyond the year 9999 it is milliseconds, or a joke.
            whole
                .filter(|time| (0..=253_402_300_799).contains(time))
                .map(Some)
                .ok_or_else(malformed)
        }
        Some(_) => Err(malformed()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "in range, and to be cut")]
fn cut(number: f64) -> Option<i64> {
    (0.0..1e15).contains(&number).then_some(number as i64)
}
