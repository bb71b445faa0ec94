//! Idempotency keys of a running daemon.

use super::{Remote, pairs};
use crate::cli::Failure;
use crate::http::admin::shape::{IdempotencyKeyItem, List, ReleaseKey};
use crate::store::idempotency::KeyFilter;

impl Remote {
    pub(in crate::cli::access) async fn keys(
        &self,
        filter: &KeyFilter,
    ) -> Result<List<IdempotencyKeyItem>, Failure> {
        let query = pairs([
            ("scope", filter.scope.clone()),
            ("key", filter.key.clone()),
            ("status", filter.status.clone()),
            ("body", filter.with_bodies.then(|| "true".to_owned())),
            ("cursor", filter.cursor.clone()),
            ("limit", filter.limit.map(|limit| limit.to_string())),
        ]);
        self.get(&["idempotency-keys"], query).await
    }

    pub(in crate::cli::access) async fn release_key(
        &self,
        seen: &IdempotencyKeyItem,
    ) -> Result<(), Failure> {
        let IdempotencyKeyItem { scope, key, version, .. } = seen.clone();
        // A daemon of before has no versions.
        let version = Some(version).filter(|version| !version.is_empty());
        let wanted = ReleaseKey { scope, key, version };
        let done: IdempotencyKeyItem =
            self.post(&["idempotency-keys", "release"], Some(&wanted)).await?;
        tracing::debug!(done.key, "released");
        Ok(())
    }
}
