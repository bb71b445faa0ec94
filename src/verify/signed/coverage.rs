//! What a signature covers.

use super::SignedScheme;
use crate::verify::Integrity;
use crate::verify::field::Field;

impl SignedScheme {
    /// How much of the body is covered.
    pub(crate) fn integrity(&self) -> Integrity {
        let digest = self.body_digest.as_ref().and_then(|digest| digest.field());
        let by_digest = digest.is_some_and(|field| self.content.has_field(field));
        if by_digest || (self.content.has_body() && self.each.is_none()) {
            Integrity::Full
        } else if self.content.has_part_of_body() {
            Integrity::Partial
        } else {
            Integrity::None
        }
    }

    /// Whether `field` is signed.
    pub(crate) fn signs(&self, field: &Field) -> bool {
        let content = &self.content;
        (field.is_in_body() && self.integrity() == Integrity::Full)
            || content.has_field(field)
            || (content.names_id() && self.id.as_ref() == Some(field))
            || (content.names_timestamp()
                && self.clock.as_ref().and_then(|clock| clock.from.as_ref()) == Some(field))
    }
}
