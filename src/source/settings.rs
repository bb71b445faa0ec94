//! What a source is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use entity::Name;
use ipnet::IpNet;

use super::{OnIdConflict, OnReplay, spec};
use crate::secret::Secret;

/// The largest body, in bytes, unless something else is written.
pub const MAX_BODY: usize = 8 << 20;

/// A handler that answers for its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// Its name.
    pub handler: Name,
    /// How long the sender waits for it, from the whole body; then it gets the usual ack.
    pub deadline: Duration,
}

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
    /// Whose answer is the reply, if it comes in time.
    pub respond: Option<Respond>,
    /// What to do when an id comes again with another body.
    pub on_id_conflict: OnIdConflict,
    /// What to do when signed bytes come again under another id; [`OnReplay::Flag`] when `None`.
    pub on_replay: Option<OnReplay>,
    /// JSON pointers of fields that differ between retries.
    pub conflict_ignore: Vec<String>,
    /// Sources with the same group share ids; the source's own name when `None`.
    pub dedupe_group: Option<Name>,
    /// The registered public URL of this source, for schemes that sign it.
    pub public_url: Option<String>,
    /// What `{param:X}` stands for in the spec.
    pub params: BTreeMap<String, Secret>,
}

impl SourceSettings {
    /// A source of this name at `/in/<name>`, without secrets, all else as an operator gets it who
    /// writes nothing more.
    #[must_use]
    pub fn new(name: Name, spec: spec::SourceSpec) -> Self {
        Self {
            path: format!("/in/{name}"),
            name,
            provider: None,
            spec,
            secrets: Vec::new(),
            tolerance: None,
            max_body: MAX_BODY,
            allow_ips: Vec::new(),
            rate_limit: None,
            respond: None,
            on_id_conflict: OnIdConflict::default(),
            on_replay: None,
            conflict_ignore: Vec::new(),
            dedupe_group: None,
            public_url: None,
            params: BTreeMap::new(),
        }
    }
}
