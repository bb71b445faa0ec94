//! Signing as the provider would, for `hookonce send`, fixtures and tests.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Source;
use super::identity::Place;
use crate::received::Received;
use crate::verify::field::Field;

impl Source {
    /// Makes of `unsigned` a request that [`Source::admit`] accepts as of `now`: adds the id header
    /// when it is missing, the timestamp, and the signature by the secret at position `secret`.
    ///
    /// Signing again replaces timestamp and signature, and keeps the id. Fails, with what is missing,
    /// when the scheme signs something that only the caller can know.
    pub fn sign(
        &self,
        unsigned: Received,
        now: DateTime<Utc>,
        secret: usize,
    ) -> Result<Received, String> {
        let mut request = unsigned;
        let missing = self.missing_id_header(&request);
        // Making one asks the operating system for chance, which is dear where thousands a second
        // are signed that all have their id.
        let fresh_id = if missing.is_some()
            || self.scheme.id_fields().into_iter().any(|field| !holds_id(field, &request))
        {
            Uuid::now_v7().to_string()
        } else {
            String::new()
        };
        if let Some(field) = missing {
            field.put(&mut request, &fresh_id)?;
        }
        self.scheme.sign(&mut request, now, secret, &fresh_id)?;
        Ok(request)
    }

    /// The header or query parameter in which an id is due, when no place for one is filled.
    fn missing_id_header(&self, request: &Received) -> Option<Field> {
        let fields = |place: &Place| match place {
            Place::Field(field @ (Field::Header(_) | Field::Query(_))) => Some(field.clone()),
            _ => None,
        };
        let filled = |field: &Field| field.read(request).is_ok_and(|value| value.is_some());
        let due = self.reader.id.first().and_then(fields)?;
        let any_filled = self.reader.id.iter().filter_map(fields).any(|field| filled(&field));
        (!any_filled).then_some(due)
    }
}

/// Whether an id stands there that signing keeps.
fn holds_id(field: &Field, request: &Received) -> bool {
    field.read(request).is_ok_and(|id| id.is_some_and(|id| !id.is_empty()))
}

#[cfg(test)]
mod tests;
