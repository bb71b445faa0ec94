//! Rows of `idempotency_key`, as the two databases give them.

use std::time::Duration;

use bytes::Bytes;
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::{KeyAnswer, KeyClaim, KeyLease, KeyRow, KeyState};
use crate::received::Headers;
use crate::store::error::StoreError;
use crate::store::row::get;

/// A claim's or take-over's row.
pub(super) fn leased<'r, R>(row: &'r R, claim: &KeyClaim) -> Result<KeyLease, StoreError>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    i32: Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(KeyLease {
        id: claim.id.clone(),
        request_hash: claim.request_hash,
        expires_at: get(row, "expires_at_ms")?,
        epoch: get(row, "lease_epoch")?,
        attempts: attempts(row)?,
        recovery_point: get(row, "recovery_point")?,
    })
}

/// A key that means something.
pub(super) fn found<'r, R>(row: &'r R) -> Result<KeyRow, StoreError>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    i32: Decode<'r, R::Database> + Type<R::Database>,
    f64: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
    Option<i32>: Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    Option<Vec<u8>>: Decode<'r, R::Database> + Type<R::Database>,
{
    let hash: Vec<u8> = get(row, "request_hash")?;
    let status: &str = get(row, "status")?;
    let left: f64 = get(row, "lease_left")?;
    let state = match status {
        "processing" if left > 0.0 => KeyState::Running { left: span(left) },
        "processing" => KeyState::Lapsed,
        "completed" => {
            let status: Option<i32> = get(row, "response_status")?;
            let headers: Option<Vec<u8>> = get(row, "response_headers")?;
            let body: Option<Vec<u8>> = get(row, "response_body")?;
            KeyState::Completed(KeyAnswer {
                status: status.and_then(|status| u16::try_from(status).ok()).ok_or_else(|| {
                    StoreError::Unreadable("a completed key has no HTTP status".to_owned())
                })?,
                headers: Headers::from_bytes(&headers.unwrap_or_default()),
                body: body.map(Bytes::from),
                note: get(row, "failure")?,
            })
        }
        "failed" => KeyState::Released,
        "uncertain" => KeyState::Uncertain,
        other => {
            return Err(StoreError::Unreadable(format!("a key has the unknown status {other}")));
        }
    };
    Ok(KeyRow {
        request_hash: hash
            .try_into()
            .map_err(|_| StoreError::Unreadable("a request's hash is not 32 bytes".to_owned()))?,
        state,
        epoch: get(row, "lease_epoch")?,
        attempts: attempts(row)?,
        recovery_point: get(row, "recovery_point")?,
        expires_in: span(get(row, "expires_in")?),
        expires_at: get(row, "expires_at_ms")?,
    })
}

fn attempts<'r, R>(row: &'r R) -> Result<u32, StoreError>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i32: Decode<'r, R::Database> + Type<R::Database>,
{
    let attempts: i32 = get(row, "attempts")?;
    Ok(u32::try_from(attempts).unwrap_or(1))
}

/// A difference of the database's; a negative one is over.
fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}
