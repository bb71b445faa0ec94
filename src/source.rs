//! A configured origin: what its requests must prove, and what is read from them.

use std::time::Duration;

use entity::Name;
use ipnet::IpNet;

use crate::secret::Secret;

pub mod spec;

/// Everything that a source is made of; built by the config or by an embedder.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// Its name.
    pub name: Name,
    /// The preset's slug, when it has one.
    pub provider: Option<String>,
    /// Where it listens, such as `/in/stripe`.
    pub path: String,
    /// How to verify and what to read: the preset with the operator's overrides.
    pub spec: spec::SourceSpec,
    /// Any may match.
    pub secrets: Vec<Secret>,
    /// How old a signature may be; the preset's when `None`.
    pub tolerance: Option<Duration>,
    /// Bytes of a body.
    pub max_body: usize,
    /// Senders allowed; all when empty.
    pub allow_ips: Vec<IpNet>,
    /// Failed verifications allowed a second.
    pub rate_limit: Option<u32>,
    /// What to do when an id comes again with another body.
    pub on_id_conflict: OnIdConflict,
    /// JSON pointers of fields that differ between retries.
    pub conflict_ignore: Vec<String>,
    /// Sources with the same group share ids; the source's own name when `None`.
    pub dedupe_group: Option<Name>,
    /// The registered public URL of this source, for schemes that sign it.
    pub public_url: Option<String>,
}

/// What to do when an id comes again with another body.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum OnIdConflict {
    /// Answer 200; keep the other body, never run it.
    #[default]
    Flag,
    /// Answer 409.
    Reject,
}
