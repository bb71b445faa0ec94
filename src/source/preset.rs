//! A provider, described: nothing in it that an operator could not write.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{SourceSpec, Texts};

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
    /// Values that an operator gives beside the secrets, by name.
    #[serde(default)]
    pub params: BTreeMap<String, ParamSpec>,
    /// The fixture that is sent when no type is asked for; the first by name when absent.
    #[serde(default)]
    pub fixture: Option<String>,
    /// What the provider's own pages, as far as they were read, don't say.
    #[serde(default)]
    pub unconfirmed: Vec<Unconfirmed>,
    /// How to verify and what to read.
    pub source: SourceSpec,
    /// Requests that must be accepted, and whose every change must be refused.
    #[serde(default)]
    pub vector: Vec<Vector>,
}

impl Preset {
    /// Whether bytes that are not ours show that it is right: of the provider's own page, or made or
    /// accepted by its own library. What we sign and verify ourselves shows nothing.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.proofs().next().is_some()
    }

    /// Where those bytes come from.
    pub fn proofs(&self) -> impl Iterator<Item = &str> {
        let others = self.vector.iter().filter(|vector| vector.kind != VectorKind::Computed);
        others.map(|vector| vector.from.as_str())
    }
}

/// What is known of a provider from others only: used, and shown as what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unconfirmed {
    /// Whether, and how long, it retries.
    Retries,
    /// That the id stays the same in a retry, and is no other event's.
    Id,
}

/// A value that an operator gives beside the secrets.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ParamSpec {
    /// What it is, and where the provider shows it.
    pub about: String,
    /// Such as it might be.
    pub example: String,
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
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Whether they are weaker than a config may have them: examples often are.
    #[serde(default)]
    pub weak: bool,
    /// The source's params.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// The source's registered URL.
    #[serde(default)]
    pub public_url: Option<String>,
    /// POST when absent.
    #[serde(default = "post")]
    pub method: String,
    /// What follows the `?`.
    #[serde(default)]
    pub query: Option<String>,
    /// Its headers, without those that no scheme reads; one that stands several times has its lines
    /// in a list.
    pub headers: BTreeMap<String, Texts>,
    /// The exact body.
    #[serde(default)]
    pub body: String,
    /// The exact body in base64, in place of `body`.
    #[serde(default)]
    pub body_base64: Option<String>,
    /// The time as of which it is fresh, in seconds since 1970.
    pub now: i64,
    /// The id that must be read, or those of a batch; not for a handshake.
    #[serde(default)]
    pub id: Option<Texts>,
    /// The type that must be read, or those of a batch.
    #[serde(default, rename = "type")]
    pub kind_of_event: Option<Texts>,
    /// The answer, when it is a handshake.
    #[serde(default)]
    pub answer: Option<VectorAnswer>,
    /// The code of the refusal, when the request must be refused.
    #[serde(default)]
    pub refused: Option<String>,
}

/// The answer to a handshake.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorAnswer {
    /// The status.
    pub status: u16,
    /// The body, byte for byte.
    pub body: String,
    /// The content type.
    #[serde(default, rename = "type")]
    pub content_type: Option<String>,
    /// Further headers that must be there.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// Who made a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VectorKind {
    /// The provider published it.
    Documented,
    /// The provider's own library made or accepted it.
    Library,
    /// It follows from the documented rule, computed by another program than ours.
    Computed,
}

fn post() -> String {
    "POST".to_owned()
}
