//! The vocabulary in which presets and operators describe a source.
//!
//! These types say what may be *written*. [`crate::source::Source::compile`] turns them into what is
//! used, and reports every fault at once. A word that the vocabulary knows but that isn't built yet
//! is a fault there: it is never accepted and inert.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod handshake;
pub mod jwt;
pub mod key;
pub mod reply;
pub mod scheme;
pub mod signature;
pub mod text;
mod word;

pub use handshake::{CalloutSpec, HandshakeReplySpec, HandshakeSpec, MatchSpec, SourceState};
pub use jwt::{JwtAlg, JwtSpec, TimeClaim};
pub use key::{JwksSpec, KeyDecode, KeySpec, PemUrlSpec, X509Spec};
pub use reply::{OkSpec, ReplySpec, RetriesSpec};
pub use scheme::{BodyDigestSpec, Curve, DigestHash, Hash, RsaHash, SchemeSpec, TokenSpec};
pub use signature::{
    Encoding, GrammarSpec, KeyedSpec, KvSpec, Lines, ListSpec, PlainSpec, PositionalSpec,
    SignatureSpec, TimestampSpec, Unit,
};
pub use text::{DurationText, OneOrMore, SizeText, Texts, Unbuilt};

/// How to verify and what to read. Every key is optional here, so that an operator's keys can be
/// laid over a preset's; what is missing in the end is a fault of [`crate::source::Source::compile`].
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {
    /// How a request proves where it comes from: a scheme, or `"none"`.
    #[serde(deserialize_with = "word::word_or_table", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<word::WordOrTable>")]
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
/// `form:NAME:/pointer`, the same with `part` for multipart/form-data, `body:/pointer`, `item:/pointer`
/// (inside of one part of a `split` batch),
/// `xml:/root/name` (the text of an element, by the names as they are written), `claim:NAME` (of a verified JSON Web Token), `signed`
/// (the id that the scheme signed), `concat(place, place, …)`, `sha256(body)`, `sha256(item)` and
/// `none`; for a type also `dotted(place, place, …)` (what is there, joined by dots) and `key:PATTERN`
/// (the first key of a JSON object that the pattern matches, or with `!` doesn't).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventSpec {
    /// What the body is: `json`, `form`, `multipart`, `form_field(NAME)` (JSON in a form's field), `ndjson`, `xml`,
    /// `base64_xml(NAME)` (in a form's field), `text`, `raw` or `empty`; or several, of which the
    /// first that the bytes are is taken. When absent: `json` if the id is in the body, else
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
    /// How a batch is split into events: pointers with `*`, such as `/events/*`, all of which are
    /// taken, or `ndjson`. A body in which none of their arrays stands is one event, and so is an
    /// element in which none of the inner arrays stands. Each event is kept with the document's own
    /// bytes without the other parts (of `ndjson` its line, of `form_field` the JSON alone), to which
    /// `conflict_ignore` applies. An id must come from the part: else all parts would have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Texts>,
    /// Whether a batch without any event is acked. False when absent: it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_ok: Option<bool>,
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
