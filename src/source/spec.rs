//! The vocabulary in which presets and operators describe a source.
//!
//! These types say what may be *written*. [`crate::source::Source::compile`] turns them into what is
//! used, and reports every fault at once. A word that the vocabulary knows but that isn't built yet
//! is a fault there: it is never accepted and inert.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod scheme;
pub mod text;

pub use scheme::{
    Encoding, GrammarSpec, Hash, KeyDecode, KeySpec, KvSpec, Lines, ListSpec, PlainSpec,
    SchemeSpec, SignatureSpec, TimestampSpec, TokenSpec, Unit,
};
pub use text::{DurationText, SizeText, Texts, Unbuilt};

/// How to verify and what to read. Every key is optional here, so that an operator's keys can be
/// laid over a preset's; what is missing in the end is a fault of [`crate::source::Source::compile`].
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {
    /// How a request proves where it comes from: a scheme, or `"none"`.
    #[serde(deserialize_with = "scheme::word_or_table", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<scheme::WordOrTable>")]
    pub verify: Option<SchemeSpec>,
    /// Which event it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventSpec>,
    /// Requests that are answered and not recorded, such as a challenge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Vec<HandshakeSpec>>,
    /// Answers that the provider wants other than the usual ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplySpec>,
    /// How the provider retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<RetriesSpec>,
    /// Allowed methods; only POST when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Allowed media types; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_types: Option<Vec<String>>,
    /// The largest body that the provider sends, such as `"25 MiB"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<SizeText>,
    /// JSON pointers of fields that differ between retries of one event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict_ignore: Option<Vec<String>>,
}

/// Which event a request is. Places are written `header:NAME`, `query:NAME`, `form:NAME`,
/// `form:NAME:/pointer`, `body:/pointer`, `signed` (the id that the scheme signed),
/// `concat(place, place, …)`, `sha256(body)` and `none`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventSpec {
    /// What the body is: `json`, `form`, `form_field(NAME)`, `text` or `raw`; or several, of which
    /// the first that the bytes are is taken. When absent: `json` if the id is in the body, else
    /// never parsed, but for a type that may be in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Texts>,
    /// Where the id is: places tried in order. `none` never dedupes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Texts>,
    /// Where the type is: places tried in order.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Texts>,
    /// Where the provider's own time is. Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub time: Option<Unbuilt>,
    /// Where the attempt's number is. Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub attempt: Option<Unbuilt>,
    /// Where the tenant is. Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub tenant: Option<Unbuilt>,
    /// How a batch is split. Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub split: Option<Unbuilt>,
    /// Whether an empty batch is a success. Not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub empty_ok: Option<Unbuilt>,
}

/// A request that is answered and not recorded.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HandshakeSpec {
    /// Which requests it is for; everything must hold.
    #[serde(rename = "match")]
    pub when: MatchSpec,
    /// Whether it must pass the source's scheme first. True unless written out.
    #[serde(default = "yes")]
    pub signed: bool,
    /// The answer.
    pub reply: HandshakeReplySpec,
    /// A check against a second secret. Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub check: Option<Unbuilt>,
    /// A request to a URL that the request names. Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub callout: Option<Unbuilt>,
    /// A secret that the request brings. Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub capture_secret: Option<Unbuilt>,
    /// A state in which it counts. Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub only_while: Option<Unbuilt>,
}

fn yes() -> bool {
    true
}

/// What a handshake looks like. A value of `"*"` means "is there, whatever it says".
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchSpec {
    /// The method; any allowed one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Headers and their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, String>,
    /// Query parameters and their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// JSON pointers into the body and their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub body: BTreeMap<String, String>,
}

/// The answer to a handshake.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HandshakeReplySpec {
    /// 200 when absent.
    #[serde(default = "ok")]
    pub status: u16,
    /// Such as `text/plain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Further headers; values are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A template over `{query.x}`, `{header.x}` and `{body./x}`.
    #[serde(default)]
    pub body: String,
}

fn ok() -> u16 {
    200
}

/// Answers that the provider wants other than the usual ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReplySpec {
    /// To a recorded event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<OkSpec>,
    /// The status for a missing or wrong signature, in place of 401.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unauthorized: Option<u16>,
    /// The status for a request that can't be read, in place of 400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed: Option<u16>,
    /// The status when we are too busy, in place of 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overload: Option<u16>,
}

/// The answer to a recorded event.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OkSpec {
    /// 200 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Such as `text/plain`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The exact body, in place of our JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// How the provider retries.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetriesSpec {
    /// How long after the first try the last one may come, such as `"3d"`. A key must be kept longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizon: Option<DurationText>,
    /// The waits between tries, as the provider states them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Vec<DurationText>>,
    /// The provider never retries: what we lose stays lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<bool>,
}

impl SourceSpec {
    /// This spec with what `over` says laid over it: whole keys, but for `event`, whose keys are laid
    /// over one by one (an operator's `event = { id = … }` keeps the preset's type). An overridden
    /// `verify` drops nothing else: the event's places stay the preset's.
    #[must_use]
    pub fn overlay(self, over: Self) -> Self {
        let event = match (self.event, over.event) {
            (Some(below), Some(above)) => Some(below.overlay(above)),
            (below, above) => above.or(below),
        };
        Self {
            verify: over.verify.or(self.verify),
            event,
            handshake: over.handshake.or(self.handshake),
            reply: over.reply.or(self.reply),
            retries: over.retries.or(self.retries),
            methods: over.methods.or(self.methods),
            content_types: over.content_types.or(self.content_types),
            max_body: over.max_body.or(self.max_body),
            conflict_ignore: over.conflict_ignore.or(self.conflict_ignore),
        }
    }
}

impl EventSpec {
    fn overlay(self, over: Self) -> Self {
        Self {
            format: over.format.or(self.format),
            id: over.id.or(self.id),
            kind: over.kind.or(self.kind),
            time: over.time.or(self.time),
            attempt: over.attempt.or(self.attempt),
            tenant: over.tenant.or(self.tenant),
            split: over.split.or(self.split),
            empty_ok: over.empty_ok.or(self.empty_ok),
        }
    }
}
