//! A provider, described: nothing in it that an operator could not write.

use serde::Deserialize;

use super::spec::SourceSpec;

/// A provider's description: a file of `source/catalog/`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The file's name, which operators write as `provider`.
    #[serde(skip)]
    pub slug: &'static str,
    /// What people call it.
    pub name: String,
    /// The page of its documentation that says how it signs.
    pub doc: String,
    /// When that page was read: year and month.
    pub read: String,
    /// What an operator should know.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Where to click, on the provider's side.
    #[serde(default)]
    pub console: Vec<String>,
    /// How to verify and what to read.
    pub source: SourceSpec,
    /// Requests that must be accepted, and whose every change must be refused.
    #[serde(default)]
    pub vector: Vec<Vector>,
}

/// A signed request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Who made it.
    pub kind: VectorKind,
    /// Where it is published, or what computed it.
    pub from: String,
    /// The source's secrets.
    pub secrets: Vec<String>,
    /// POST when absent.
    #[serde(default = "post")]
    pub method: String,
    /// Its headers, without those that no scheme reads.
    pub headers: std::collections::BTreeMap<String, String>,
    /// The exact body.
    pub body: String,
    /// The time as of which it is fresh, in seconds since 1970.
    pub now: i64,
    /// The id that must be read; not for a handshake.
    #[serde(default)]
    pub id: Option<String>,
    /// The type that must be read.
    #[serde(default, rename = "type")]
    pub kind_of_event: String,
    /// The body of the answer, when it is a handshake.
    #[serde(default)]
    pub answer: Option<String>,
}

/// Who made a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VectorKind {
    /// The provider published it.
    Documented,
    /// It follows from the documented rule, computed by another program than ours.
    Computed,
}

fn post() -> String {
    "POST".to_owned()
}
