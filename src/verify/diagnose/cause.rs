//! The stable words of a diagnosis.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::verify::Code;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The cause.
    pub cause: Cause,
    /// A second one, when only both together make the request fit.
    pub also: Option<Cause>,
    /// Whether undoing it makes the request fit; when not, it is what the signs say.
    pub proven: bool,
    /// What happened and what to do: no value of a secret, nor of what the right signature would be.
    pub sentence: String,
}

impl Diagnosis {
    /// One that the signs say.
    pub(crate) fn new(cause: Cause, sentence: impl Into<String>) -> Self {
        Self { cause, also: None, proven: false, sentence: sentence.into() }
    }

    /// The step that failed.
    #[must_use]
    pub fn step(&self) -> Step {
        self.cause.step()
    }

    /// A detail with the diagnosis behind it, as rejections are kept.
    #[must_use]
    pub fn behind(&self, detail: &str) -> String {
        let also = self.also.map_or(String::new(), |also| format!("+{also}"));
        format!("{}{MARK}{}{also}: {}", one_line(detail), self.cause, one_line(&self.sentence))
    }

    /// Takes a kept detail apart: what [`Diagnosis::behind`] was given, and the diagnosis as it can
    /// be shown; `None` when there is none behind it.
    #[must_use]
    pub fn apart(kept: &str) -> (&str, Option<Shown>) {
        let parts = kept.rsplit_once(MARK).and_then(|(detail, rest)| {
            let (causes, sentence) = rest.split_once(": ")?;
            let (cause, also) = match causes.split_once('+') {
                Some((cause, also)) => (cause, Some(Cause::named(also)?)),
                None => (causes, None),
            };
            let cause = Cause::named(cause)?;
            Some((detail, Shown { cause, also, sentence: sentence.to_owned() }))
        });
        match parts {
            Some((detail, shown)) => (detail, Some(shown)),
            None => (kept, None),
        }
    }
}

/// A diagnosis as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The cause.
    pub cause: Cause,
    /// A second one.
    pub also: Option<Cause>,
    /// What happened and what to do.
    pub sentence: String,
}

/// Between a detail and its diagnosis; no detail has a line end otherwise.
const MARK: &str = "\n";

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.sentence)
    }
}

/// The steps by which a request is judged, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Method, content type, sender: before anything is proven.
    Request,
    /// Finding and reading the signature.
    Signature,
    /// Putting together what was signed.
    Content,
    /// Whether a secret makes this signature over it.
    Match,
    /// Whether it was signed lately.
    Freshness,
    /// Which event it is.
    Event,
}

impl Step {
    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Signature => "signature",
            Self::Content => "content",
            Self::Match => "match",
            Self::Freshness => "freshness",
            Self::Event => "event",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names the causes once: variant, word, step, what it means.
macro_rules! causes {
    ($($cause:ident $word:literal $step:ident $about:literal)*) => {
        /// Why a request was refused, as a stable word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Cause {
            $(#[doc = $about] $cause,)*
        }

        impl Cause {
            /// Every cause, by the step at which it fails.
            pub const ALL: &'static [Self] = &[$(Self::$cause,)*];

            /// The stable word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$cause => $word,)* }
            }

            /// The step that fails by it.
            #[must_use]
            pub const fn step(self) -> Step {
                match self { $(Self::$cause => Step::$step,)* }
            }

            /// What it means, in a few words.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$cause => $about,)* }
            }
        }
    };
}

causes! {
    MethodRefused "method_refused" Request "the source doesn't take this method"
    ContentType "content_type" Request "the source doesn't take this content type"
    SenderRefused "sender_refused" Request "the source doesn't take requests of this address"
    Precondition "precondition" Request "a value that the source demands is another one"
    Handshake "handshake" Request "a handshake that is refused"
    RequestRefused "request_refused" Request "refused before the signature was looked at"
    SignatureMissing "signature_missing" Signature "no signature where the source expects it"
    SignatureMalformed "signature_malformed" Signature "the signature can't be read"
    SignatureHeader "signature_header" Signature "the right signature, in another header"
    SignatureRepeated "signature_repeated" Signature "the header stands twice"
    SignatureJoined "signature_joined" Signature "a proxy joined two header lines to one"
    SignaturePrefix "signature_prefix" Signature "what stands before the signature is missing or another"
    SignatureFormat "signature_format" Signature "the right signature, written in another way"
    SignatureEncoding "signature_encoding" Signature "hex where base64 is wanted, or the like"
    SignatureEscaped "signature_escaped" Signature "percent-encoded or form-decoded on its way"
    SignatureWhiteSpace "signature_white_space" Signature "white space in or around the signature"
    SignatureQuoted "signature_quoted" Signature "quotes around the signature"
    SignatureCut "signature_cut" Signature "the right signature, cut"
    SignatureLonger "signature_longer" Signature "the right signature, with more behind it"
    OldVersion "old_version" Signature "signed in the provider's older way only"
    OtherProvider "other_provider" Signature "another provider's request"
    KeyUnavailable "key_unavailable" Signature "the provider's public key is not here"
    KeyId "key_id" Signature "signed by a key that the source doesn't have"
    TokenAlgorithm "token_algorithm" Signature "the token names an algorithm that the source doesn't take"
    TimeMissing "time_missing" Content "the signed timestamp is missing"
    TimeHeader "time_header" Content "the timestamp stands in another header"
    TimeFormat "time_format" Content "authentic, but its timestamp is written in another way"
    IdMissing "id_missing" Content "the signed id is missing"
    IdHeader "id_header" Content "the signed id stands in another header"
    CoveredMissing "covered_missing" Content "a value that is signed is missing"
    CoveredHeader "covered_header" Content "a value that is signed stands in another header"
    ContentTemplate "content_template" Content "something else is signed than the source's content"
    SignatureHash "signature_hash" Content "another hash"
    SecretDecoding "secret_decoding" Match "the secret is decoded in another way"
    SecretPrefix "secret_prefix" Match "a prefix of the secret is kept or lost"
    SecretWhiteSpace "secret_white_space" Match "the sender's secret has white space around it"
    SecretQuoted "secret_quoted" Match "quotes around the secret"
    SecretEscaped "secret_escaped" Match "percent escapes in the secret, as a URL has them"
    SecretCase "secret_case" Match "upper or lower case in the secret"
    BodyNewlineAdded "body_newline_added" Match "a line end was added to the body"
    BodyNewlineLost "body_newline_lost" Match "the body lost its last line end"
    BodyLineEnds "body_line_ends" Match "CRLF became LF, or the other way"
    BodyBomAdded "body_bom_added" Match "a byte order mark was added"
    BodyBomLost "body_bom_lost" Match "the byte order mark was lost"
    BodyWhiteSpace "body_white_space" Match "white space around the body"
    BodyCharset "body_charset" Match "the body's characters were recoded"
    BodyEscapes "body_escapes" Match "JSON escapes were written or resolved"
    BodyReserialised "body_reserialised" Match "the JSON was parsed and written anew"
    BodyDoubleEncoded "body_double_encoded" Match "the body was wrapped into a JSON string, or into base64"
    BodyFramed "body_framed" Match "the lengths of chunks, or a request's head, stand in the body"
    BodyFormEncoding "body_form_encoding" Match "the form was encoded in another way"
    BodyFormDecoded "body_form_decoded" Match "the form was decoded"
    BodyCompressed "body_compressed" Match "the body was compressed or decompressed"
    BodyTruncated "body_truncated" Match "the body is shorter than was promised"
    BodyEmpty "body_empty" Match "signed with an empty body, or the body was lost"
    BodyChanged "body_changed" Match "the signature fits, the body's hash doesn't"
    UrlScheme "url_scheme" Match "http where https is registered, or the other way"
    UrlHost "url_host" Match "another host than the registered one"
    UrlHostCase "url_host_case" Match "upper or lower case in the host"
    UrlPort "url_port" Match "with or without the port"
    UrlSlash "url_slash" Match "with or without the last slash"
    UrlPath "url_path" Match "another path than the registered one"
    UrlQuery "url_query" Match "the query was reordered, decoded or lost"
    TokenWrong "token_wrong" Match "none of the source's tokens"
    TokenPrefix "token_prefix" Match "what stands before the token"
    TokenEncoding "token_encoding" Match "the token is encoded or escaped"
    TokenUser "token_user" Match "the right password with another user"
    ClaimRefused "claim_refused" Match "a claim of the token is another one than the source demands"
    SecretOrder "secret_order" Match "the source's secrets stand in another order"
    OtherSource "other_source" Match "a request to another source of the same config"
    SecretPending "secret_pending" Match "the source waits for a handshake that hands it its secret"
    SecretWrong "secret_wrong" Match "another secret, or a change that can't be undone"
    Stale "stale" Freshness "authentic, but old"
    Future "future" Freshness "authentic, but ahead of our clock"
    TimeUnit "time_unit" Freshness "seconds for milliseconds, or the other way"
    TimeZone "time_zone" Freshness "wrong by whole hours"
    EventIdMissing "event_id_missing" Event "authentic, but without a readable id"
    BodyMalformed "body_malformed" Event "authentic, but its body is not what the source declares"
}

impl Cause {
    /// The cause with this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.as_str() == word)
    }

    /// What a code says by itself.
    pub(crate) const fn of(code: Code) -> Self {
        match code {
            Code::SignatureMissing => Self::SignatureMissing,
            Code::SignatureMalformed => Self::SignatureMalformed,
            Code::SignatureMismatch => Self::SecretWrong,
            Code::TimestampMissing => Self::TimeMissing,
            Code::TimestampStale => Self::Stale,
            Code::TimestampFuture => Self::Future,
            Code::IdMissing => Self::IdMissing,
            Code::BodyMalformed => Self::BodyMalformed,
            Code::ContentType => Self::ContentType,
            Code::MethodNotAllowed => Self::MethodRefused,
            Code::HandshakeRefused | Code::HandshakeClosed => Self::Handshake,
            Code::IpDenied => Self::SenderRefused,
            Code::KeyUnavailable => Self::KeyUnavailable,
            _ => Self::RequestRefused,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
