//! What a database's refusal of an operator's statement means for the delivery.

use std::time::Duration;

use sqlx::error::DatabaseError;

/// Why statements were not done; everything before them in the transaction is undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The same may work later: the database is away or busy, or an operator has to mend it first.
    Again(String),
    /// The same values will be refused again.
    Never(String),
}

impl Refusal {
    /// What went wrong, without values of the event.
    #[must_use]
    pub fn cause(&self) -> &str {
        match self {
            Self::Again(cause) | Self::Never(cause) => cause,
        }
    }

    /// Judges an error of statement `at`, from 0. The text has the server's own words, but not its
    /// details, which repeat values.
    pub(super) fn of(at: usize, error: &sqlx::Error) -> Self {
        let statement = at + 1;
        let Some(database) = error.as_database_error() else {
            let cause = format!("statement {statement} could not be run: {error}");
            return match error {
                sqlx::Error::Encode(_) => Self::Never(cause),
                _ => Self::Again(cause),
            };
        };
        let code = database.code().unwrap_or_default();
        let cause = format!("statement {statement} was refused ({code}): {}", database.message());
        if is_final(database) { Self::Never(cause) } else { Self::Again(cause) }
    }

    pub(super) fn too_long(limit: Duration) -> Self {
        Self::Again(format!("the statements took longer than {limit:?} and were undone"))
    }
}

/// Whether the same values will be refused again. PostgreSQL: a value that its column can't hold (22),
/// a constraint (23, 44), a row too many (21), and what a trigger raised (P0); but a parent row that is
/// missing (23503) may come. Everything else, a missing table or right among it, can be mended.
fn is_final(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return ["21", "22", "23", "44", "P0"].iter().any(|class| code.starts_with(class))
            && code != "23503";
    }
    // SQLite: CONSTRAINT (19) but for a foreign key (787), TOOBIG, MISMATCH.
    code.parse::<u32>().is_ok_and(|code| code != 787 && matches!(code & 0xff, 18..=20))
}
