//! Answers that a provider wants other than the usual ones. Data, not decisions: which answer is
//! due, and what it is when nothing is said here, is up to `http`.

use super::compile::Faults;
use super::spec::ReplySpec;
use crate::verify::Code;

/// A source's own answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// To a recorded event.
    pub ok: OkReply,
    /// The status for a missing or wrong signature.
    pub unauthorized: Option<u16>,
    /// The status for a request that can't be read.
    pub malformed: Option<u16>,
    /// The status when we are too busy or can't reach our database.
    pub overload: Option<u16>,
    /// Whether a refusal has no body.
    pub empty_refusals: bool,
}

/// The answer to a recorded event; what is `None` is as usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OkReply {
    /// The status.
    pub status: Option<u16>,
    /// The content type of the body.
    pub content_type: Option<String>,
    /// The exact body.
    pub body: Option<String>,
}

impl Reply {
    /// The status that the provider wants for a refusal with `code`, when it wants one of its own.
    #[must_use]
    pub fn status_for(&self, code: Code) -> Option<u16> {
        match code {
            Code::SignatureMissing
            | Code::SignatureMismatch
            | Code::TimestampMissing
            | Code::TimestampStale
            | Code::TimestampFuture => self.unauthorized,
            Code::SignatureMalformed | Code::IdMissing | Code::BodyMalformed => self.malformed,
            Code::RateLimited
            | Code::Overloaded
            | Code::StoreUnavailable
            | Code::KeyUnavailable
            | Code::HandshakeUnavailable => self.overload,
            Code::BodyTooLarge
            | Code::BodyTimeout
            | Code::ContentType
            | Code::UnknownSource
            | Code::IdConflict
            | Code::ReplaySuspected
            | Code::IpDenied
            | Code::MethodNotAllowed
            | Code::HandshakeRefused
            | Code::HandshakeClosed => None,
        }
    }
}

/// Checks the statuses: an answer must not say the opposite of what happened.
pub(super) fn compile(spec: Option<&ReplySpec>, faults: &mut Faults) -> Reply {
    let Some(spec) = spec else { return Reply::default() };
    let ok = spec.ok.clone().unwrap_or_default();
    for (path, status, range) in [
        ("reply.ok.status", ok.status, 200..=299),
        ("reply.unauthorized", spec.unauthorized, 400..=499),
        ("reply.malformed", spec.malformed, 400..=499),
        // Some providers never retry a 4xx, and remove a hook at 404 or 410.
        ("reply.overload", spec.overload, 500..=599),
    ] {
        if let Some(status) = status
            && !range.contains(&status)
        {
            let fault = format!("{status} is not between {} and {}", range.start(), range.end());
            faults.push(path, fault);
        }
    }
    if ok.body.is_none() && ok.content_type.is_some() {
        faults.push("reply.ok.type", "there is no body for it to describe: give `body`");
    }
    Reply {
        ok: OkReply { status: ok.status, content_type: ok.content_type, body: ok.body },
        unauthorized: spec.unauthorized,
        malformed: spec.malformed,
        overload: spec.overload,
        empty_refusals: spec.empty_refusals == Some(true),
    }
}
