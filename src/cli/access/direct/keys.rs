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
        scope: &str,
        key: &str,
    ) -> Result<(), Failure> {
        let id = KeyId { scope: scope.to_owned(), key: key.to_owned() };
        if self.store.release_key(id, "released by an operator".to_owned()).await? {
            return Ok(());
        }
        Err(Failure::Failed(
            "it is being run, or gone; try again when its lease is over".to_owned(),
        ))
    }
}
