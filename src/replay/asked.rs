//! What is asked for, as people and scripts write it; kept with the run.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{Name, State, replay_run};
use serde::{Deserialize, Serialize};

use crate::store::replay_run::Replay;

/// Longer words are no names, types or times.
const WORD_BYTES_MAX: usize = 200;

/// Which deliveries. Every condition must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// `dead`, `delivered` or `cancelled`. Without it: dead, and delivered too with `again`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Only events of this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Only deliveries of this handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// Only events of this type; a trailing `*` matches any rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// Only events recorded since: RFC 3339, or how long ago, such as `2h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only events recorded before: RFC 3339, or how long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A replay, as it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    /// Which deliveries.
    pub filter: Filter,
    /// To this handler, which need not have had the events, as far as it gets such ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_handler: Option<String>,
    /// Also what was delivered: a new round under a new id, which receivers won't dedupe.
    pub again: bool,
}

impl Asked {
    /// What is meant, with times as of `now`. Fails with a sentence that names the field.
    pub fn resolve(&self, now: DateTime<Utc>) -> Result<Replay, String> {
        let filter = &self.filter;
        for (field, word) in [
            ("source", &filter.source),
            ("handler", &filter.handler),
            ("type", &filter.r#type),
            ("since", &filter.since),
            ("until", &filter.until),
            ("to_handler", &self.to_handler),
        ] {
            if word.as_ref().is_some_and(|word| word.is_empty() || word.len() > WORD_BYTES_MAX) {
                return Err(format!("{field}: write 1 to {WORD_BYTES_MAX} bytes"));
            }
        }
        let replay = self.words(
            time("since", filter.since.as_deref(), now)?,
            time("until", filter.until.as_deref(), now)?,
        )?;
        replay.check()?;
        Ok(replay)
    }

    fn words(
        &self,
        since: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
    ) -> Result<Replay, String> {
        let to_handler = self.to_handler.as_deref().map(Name::new).transpose();
        Ok(Replay {
            state: self.filter.state,
            source: self.filter.source.clone(),
            handler: self.filter.handler.clone(),
            kind: self.filter.r#type.clone(),
            since,
            until,
            to_handler: to_handler.map_err(|why| format!("to_handler: {why}"))?,
            again: self.again,
        })
    }

    /// The text by which equal ones are known.
    pub fn text(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }

    /// What a run was asked for.
    pub fn of_run(run: &replay_run::Model) -> Result<Self, String> {
        serde_json::from_str(&run.request).map_err(|error| format!("column request: {error}"))
    }

    /// What a run means, with its times as they were resolved.
    pub(super) fn of(run: &replay_run::Model) -> Result<Replay, String> {
        Self::of_run(run)?.words(run.since, run.until)
    }
}

fn time(
    field: &str,
    text: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, String> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(Some(time.to_utc()));
    }
    humantime::parse_duration(text)
        .ok()
        .and_then(|ago| TimeDelta::from_std(ago).ok())
        .and_then(|ago| now.checked_sub_signed(ago))
        .map(Some)
        .ok_or_else(|| {
            format!(
                "{field}: write a time such as 2026-11-23T12:00:00Z, or how long ago, such as 2h"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_words_are_one_replay_whenever_they_are_said() {
        let asked: Asked =
            serde_json::from_str(r#"{"again":true,"filter":{"since":"2h","source":"shop"}}"#)
                .expect("it is");
        assert_eq!(
            asked.text().as_deref(),
            Ok(r#"{"filter":{"source":"shop","since":"2h"},"again":true}"#)
        );
        let now = Utc::now();
        let replay = asked.resolve(now).expect("it makes sense");
        assert_eq!(replay.since, Some(now - TimeDelta::hours(2)));
        assert!(replay.again);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, want) in [
            (r#"{"filter":{"since":"soon"}}"#, "since: "),
            (r#"{"filter":{"source":""}}"#, "source: "),
            (r#"{"to_handler":"a b"}"#, "to_handler: "),
            (r#"{"filter":{"state":"pending"}}"#, "what is pending"),
            (r#"{"filter":{"handler":"a"},"to_handler":"b"}"#, "either"),
        ] {
            let asked: Asked = serde_json::from_str(text).expect(text);
            let why = asked.resolve(Utc::now()).expect_err(text);
            assert!(why.starts_with(want), "{text}: {why}");
        }
        assert!(serde_json::from_str::<Asked>(r#"{"filter":{"sate":"dead"}}"#).is_err());
    }
}
