//! Query parameters, strictly: an unknown, repeated, empty or unreadable one is refused by name.

use std::str::FromStr;

use actix_web::HttpRequest;
use chrono::{DateTime, TimeDelta, Utc};
use entity::State;

use crate::http::problem::Problem;

/// The largest page.
const LIMIT_MAX: u32 = 500;

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a request's parameters, all of which must be among `known`.
    pub(super) fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        Self::read(request.query_string(), known)
    }

    fn read(text: &str, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let known = match known {
                    [] => "none are known here".to_owned(),
                    _ => format!("known here: {}", known.join(", ")),
                };
                return Err(Problem::bad_request(format!(
                    "unknown parameter `{}`; {known}",
                    name.escape_debug()
                )));
            }
            if value.is_empty() {
                return Err(Problem::bad_request(format!("parameter `{name}` is empty")));
            }
            if value.contains('\0') {
                // No text in the database holds one, and Postgres would refuse the whole question.
                return Err(Problem::bad_request(format!(
                    "parameter `{name}` has a NUL character"
                )));
            }
            if pairs.iter().any(|(there, _)| *there == name) {
                return Err(Problem::bad_request(format!("parameter `{name}` stands twice")));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(there, _)| there == name).map(|(_, value)| value.clone())
    }

    /// A value of a type that is written as text; `what` says what it should be.
    pub(super) fn parsed<T: FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Problem> {
        self.text(name)
            .map(|value| value.parse().map_err(|_| unreadable(name, &value, what)))
            .transpose()
    }

    pub(super) fn state(&self) -> Result<Option<State>, Problem> {
        self.text("state")
            .map(|value| {
                State::parse(&value).ok_or_else(|| {
                    unreadable("state", &value, "pending, leased, delivered, dead or cancelled")
                })
            })
            .transpose()
    }

    pub(super) fn limit(&self) -> Result<Option<u32>, Problem> {
        let what = "a number from 1 to 500";
        let limit = self.parsed("limit", what)?;
        match limit {
            Some(limit) if !(1..=LIMIT_MAX).contains(&limit) => {
                Err(unreadable("limit", &limit.to_string(), what))
            }
            _ => Ok(limit),
        }
    }

    pub(super) fn moment(
        &self,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Problem> {
        self.text(name).map(|value| moment(name, &value, now)).transpose()
    }
}

/// A moment: RFC 3339, or how long ago, such as `2h`.
pub(super) fn moment(
    name: &str,
    value: &str,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Problem> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(value) {
        return Ok(moment.with_timezone(&Utc));
    }
    humantime::parse_duration(value)
        .ok()
        .and_then(|ago| TimeDelta::from_std(ago).ok())
        .and_then(|ago| now.checked_sub_signed(ago))
        .ok_or_else(|| {
            unreadable(
                name,
                value,
                "a time such as 2026-11-23T12:00:00Z, or how long ago, such as 2h",
            )
        })
}

fn unreadable(name: &str, value: &str, what: &str) -> Problem {
    let value: String = value.chars().take(80).collect();
    Problem::bad_request(format!("parameter `{name}`: `{}` is not {what}", value.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["source", "state", "since", "limit"];

    fn read(text: &str) -> Result<Query, Problem> {
        Query::read(text, &KNOWN)
    }

    #[test]
    fn a_parameter_that_is_not_understood_is_named() {
        for (text, want) in [
            ("sorce=x", "unknown parameter `sorce`; known here: source, state, since, limit"),
            ("source=a&source=b", "parameter `source` stands twice"),
            ("source=", "parameter `source` is empty"),
            ("source=a%00", "parameter `source` has a NUL character"),
        ] {
            let problem = read(text).expect_err(text);
            assert_eq!((problem.status, problem.detail.as_str()), (400, want));
        }
        for (text, name) in [
            ("state=done", "state"),
            ("limit=0", "limit"),
            ("limit=501", "limit"),
            ("limit=x", "limit"),
            ("since=soon", "since"),
        ] {
            let query = read(text).expect(text);
            let problem = query
                .state()
                .map(|_| ())
                .and_then(|()| query.limit().map(|_| ()))
                .and_then(|()| query.moment("since", Utc::now()).map(|_| ()))
                .expect_err(text);
            assert!(problem.detail.starts_with(&format!("parameter `{name}`")), "{problem:?}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = DateTime::parse_from_rfc3339("2026-11-23T12:00:00Z").expect("a time").to_utc();
        for (text, want) in [
            ("since=2h", "2026-11-23T10:00:00Z"),
            ("since=1day", "2026-11-22T12:00:00Z"),
            ("since=2026-11-23T12:30:00%2B01:00", "2026-11-23T11:30:00Z"),
        ] {
            let got = read(text).expect(text).moment("since", now).expect(text).expect("a moment");
            assert_eq!(got, DateTime::parse_from_rfc3339(want).expect("a time"), "{text}");
        }
        let none = read("source=a%20b").expect("a query");
        assert_eq!(none.moment("since", now), Ok(None));
        assert_eq!(none.text("source").as_deref(), Some("a b"));
    }
}
