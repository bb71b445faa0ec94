//! What replicas must share to trust a cache of answers: a secret that the cache doesn't know, and a
//! generation that every answer that is taken back ends (triggers see to it; `migration/src/idempotency_cache`).
//!
//! A replica may use a generation for [`CACHE_VIEW_HOLDS`] after it began to read it, and who takes an answer
//! back waits as long: then nobody serves it any more, and no cache was asked to forget anything.

use std::fmt;
use std::time::Duration;

use sqlx::Row;

use crate::store::Store;
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::row::get;

/// How long a [`KeyCacheView`] may be used, from before it was read.
pub const CACHE_VIEW_HOLDS: Duration = Duration::from_secs(2);

const VIEW_POSTGRES: &str = "SELECT secret, generation,
       floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
  FROM idempotency_cache WHERE id = 1";
const VIEW_SQLITE: &str = "SELECT secret, generation,
       CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) AS now_ms
  FROM idempotency_cache WHERE id = 1";

const MAKE_POSTGRES: &str = "INSERT INTO idempotency_cache (id, secret, generation)
    VALUES (1, $1, 1) ON CONFLICT (id) DO NOTHING";
const MAKE_SQLITE: &str = "INSERT INTO idempotency_cache (id, secret, generation)
    VALUES (1, ?1, 1) ON CONFLICT (id) DO NOTHING";

const GENERATION: &str = "SELECT generation FROM idempotency_cache WHERE id = 1";

/// Under what entries are sealed now. Its `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyCacheView {
    /// Known to whoever reads the database, and to no cache.
    pub secret: [u8; 32],
    /// Entries of another one are void.
    pub generation: i64,
    /// The database's clock when it was read: milliseconds since 1970.
    pub now: i64,
}

impl fmt::Debug for KeyCacheView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCacheView")
            .field("generation", &self.generation)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Under what a cache's entries are sealed now; made when nobody cached before.
    pub async fn key_cache_view(&self) -> Result<KeyCacheView, StoreError> {
        self.detached(|database| async move {
            if let Some(view) = view(&database).await? {
                return Ok(view);
            }
            let secret: [u8; 32] = rand::random();
            match &*database {
                Database::Postgres(postgres) => {
                    let make = sqlx::query(MAKE_POSTGRES).bind(&secret[..]);
                    make.execute(&postgres.shared).await?.rows_affected()
                }
                Database::Sqlite(sqlite) => {
                    let make = sqlx::query(MAKE_SQLITE).bind(&secret[..]);
                    make.execute(&sqlite.writer).await?.rows_affected()
                }
            };
            // Another replica may have been first: the row tells.
            view(&database).await?.ok_or_else(|| {
                StoreError::Unreadable("the cache's row was deleted while it was read".to_owned())
            })
        })
        .await
    }
}

/// Secret, generation and clock.
type Columns = (Vec<u8>, i64, i64);

async fn view(database: &Database) -> Result<Option<KeyCacheView>, StoreError> {
    let columns = match database {
        Database::Postgres(postgres) => sqlx::query(VIEW_POSTGRES)
            .fetch_optional(&postgres.shared)
            .await?
            .map(|row| Ok((get(&row, "secret")?, get(&row, "generation")?, get(&row, "now_ms")?))),
        Database::Sqlite(sqlite) => sqlx::query(VIEW_SQLITE)
            .fetch_optional(&sqlite.readers)
            .await?
            .map(|row| Ok((get(&row, "secret")?, get(&row, "generation")?, get(&row, "now_ms")?))),
    };
    let columns: Option<Result<Columns, StoreError>> = columns;
    let Some((secret, generation, now)) = columns.transpose()? else { return Ok(None) };
    let secret = secret
        .try_into()
        .map_err(|_| StoreError::Unreadable("the cache's secret is not 32 bytes".to_owned()))?;
    Ok(Some(KeyCacheView { secret, generation, now }))
}

/// The generation; `None` when nobody ever cached.
pub(super) async fn generation(database: &Database) -> Result<Option<i64>, StoreError> {
    let generation = match database {
        Database::Postgres(postgres) => {
            let row = sqlx::query(GENERATION).fetch_optional(&postgres.shared).await?;
            row.map(|row| row.try_get(0)).transpose()?
        }
        Database::Sqlite(sqlite) => {
            let row = sqlx::query(GENERATION).fetch_optional(&sqlite.readers).await?;
            row.map(|row| row.try_get(0)).transpose()?
        }
    };
    Ok(generation)
}
