//! Renewing: a lease that its worker still wants.

use std::time::Duration;

use uuid::Uuid;

use crate::store::Store;
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::row::seconds;

/// Gives those that are held as far as can be seen, each with whether it was renewed. It waits for no row: an effect may
/// hold one for as long as it works, and others would lapse meanwhile. It names the lease and not the state, so that the
/// planner takes the primary key and not the partial index of leases. Public for the plan tests.
pub const RENEW_POSTGRES: &str = "WITH wanted AS MATERIALIZED (
        SELECT t.id, t.epoch, t.lease
          FROM UNNEST($1::uuid[], $2::int8[], $3::float8[]) AS t (id, epoch, lease)),
    held AS MATERIALIZED (
        SELECT d.id, t.epoch, t.lease
          FROM delivery d JOIN wanted t ON d.id = t.id
         WHERE d.lease_until IS NOT NULL AND d.lease_epoch = t.epoch
           FOR NO KEY UPDATE OF d SKIP LOCKED),
    renewed AS (
        UPDATE delivery d SET lease_until = clock_timestamp() + make_interval(secs => held.lease)
          FROM held
         WHERE d.id = held.id AND d.lease_until IS NOT NULL AND d.lease_epoch = held.epoch
        RETURNING d.id)
    SELECT d.id, r.id IS NOT NULL
      FROM wanted t JOIN delivery d ON d.id = t.id AND d.lease_until IS NOT NULL AND d.lease_epoch = t.epoch
      LEFT JOIN renewed r ON r.id = d.id";

const RENEW_SQLITE: &str =
    "UPDATE delivery SET lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?3 || ' seconds')
     WHERE id = ?1 AND state = 'leased' AND lease_epoch = ?2";

/// A lease that its worker still wants.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// The delivery.
    pub delivery: Uuid,
    /// The claim's epoch.
    pub epoch: i64,
    /// From now.
    pub lease: Duration,
}

/// What became of leases that were to be renewed; those that are named in neither list were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewed {
    /// They are no longer this worker's.
    pub lost: Vec<Uuid>,
    /// Somebody works on their rows, an effect or a settlement: they are as they were.
    pub busy: Vec<Uuid>,
}

impl Store {
    /// Renews leases, and waits for nobody who works on one of their rows.
    pub async fn renew(&self, held: Vec<Held>) -> Result<Renewed, StoreError> {
        self.detached(|database| async move {
            let seen = renew(&database, &held).await?;
            let ids = held.iter().map(|held| held.delivery);
            let lost = ids.filter(|id| seen.iter().all(|(seen, _)| seen != id)).collect();
            let busy = seen.iter().filter(|(_, renewed)| !renewed).map(|(id, _)| *id).collect();
            Ok(Renewed { lost, busy })
        })
        .await
    }
}

/// Those that are held, each with whether it was renewed.
async fn renew(database: &Database, held: &[Held]) -> Result<Vec<(Uuid, bool)>, StoreError> {
    match database {
        Database::Postgres(postgres) => {
            let ids: Vec<Uuid> = held.iter().map(|held| held.delivery).collect();
            let epochs: Vec<i64> = held.iter().map(|held| held.epoch).collect();
            let leases: Vec<f64> = held.iter().map(|held| seconds(held.lease)).collect();
            Ok(sqlx::query_as(RENEW_POSTGRES)
                .bind(&ids)
                .bind(&epochs)
                .bind(&leases)
                .fetch_all(&postgres.shared)
                .await?)
        }
        Database::Sqlite(sqlite) => {
            let mut kept = Vec::with_capacity(held.len());
            let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
            for held in held {
                let done = sqlx::query(RENEW_SQLITE)
                    .bind(held.delivery)
                    .bind(held.epoch)
                    .bind(seconds(held.lease))
                    .execute(&mut *transaction)
                    .await?;
                if done.rows_affected() == 1 {
                    kept.push((held.delivery, true));
                }
            }
            transaction.commit().await?;
            Ok(kept)
        }
    }
}
