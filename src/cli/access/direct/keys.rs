//! Idempotency keys in the database.

use super::Direct;
use crate::cli::Failure;
use crate::http::admin::shape::{IdempotencyKeyItem, List};
use crate::store::idempotency::{KeyFilter, KeyId};

impl Direct {
    pub(in crate::cli::access) async fn keys(
        &self,
        filter: &KeyFilter,
    ) -> Result<List<IdempotencyKeyItem>, Failure> {
        let page = self.store.keys(filter).await?;
        let items = page.items.into_iter().map(Into::into).collect();
        Ok(List { items, next_cursor: page.next_cursor })
    }

    pub(in crate::cli::access) async fn release_key(
        &self,
        seen: &IdempotencyKeyItem,
    ) -> Result<(), Failure> {
        let id = KeyId { scope: seen.scope.clone(), key: seen.key.clone() };
        let (version, why) = (seen.version.clone(), "released by an operator".to_owned());
        if self.store.release_key(id, Some(version), why).await? {
            return Ok(());
        }
        let filter = KeyFilter {
            scope: Some(seen.scope.clone()),
            key: Some(seen.key.clone()),
            ..KeyFilter::default()
        };
        let now = self.keys(&filter).await?.items.into_iter().next();
        let why = match now {
            None => "it is gone",
            Some(now) if now.version != seen.version => "it changed meanwhile; look at it again",
            Some(_) => "it is being run; try again when its lease is over",
        };
        Err(Failure::Failed(why.to_owned()))
    }
}
