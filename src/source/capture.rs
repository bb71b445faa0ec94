//! Secrets that a provider hands us while we run, as a part of its handshake.
//!
//! A source whose handshake captures has no secret to begin with: it is *pending*. The first
//! handshake brings one, and from then on the source is as one that was configured with it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::compile::{Faults, Surroundings, root_scheme};
use super::spec::SchemeSpec;
use crate::secret::Secret;
use crate::verify::scheme::Scheme;
use crate::verify::token;

/// What a capturing source knows at the moment, and how to make a scheme of what it learns.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) verify: SchemeSpec,
    /// The config's.
    pub(super) secrets: Vec<Secret>,
    pub(super) tolerance: Option<Duration>,
    pub(super) url: Option<String>,
    pub(super) params: BTreeMap<String, Secret>,
    pub(super) learnt: RwLock<Arc<Learnt>>,
}

/// What was captured.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    secrets: Vec<Secret>,
    /// By the config's secrets and these; `None` while nothing was captured.
    scheme: Option<Scheme>,
}

impl Capture {
    /// What it knows now.
    pub(super) fn learnt(&self) -> Arc<Learnt> {
        Arc::clone(&self.learnt.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Verifies with the config's secrets and these from now on; tells whether that is news. Fails,
    /// without a change, when one of them can't be a secret of this source.
    pub(super) fn learn(&self, captured: &[Secret]) -> Result<bool, String> {
        let same = |(a, b): (&Secret, &Secret)| a.fingerprint() == b.fingerprint();
        let known = self.learnt();
        if known.secrets.len() == captured.len() && known.secrets.iter().zip(captured).all(same) {
            return Ok(false);
        }
        let learnt = match captured {
            [] => Learnt::default(),
            _ => Learnt { scheme: Some(self.scheme(captured)?), secrets: captured.to_vec() },
        };
        *self.learnt.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(learnt);
        Ok(true)
    }

    fn scheme(&self, captured: &[Secret]) -> Result<Scheme, String> {
        let secrets: Vec<Secret> = self.secrets.iter().chain(captured).cloned().collect();
        let surroundings = Surroundings {
            secrets: Some(&secrets),
            tolerance: self.tolerance,
            url: self.url.as_deref(),
            params: Some(&self.params),
            strict: true,
        };
        let mut faults = Faults::default();
        match root_scheme(Some(&self.verify), &surroundings, &mut faults) {
            Some(scheme) if faults.0.is_empty() => Ok(scheme),
            _ => Err(faults.0.join("; ")),
        }
    }

    /// Whether this secret, which a handshake brings, could be one of this source.
    pub(super) fn check(&self, secret: &Secret) -> Result<(), String> {
        self.scheme(std::slice::from_ref(secret)).map(drop)
    }

    /// Whether it has no secret at all.
    pub(super) fn is_pending(&self) -> bool {
        self.secrets.is_empty() && self.learnt().secrets.is_empty()
    }
}

impl Learnt {
    /// The scheme, when something was captured.
    pub(super) fn scheme(&self) -> Option<&Scheme> {
        self.scheme.as_ref()
    }

    /// Whether `shown` is one of the captured secrets, in constant time.
    pub(super) fn holds(&self, shown: &[u8]) -> bool {
        self.secrets.iter().any(|secret| token::same(shown, secret))
    }
}
