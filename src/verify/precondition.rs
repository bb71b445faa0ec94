//! What must hold for a scheme to be the one by which a request is judged.

use super::field::Field;
use super::rejection::{Code, Rejection};
use super::template::malformed;
use crate::received::Received;

/// A value that must stand in a place.
#[derive(Debug, Clone)]
pub(crate) struct Precondition {
    /// The place.
    pub(crate) field: Field,
    /// Any of these.
    pub(crate) values: Vec<String>,
}

impl Precondition {
    /// Refuses a request in which something else stands there.
    pub(crate) fn check(&self, received: &Received) -> Result<(), Rejection> {
        let found = self.field.read(received).map_err(|why| malformed(&self.field, &why))?;
        let Some(found) = found else {
            let detail = format!("{} is missing", self.field);
            return Err(Rejection::new(Code::SignatureMalformed, detail));
        };
        if self.values.iter().any(|value| value.as_bytes() == &*found) {
            return Ok(());
        }
        let detail = format!("{} is not {}", self.field, self.values.join(" or "));
        Err(Rejection::new(Code::SignatureMalformed, detail))
    }

    /// Makes it hold, where a request doesn't say anything in the place yet.
    pub(crate) fn meet(&self, received: &mut Received) -> Result<(), String> {
        match (self.check(received), self.values.first()) {
            (Ok(()), _) | (_, None) => Ok(()),
            (Err(_), Some(value)) => self.field.put(received, value),
        }
    }
}
