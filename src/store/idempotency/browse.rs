//! Keys as people look at them, and the one thing that they may do.

use entity::idempotency_key as table;
use sea_orm::sea_query::{Expr, ExprTrait, Func};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, Iterable, QueryFilter, QueryOrder, QuerySelect,
};

use super::KeyId;
use super::cache::{CACHE_VIEW_HOLDS, generation};
use crate::store::Store;
use crate::store::browse::Page;
use crate::store::connect::Database;
use crate::store::error::StoreError;

/// Rows of a page when nobody says.
const LIMIT_DEFAULT: u32 = 50;
/// The most rows of a page.
const LIMIT_MAX: u32 = 500;
/// The same with the answers' bodies, each of which may be megabytes.
const LIMIT_WITH_BODIES: u32 = 20;

const RELEASE_POSTGRES: &str = "UPDATE idempotency_key
       SET status = 'failed', lease_until = NULL, lease_epoch = GREATEST(lease_epoch + 1, $3),
           response_status = NULL, response_headers = NULL, response_body = NULL, completed_at = NULL, failure = $4
     WHERE scope = $1 AND key = $2
       AND ($5::text IS NULL OR status || '.' || lease_epoch = $5)
       AND NOT (status = 'processing' AND lease_until > clock_timestamp())";
const RELEASE_SQLITE: &str = "UPDATE idempotency_key
       SET status = 'failed', lease_until = NULL, lease_epoch = MAX(lease_epoch + 1, ?3),
           response_status = NULL, response_headers = NULL, response_body = NULL, completed_at = NULL, failure = ?4
     WHERE scope = ?1 AND key = ?2
       AND (?5 IS NULL OR status || '.' || lease_epoch = ?5)
       AND NOT (status = 'processing' AND lease_until > strftime('%Y-%m-%d %H:%M:%f', 'now'))";

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    /// Only of this scope; a trailing `*` matches any rest.
    pub scope: Option<String>,
    /// Only this key.
    pub key: Option<String>,
    /// Only in this state.
    pub status: Option<String>,
    /// With the bodies of answers, each up to a megabyte or more.
    pub with_bodies: bool,
    /// From a page before.
    pub cursor: Option<String>,
    /// At most this many; 50 when `None`, 500 at most, 20 with bodies.
    pub limit: Option<u32>,
}

/// A row as it stands, expired ones included.
pub type KeyItem = table::Model;

/// A word for what an operator sees of a key: it is another one as soon as the key is run, answered or released.
#[must_use]
pub fn key_version(item: &KeyItem) -> String {
    format!("{}.{}", item.status, item.lease_epoch)
}

impl Store {
    /// A page of keys, by scope and key. Expired ones are there until a cleanup.
    pub async fn keys(&self, filter: &KeyFilter) -> Result<Page<KeyItem>, StoreError> {
        let filter = filter.clone();
        self.detached(move |database| async move {
            let most = if filter.with_bodies { LIMIT_WITH_BODIES } else { LIMIT_MAX };
            let limit = filter.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, most) as usize;
            let mut query = table::Entity::find()
                .order_by_asc(table::Column::Scope)
                .order_by_asc(table::Column::Key)
                .limit(limit as u64 + 1);
            if !filter.with_bodies {
                let nothing = match &*database {
                    Database::Postgres(_) => Expr::cust("CAST(NULL AS bytea)"),
                    Database::Sqlite(_) => Expr::cust("NULL"),
                };
                let columns = table::Column::iter()
                    .filter(|column| !matches!(column, table::Column::ResponseBody));
                query = query.select_only().columns(columns).expr_as(nothing, "response_body");
            }
            if let Some(scope) = &filter.scope {
                query = query.filter(match scope.strip_suffix('*') {
                    // Not by order, which is the database's collation.
                    Some(start) => {
                        let length = i32::try_from(start.chars().count()).unwrap_or(i32::MAX);
                        let begins = Func::cust("substr").args([
                            Expr::col(table::Column::Scope),
                            Expr::value(1),
                            Expr::value(length),
                        ]);
                        Condition::all().add(Expr::expr(begins).eq(start))
                    }
                    None => Condition::all().add(table::Column::Scope.eq(scope)),
                });
            }
            if let Some(key) = &filter.key {
                query = query.filter(table::Column::Key.eq(key));
            }
            if let Some(status) = &filter.status {
                query = query.filter(table::Column::Status.eq(status));
            }
            if let Some(cursor) = &filter.cursor {
                let (scope, key) = after(cursor)?;
                let tuple =
                    Expr::tuple([Expr::col(table::Column::Scope), Expr::col(table::Column::Key)]);
                let last = Expr::tuple([Expr::value(scope), Expr::value(key)]);
                query = query.filter(tuple.gt(last));
            }
            let mut items = query.all(database.orm()).await?;
            let more = items.len() > limit;
            items.truncate(limit);
            let last = if more { items.last() } else { None };
            let next_cursor = last.map(|last| cursor_of(&last.scope, &last.key));
            Ok(Page { items, next_cursor })
        })
        .await
    }

    /// Gives a key back, so that its next request runs: the one thing that an operator may decide
    /// about an uncertain one. Its answer, if it has one, is forgotten. False when there is no such
    /// key, when it is being run under a live lease, or when it is no longer what it was in the given version
    /// ([`key_version`]): an answer that came meanwhile is not forgotten by who decided without it.
    ///
    /// Takes [`CACHE_VIEW_HOLDS`] when an answer was forgotten that a cache may hold: once it returns, no
    /// replica serves it any more, whatever the cache does.
    pub async fn release_key(
        &self,
        id: KeyId,
        version: Option<String>,
        why: String,
    ) -> Result<bool, StoreError> {
        let (released, turned) = self.release_row(id, version, why).await?;
        if turned {
            tokio::time::sleep(CACHE_VIEW_HOLDS).await;
        }
        Ok(released)
    }

    /// Whether it was released, and whether that ended the entries of caches.
    async fn release_row(
        &self,
        KeyId { scope, key }: KeyId,
        version: Option<String>,
        why: String,
    ) -> Result<(bool, bool), StoreError> {
        self.detached(move |database| async move {
            let before = generation(&database).await?;
            let ours = super::new_epoch();
            let rows = match &*database {
                Database::Postgres(postgres) => sqlx::query(RELEASE_POSTGRES)
                    .bind(scope)
                    .bind(key)
                    .bind(ours)
                    .bind(why)
                    .bind(version)
                    .execute(&postgres.shared)
                    .await?
                    .rows_affected(),
                Database::Sqlite(sqlite) => sqlx::query(RELEASE_SQLITE)
                    .bind(scope)
                    .bind(key)
                    .bind(ours)
                    .bind(why)
                    .bind(version)
                    .execute(&sqlite.writer)
                    .await?
                    .rows_affected(),
            };
            // Another's turn in between makes us wait in vain, and does no harm.
            Ok((rows == 1, generation(&database).await? != before))
        })
        .await
    }
}

/// A scope and a key in hex, so that the cursor is one word in a URL.
fn cursor_of(scope: &str, key: &str) -> String {
    format!("{}.{}", hex::encode(scope), hex::encode(key))
}

fn after(cursor: &str) -> Result<(String, String), StoreError> {
    let text = |part: &str| String::from_utf8(hex::decode(part).ok()?).ok();
    cursor.split_once('.').and_then(|(scope, key)| Some((text(scope)?, text(key)?))).ok_or_else(
        || {
            StoreError::Invalid(format!(
                "`{cursor}` is not a cursor; give back the next_cursor of a page"
            ))
        },
    )
}
