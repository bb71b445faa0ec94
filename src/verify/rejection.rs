//! Why a request was refused at the door.

use std::fmt;

/// The stable codes of refusals: part of the contract with users, scripts and dashboards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// No signature, or an empty one.
    SignatureMissing,
    /// The signature, or what it covers, can't be read; or a header that must stand once stands twice.
    SignatureMalformed,
    /// No secret makes this signature.
    SignatureMismatch,
    /// No timestamp where the scheme signs one.
    TimestampMissing,
    /// Authentic, but older than the tolerance.
    TimestampStale,
    /// Authentic, but from the future.
    TimestampFuture,
    /// No readable id.
    IdMissing,
    /// The body isn't what the source declares.
    BodyMalformed,
    /// The body is longer than allowed.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTimeout,
    /// A media type that the source doesn't take.
    ContentType,
    /// No such source.
    UnknownSource,
    /// The id came before with another body.
    IdConflict,
    /// The same signed bytes were recorded before under another id.
    ReplaySuspected,
    /// An address that the source doesn't take.
    IpDenied,
    /// Too many failed verifications.
    RateLimited,
    /// Too much is waiting.
    Overloaded,
    /// The database is away.
    StoreUnavailable,
    /// The provider's public key can't be fetched.
    KeyUnavailable,
    /// A method that the source takes for a handshake only, or not at all.
    MethodNotAllowed,
    /// A handshake that doesn't show what it must.
    HandshakeRefused,
    /// A handshake that would bring a secret to a source that has one.
    HandshakeClosed,
    /// What a handshake asks us to do can't be done now.
    HandshakeUnavailable,
}

impl Code {
    /// Every code, in the contract's order.
    pub const ALL: [Self; 23] = [
        Self::SignatureMissing,
        Self::SignatureMalformed,
        Self::SignatureMismatch,
        Self::TimestampMissing,
        Self::TimestampStale,
        Self::TimestampFuture,
        Self::IdMissing,
        Self::BodyMalformed,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::ContentType,
        Self::UnknownSource,
        Self::IdConflict,
        Self::ReplaySuspected,
        Self::IpDenied,
        Self::RateLimited,
        Self::Overloaded,
        Self::StoreUnavailable,
        Self::KeyUnavailable,
        Self::MethodNotAllowed,
        Self::HandshakeRefused,
        Self::HandshakeClosed,
        Self::HandshakeUnavailable,
    ];

    /// Whether all that is wrong with a request is its time: it is authentic then, by every part of its
    /// source's scheme.
    #[must_use]
    pub const fn is_of_time(self) -> bool {
        matches!(self, Self::TimestampStale | Self::TimestampFuture)
    }

    /// The stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignatureMissing => "signature_missing",
            Self::SignatureMalformed => "signature_malformed",
            Self::SignatureMismatch => "signature_mismatch",
            Self::TimestampMissing => "timestamp_missing",
            Self::TimestampStale => "timestamp_stale",
            Self::TimestampFuture => "timestamp_future",
            Self::IdMissing => "id_missing",
            Self::BodyMalformed => "body_malformed",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::ContentType => "content_type",
            Self::UnknownSource => "unknown_source",
            Self::IdConflict => "id_conflict",
            Self::ReplaySuspected => "replay_suspected",
            Self::IpDenied => "ip_denied",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::StoreUnavailable => "store_unavailable",
            Self::KeyUnavailable => "key_unavailable",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::HandshakeRefused => "handshake_refused",
            Self::HandshakeClosed => "handshake_closed",
            Self::HandshakeUnavailable => "handshake_unavailable",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The stable code.
    pub code: Code,
    /// The reason in a sentence. Names what the source's settings name, never a value that the
    /// request brought, and never what the right signature was.
    pub detail: String,
    /// The status that the source's settings name for this very refusal.
    pub status: Option<u16>,
}

impl Rejection {
    /// Joins a code with its reason.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), status: None }
    }

    /// The same with a status of its own.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Rejection {}
