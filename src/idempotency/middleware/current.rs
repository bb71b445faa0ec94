//! What a handler behind the middleware may know of its run, and do in it.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard};

use crate::idempotency::Run;
use crate::store::StoreError;
use crate::store::idempotency::{KeyId, KeyTransaction};

/// The run that a handler belongs to: `web::ReqData<Current>`.
#[derive(Debug, Clone)]
pub struct Current(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    id: KeyId,
}

#[derive(Debug)]
pub(super) enum Kind {
    Run(Box<Run>),
    Transaction(Box<Mutex<Option<KeyTransaction>>>),
}

impl Current {
    pub(super) fn of(run: Box<Run>) -> Self {
        let id = run.lease().id.clone();
        Self(Arc::new(Inner { kind: Kind::Run(run), id }))
    }

    pub(super) fn within(transaction: KeyTransaction) -> Self {
        let id = transaction.lease().id.clone();
        let transaction = Box::new(Mutex::new(Some(transaction)));
        Self(Arc::new(Inner { kind: Kind::Transaction(transaction), id }))
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// A text of 64 hexadecimal digits that is the same for every run of this key, and no other key's: to
    /// be given, as their idempotency key, to those whom the handler calls.
    #[must_use]
    pub fn reference(&self) -> String {
        let KeyId { scope, key } = &self.0.id;
        hex::encode(Sha256::digest(format!("{scope}\n{key}")))
    }

    /// The phase that an earlier run of the key reached; `None` on a first run and in a transaction.
    #[must_use]
    pub fn recovery_point(&self) -> Option<&str> {
        match self.kind() {
            Kind::Run(run) => run.recovery_point(),
            Kind::Transaction(_) => None,
        }
    }

    /// Notes durably that a phase is done. False when another run has the key by now: then stop. In a
    /// transaction there are no phases: all of it happens, or nothing.
    pub async fn reached(&self, point: &str) -> Result<bool, StoreError> {
        match self.kind() {
            Kind::Run(run) => run.reached(point).await,
            Kind::Transaction(_) => Ok(true),
        }
    }

    /// The transaction to work in, with `single_tx`; else the guard holds none.
    pub async fn transaction(&self) -> Option<MutexGuard<'_, Option<KeyTransaction>>> {
        match self.kind() {
            Kind::Run(_) => None,
            Kind::Transaction(transaction) => Some(transaction.lock().await),
        }
    }
}
