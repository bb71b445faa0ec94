//! Why a request with a key, or without one, is not run.

/// Why not. Each has a stable code, and the status that the draft gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The route wants a key.
    Missing,
    /// It is no key.
    Invalid(String),
    /// Whose key it is can't be told.
    NoScope(String),
    /// A token has to say whose key it is, and there is none.
    NoToken,
    /// The token is none that counts.
    BadToken(String),
    /// The token is over.
    ExpiredToken(String),
    /// The key by which the token would be verified can't be had.
    NoIssuerKey,
    /// The key came before with another request.
    Reused,
    /// It is being run.
    InProgress,
    /// It was run and nobody knows how it ended.
    Uncertain,
    /// It was run, answered with this status, and the answer was too large to keep.
    NotStored(u16),
    /// The store is away: nothing was run.
    Unavailable,
    /// The store was asked to commit the run with its answer, and didn't say whether it did.
    Unconfirmed,
}

impl Refusal {
    /// The code, which never changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "idempotency_key_missing",
            Self::Invalid(_) => "idempotency_key_invalid",
            Self::NoScope(_) => "idempotency_scope_missing",
            Self::NoToken => "token_missing",
            Self::BadToken(_) => "token_invalid",
            Self::ExpiredToken(_) => "token_expired",
            Self::NoIssuerKey => "key_unavailable",
            Self::Reused => "idempotency_key_reused",
            Self::InProgress => "idempotency_in_progress",
            Self::Uncertain => "idempotency_outcome_uncertain",
            Self::NotStored(_) => "result_not_stored",
            Self::Unavailable | Self::Unconfirmed => "store_unavailable",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Missing | Self::Invalid(_) | Self::NoScope(_) => 400,
            Self::NoToken | Self::BadToken(_) | Self::ExpiredToken(_) => 401,
            Self::Reused => 422,
            Self::InProgress | Self::Uncertain | Self::NotStored(_) => 409,
            Self::Unavailable | Self::Unconfirmed | Self::NoIssuerKey => 503,
        }
    }

    /// Seconds after which trying again makes sense; `None` when it never does by itself.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::InProgress => Some(1),
            Self::Unavailable | Self::Unconfirmed => Some(2),
            Self::NoIssuerKey => Some(5),
            _ => None,
        }
    }

    /// What is wrong and what to do, in a sentence for the client.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Missing => {
                "send an Idempotency-Key: one fresh value for each thing to be done, the same one for its retries".to_owned()
            }
            Self::Invalid(why) => format!(
                "the Idempotency-Key can't be used: {why}; send one line of 1 to 255 visible ASCII characters, such as a UUID"
            ),
            Self::NoScope(why) => format!("whose Idempotency-Key it is can't be told: {why}"),
            Self::NoToken => {
                "whose Idempotency-Key it is can't be told: send a token, as `Authorization: Bearer …`".to_owned()
            }
            Self::BadToken(why) => format!("whose Idempotency-Key it is can't be told: {why}"),
            Self::ExpiredToken(why) => format!(
                "whose Idempotency-Key it is can't be told: {why}; try again with a fresh token and the same key"
            ),
            Self::NoIssuerKey => {
                "the token can't be verified now, since its issuer's keys can't be had, and the request was not run; try again with the same key".to_owned()
            }
            Self::Reused => {
                "this Idempotency-Key came before with another request; use a fresh key for another request".to_owned()
            }
            Self::InProgress => {
                "the request with this Idempotency-Key is being run; try again soon".to_owned()
            }
            Self::Uncertain => {
                "the request with this Idempotency-Key was begun, and nobody knows how it ended; look at its effect before you use another key".to_owned()
            }
            Self::NotStored(status) => format!(
                "the request with this Idempotency-Key was run and answered {status}; the answer was too large to keep"
            ),
            Self::Unavailable => {
                "keys can't be looked up now, and the request was not run; try again with the same key".to_owned()
            }
            Self::Unconfirmed => {
                "whether the request was done is not known now; try again with the same key, under which it is done once, and with no other".to_owned()
            }
        }
    }
}
