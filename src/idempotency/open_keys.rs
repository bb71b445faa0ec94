//! Keys whose transactions are open in this process: a retry is answered, or waits, here and not on a connection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::idempotency::{KeyClaim, KeyId};

/// The keys, each with the hash of its request. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenKeys(Arc<Mutex<HashMap<KeyId, [u8; 32]>>>);

/// A key that is open until this is dropped.
#[derive(Debug)]
pub(super) struct OpenKey {
    keys: OpenKeys,
    id: KeyId,
}

impl OpenKeys {
    /// Opens a key, or says what request it is open for.
    pub(super) fn open(&self, claim: &KeyClaim) -> Result<OpenKey, [u8; 32]> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.entry(claim.id.clone()) {
            Entry::Occupied(open) => Err(*open.get()),
            Entry::Vacant(free) => {
                free.insert(claim.request_hash);
                Ok(OpenKey { keys: self.clone(), id: claim.id.clone() })
            }
        }
    }
}

impl Drop for OpenKey {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
