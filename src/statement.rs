//! An operator's SQL statements with named places (`:event.id`, `:body.data.amount`), and the values
//! that an event has for them.
//!
//! Pure: nothing here talks to a database. A value never becomes part of a statement's text; it is
//! handed over beside it, so that no event can change what a statement does.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::event::Event;
use crate::verify::json::{self, POINTERS_MAX, Pointer};

mod read;
#[cfg(test)]
mod tests;

/// Whose SQL it is: which quotes, comments and placeholders there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL's.
    Postgres,
    /// SQLite's.
    Sqlite,
}

impl Dialect {
    /// The dialect of the database that a URL names.
    #[must_use]
    pub fn of_url(url: &str) -> Self {
        if url.starts_with("sqlite:") { Self::Sqlite } else { Self::Postgres }
    }
}

/// Statements that run together, one after the other.
#[derive(Debug, Clone)]
pub struct Script {
    dialect: Dialect,
    statements: Vec<Statement>,
    pointers: Vec<Pointer>,
}

/// One statement: its text around the places where values go.
#[derive(Debug, Clone)]
pub struct Statement {
    /// One more than there are places.
    pieces: Vec<String>,
    places: Vec<Place>,
}

/// Where a value goes, and where it comes from.
#[derive(Debug, Clone)]
struct Place {
    /// As it is written, without its colon.
    name: String,
    from: Origin,
    /// Missing is NULL; otherwise it is a fault of the event.
    optional: bool,
}

#[derive(Debug, Clone)]
enum Origin {
    EventId,
    EventType,
    EventSource,
    EventReceivedAt,
    DeliveryId,
    /// The whole body.
    Body,
    /// The number of a pointer of the script.
    Pointer(usize),
    Header(String),
}

/// What an event has for a place.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// JSON's `null`, or an optional value that is missing.
    Null,
    /// A text.
    Text(String),
    /// A number as the sender wrote it: nothing is rounded.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// An array or an object as the sender wrote it.
    Json(String),
    /// A time.
    Time(DateTime<Utc>),
    /// An id of ours.
    Id(Uuid),
    /// The whole body.
    Body(Bytes),
}

/// The values of each statement, in the order of its places.
pub type Filled = Vec<Vec<Value>>;

impl Script {
    /// Reads statements; what is wrong with one is told with its number, from 0.
    pub fn read(texts: &[String], dialect: Dialect) -> Result<Self, Vec<(usize, String)>> {
        let mut script = Self { dialect, statements: Vec::new(), pointers: Vec::new() };
        let mut faults = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            match read::statement(text, dialect, &mut script.pointers) {
                Ok(statement) => script.statements.push(statement),
                Err(why) => faults.push((at, why)),
            }
        }
        if script.pointers.len() > POINTERS_MAX {
            let last = texts.len().saturating_sub(1);
            faults.push((last, format!("more than {POINTERS_MAX} values of the body are asked for; hand over a whole part of it, such as `:body.data`")));
        }
        if faults.is_empty() { Ok(script) } else { Err(faults) }
    }

    /// Whose SQL it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The statements, in order.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// The values that this event has for the places. Fails with a sentence when one is missing or
    /// can't be told: nothing becomes NULL silently. The sentence shows no value.
    pub fn fill(&self, event: &Event, delivery: Uuid) -> Result<Filled, String> {
        let found = self.look_up(&event.body)?;
        self.statements
            .iter()
            .map(|statement| {
                statement.places.iter().map(|place| place.value(event, delivery, &found)).collect()
            })
            .collect()
    }

    /// What lies in the body at each pointer; `None` where nothing does.
    fn look_up(&self, body: &Bytes) -> Result<Vec<Option<Value>>, String> {
        if self.pointers.is_empty() {
            return Ok(Vec::new());
        }
        let pointers: Vec<&Pointer> = self.pointers.iter().collect();
        let scan = json::scan(body, &pointers).map_err(|why| {
            format!("a statement needs values of the body, which is no JSON: {why}")
        })?;
        let mut found = Vec::with_capacity(pointers.len());
        for (at, pointer) in pointers.iter().enumerate() {
            if scan.is_ambiguous(at) {
                return Err(format!(
                    "a key on the way to {} stands twice in the body, so its value can't be told",
                    pointer.as_str()
                ));
            }
            let value = match scan.hits.get(at).and_then(Option::as_ref) {
                Some(hit) => Some(value(hit, body).ok_or_else(|| {
                    format!("the value of {} in the body is no text", pointer.as_str())
                })?),
                None => None,
            };
            found.push(value);
        }
        Ok(found)
    }
}

fn value(hit: &json::Hit, body: &Bytes) -> Option<Value> {
    let raw = || std::str::from_utf8(body.get(hit.span.clone())?).ok();
    Some(match hit.kind {
        json::Kind::Null => Value::Null,
        json::Kind::Bool => Value::Bool(raw()? == "true"),
        json::Kind::Number => Value::Number(raw()?.to_owned()),
        json::Kind::Container => Value::Json(raw()?.to_owned()),
        json::Kind::String => Value::Text(hit.text(body)?.into_owned()),
    })
}

impl Statement {
    /// How many places it has.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// The text with a placeholder of the database at each place; `placeholder` gets its number, from 1.
    #[must_use]
    pub fn text(&self, mut placeholder: impl FnMut(usize) -> String) -> String {
        let mut text = String::new();
        for (at, piece) in self.pieces.iter().enumerate() {
            if at > 0 {
                text.push_str(&placeholder(at));
            }
            text.push_str(piece);
        }
        text
    }
}

impl Place {
    fn value(
        &self,
        event: &Event,
        delivery: Uuid,
        found: &[Option<Value>],
    ) -> Result<Value, String> {
        let missing = |what: &str| {
            if self.optional {
                Ok(Value::Null)
            } else {
                Err(format!("`:{}` has no value: {what}", self.name))
            }
        };
        Ok(match &self.from {
            Origin::EventId => Value::Text(event.event_id.clone()),
            Origin::EventType => Value::Text(event.kind.clone()),
            Origin::EventSource => Value::Text(event.source.to_string()),
            Origin::EventReceivedAt => Value::Time(event.received_at),
            Origin::DeliveryId => Value::Id(delivery),
            Origin::Body => Value::Body(event.body.clone()),
            Origin::Pointer(at) => match found.get(*at).cloned().flatten() {
                Some(value) => value,
                None => return missing("nothing lies there in the body"),
            },
            Origin::Header(name) => match event.headers.one(name) {
                Ok(Some(line)) => match std::str::from_utf8(line) {
                    Ok(text) => Value::Text(text.to_owned()),
                    Err(_) => return Err(format!("`:{}` is no text", self.name)),
                },
                Ok(None) => return missing("the request had no such header"),
                Err(_) => return Err(format!("`:{}` stands twice in the request", self.name)),
            },
        })
    }
}
