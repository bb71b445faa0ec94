//! Many keys in one commit: the claims of concurrent requests, and the ends of concurrent runs.
//!
//! On PostgreSQL a batch is one autocommit statement, on SQLite one transaction of the writer. Its rows
//! are taken in one order, which is ours and not the database's collation, so that two replicas' batches wait
//! for each other and never in a circle. A batch is done whole or not at all.

use sqlx::{PgConnection, SqliteConnection};

use super::claim::{claim_lite, decided, find_lite};
use super::read::{found, leased};
use super::{
    Columns, KeyBid, KeyFound, KeyId, KeyLease, KeySettled, KeyState, KeyVerdict, settle_lite,
    settled,
};
use crate::store::Store;
use crate::store::connect::{Database, Postgres, Sqlite};
use crate::store::error::StoreError;
use crate::store::row::{get, seconds};

/// The most keys of one batch. Callers hand over no more.
pub const KEY_BATCH_MAX: usize = 128;

/// A look at many keys on SQLite holds no more bytes of answers than this; the rest is asked for by itself.
/// On PostgreSQL the statement leaves out each large answer.
const ANSWERS_BYTES_MAX: usize = 4 * 1024 * 1024;

const CLAIMS_POSTGRES: &str = include_str!("../sql/key_claims.postgres.sql");
const SETTLES_POSTGRES: &str = include_str!("../sql/key_settles.postgres.sql");

impl Store {
    /// As [`Store::bid_for_key`] for each, in one commit: one answer per input, in order. `None` is no answer, and
    /// asks for the bid to be made by itself, as one that was sent: the key changed meanwhile, its answer is
    /// large, or it is in the batch already.
    ///
    /// A batch whose connection was lost is looked up again, as a single claim is, and the error is the first, too.
    /// An error is the whole batch's; after one that is a refusal each bid may be made by itself.
    pub async fn bid_for_keys(
        &self,
        bids: Vec<KeyBid>,
    ) -> Result<Vec<Option<KeyFound>>, StoreError> {
        self.detached_long(move |database| async move {
            match claim(&database, &bids, false).await {
                Err(error) if error.is_fate_unknown() => {
                    tracing::warn!(error = %error, keys = bids.len(), "the connection of many claims was lost; looking them up");
                    claim(&database, &bids, true).await.map_err(|_| error)
                }
                found => found,
            }
        })
        .await
    }

    /// As [`Store::settle_key`] for each, in one commit: one answer per input, in order. `None` is no answer:
    /// its key is in the batch already.
    pub async fn settle_keys(
        &self,
        ends: Vec<(KeyLease, KeyVerdict)>,
    ) -> Result<Vec<Option<KeySettled>>, StoreError> {
        self.detached_long(move |database| async move {
            let order = Order::of(&ends, |(lease, _)| &lease.id);
            let mut answers = vec![None; ends.len()];
            match &*database {
                Database::Postgres(postgres) => {
                    settle_postgres(postgres, &order, &mut answers).await?;
                }
                Database::Sqlite(sqlite) => settle_sqlite(sqlite, &order, &mut answers).await?,
            }
            Ok(answers)
        })
        .await
    }
}

/// A batch in the order in which its rows are taken, each key once, with the places of the answers.
struct Order<'a, T> {
    rows: Vec<(usize, &'a T)>,
    id: fn(&T) -> &KeyId,
}

impl<'a, T> Order<'a, T> {
    fn of(batch: &'a [T], id: fn(&T) -> &KeyId) -> Self {
        let mut rows: Vec<(usize, &T)> = batch.iter().enumerate().collect();
        // Stable: of several with one key the first stays in front, and is the one that is kept.
        rows.sort_by(|(_, a), (_, b)| place(id(a)).cmp(&place(id(b))));
        rows.dedup_by(|(_, later), (_, first)| id(later) == id(first));
        Self { rows, id }
    }

    /// One array parameter: a value of each row.
    fn column<V>(&self, read: impl Fn(&'a T) -> V) -> Vec<V> {
        self.rows.iter().map(|(_, row)| read(row)).collect()
    }

    /// The row of a key that the database names.
    fn row(&self, scope: &str, key: &str) -> Result<(usize, &'a T), StoreError> {
        self.rows
            .binary_search_by(|(_, row)| place((self.id)(row)).cmp(&(scope, key)))
            .ok()
            .and_then(|at| self.rows.get(at).copied())
            .ok_or_else(|| {
                StoreError::Invariant("a key came back that is not in its batch".to_owned())
            })
    }
}

fn place(id: &KeyId) -> (&str, &str) {
    (&id.scope, &id.key)
}

fn put<T>(answers: &mut [Option<T>], at: usize, answer: Option<T>) {
    if let Some(slot) = answers.get_mut(at) {
        *slot = answer;
    }
}

async fn claim(
    database: &Database,
    bids: &[KeyBid],
    sent: bool,
) -> Result<Vec<Option<KeyFound>>, StoreError> {
    let order = Order::of(bids, |bid| &bid.claim.id);
    let mut answers = vec![None; bids.len()];
    match database {
        Database::Postgres(postgres) => {
            let mut hot = postgres.keys().await?;
            let patience = hot.patience();
            let asking = claim_on(hot.connection(), &order, sent, &mut answers);
            let answer = tokio::time::timeout(patience, asking).await;
            hot.finish(answer)?;
        }
        Database::Sqlite(sqlite) => claim_sqlite(sqlite, &order, sent, &mut answers).await?,
    }
    Ok(answers)
}

async fn claim_on(
    connection: &mut PgConnection,
    order: &Order<'_, KeyBid>,
    sent: bool,
    answers: &mut [Option<KeyFound>],
) -> Result<(), StoreError> {
    let rows = sqlx::query(CLAIMS_POSTGRES)
        .bind(order.column(|bid| bid.claim.id.scope.as_str()))
        .bind(order.column(|bid| bid.claim.id.key.as_str()))
        .bind(order.column(|bid| &bid.claim.request_hash[..]))
        .bind(order.column(|bid| seconds(bid.claim.lease)))
        .bind(order.column(|bid| seconds(bid.claim.ttl)))
        .bind(order.column(|bid| bid.epoch))
        .fetch_all(connection)
        .await?;
    for row in &rows {
        let (at, bid) = order.row(get(row, "scope")?, get(row, "key")?)?;
        let (claimed, too_large): (bool, bool) = (get(row, "claimed")?, get(row, "too_large")?);
        let answer = if claimed {
            Some(KeyFound::Claimed(leased(row, &bid.claim)?))
        } else if too_large {
            None
        } else {
            decided(found(row)?, bid, sent)
        };
        put(answers, at, answer);
    }
    Ok(())
}

async fn claim_sqlite(
    sqlite: &Sqlite,
    order: &Order<'_, KeyBid>,
    sent: bool,
    answers: &mut [Option<KeyFound>],
) -> Result<(), StoreError> {
    // Retries take no turn of the only writer.
    let mut reader = sqlite.readers.acquire().await?;
    let mut open = Vec::new();
    let mut bytes = 0;
    for (at, bid) in &order.rows {
        if bytes > ANSWERS_BYTES_MAX {
            break;
        }
        let row = look(&mut reader, bid, sent).await?;
        bytes += row.as_ref().map_or(0, size);
        match row {
            Some(found) => put(answers, *at, Some(found)),
            None => open.push((*at, *bid)),
        }
    }
    drop(reader);
    if open.is_empty() {
        return Ok(());
    }
    let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
    for (at, bid) in open {
        let answer = match claim_lite(&mut *transaction, &bid.claim, bid.epoch).await? {
            Some(lease) => Some(KeyFound::Claimed(lease)),
            None => look(&mut transaction, bid, sent).await?,
        };
        put(answers, at, answer);
    }
    transaction.commit().await?;
    Ok(())
}

async fn look(
    connection: &mut SqliteConnection,
    bid: &KeyBid,
    sent: bool,
) -> Result<Option<KeyFound>, StoreError> {
    let row = find_lite(connection, &bid.claim.id).await?;
    Ok(row.and_then(|row| decided(row, bid, sent)))
}

/// The bytes of an answer's body.
fn size(found: &KeyFound) -> usize {
    let KeyFound::Row(row) = found else { return 0 };
    let KeyState::Completed(answer) = &row.state else { return 0 };
    answer.body.as_ref().map_or(0, bytes::Bytes::len)
}

async fn settle_postgres(
    postgres: &Postgres,
    order: &Order<'_, (KeyLease, KeyVerdict)>,
    answers: &mut [Option<KeySettled>],
) -> Result<(), StoreError> {
    let mut hot = postgres.keys().await?;
    let patience = hot.patience();
    let settling = settle_on(hot.connection(), order, answers);
    let answer = tokio::time::timeout(patience, settling).await;
    hot.finish(answer)
}

async fn settle_on(
    connection: &mut PgConnection,
    order: &Order<'_, (KeyLease, KeyVerdict)>,
    answers: &mut [Option<KeySettled>],
) -> Result<(), StoreError> {
    let columns = order.column(|(_, verdict)| Columns::from(verdict));
    let of = |read: fn(&super::KeyAnswer) -> &[u8]| -> Vec<Option<&[u8]>> {
        columns.iter().map(|it| it.answer.map(read)).collect()
    };
    let statuses: Vec<Option<i32>> =
        columns.iter().map(|it| it.answer.map(|answer| i32::from(answer.status))).collect();
    let bodies: Vec<Option<&[u8]>> =
        columns.iter().map(|it| it.answer.and_then(|answer| answer.body.as_deref())).collect();
    let rows = sqlx::query(SETTLES_POSTGRES)
        .bind(order.column(|(lease, _)| lease.id.scope.as_str()))
        .bind(order.column(|(lease, _)| lease.id.key.as_str()))
        .bind(order.column(|(lease, _)| lease.epoch))
        .bind(columns.iter().map(|it| it.status).collect::<Vec<_>>())
        .bind(statuses)
        .bind(of(|answer| answer.headers.as_bytes()))
        .bind(bodies)
        .bind(columns.iter().map(|it| it.failure).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    for (at, _) in &order.rows {
        put(answers, *at, Some(KeySettled::LeaseLost));
    }
    for row in &rows {
        let (at, _) = order.row(get(row, "scope")?, get(row, "key")?)?;
        put(answers, at, Some(KeySettled::Done));
    }
    Ok(())
}

async fn settle_sqlite(
    sqlite: &Sqlite,
    order: &Order<'_, (KeyLease, KeyVerdict)>,
    answers: &mut [Option<KeySettled>],
) -> Result<(), StoreError> {
    let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
    for (at, (lease, verdict)) in &order.rows {
        let rows = settle_lite(&mut *transaction, &lease.id, lease.epoch, verdict).await?;
        put(answers, *at, Some(settled(rows)));
    }
    transaction.commit().await?;
    Ok(())
}
