//! Requests that are answered and not recorded: challenges by which a provider makes sure that the
//! address is ours, and by which it hands us a secret.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use url::Url;

use self::echo::Echo;
use super::Source;
use crate::received::Received;
use crate::secret::Secret;
use crate::verify::field::Field;
use crate::verify::host::{self, HostPattern};
use crate::verify::scheme::Scheme;
use crate::verify::{Code, Proof, Rejection, token};

mod compile;
mod echo;

pub(super) use compile::{Around, compile};
pub use echo::{BODY_ECHO_BYTES_MAX, ECHO_BYTES_MAX};

/// The answer to a handshake.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The content type.
    pub content_type: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// What must be done before it is sent. When it can't be done, it isn't sent.
    pub first: Option<Deed>,
}

/// What a handshake asks us to do.
#[derive(Debug, Clone)]
pub enum Deed {
    /// To get this URL. Its host is one of those that the settings allow.
    Fetch(Url),
    /// To keep this secret and to verify with it from now on.
    Capture(Secret),
}

/// A compiled handshake.
#[derive(Debug, Clone)]
pub(super) struct Handshake {
    needs: Needs,
    method: Option<String>,
    /// The path outside of the source's own at which it stands.
    path: Option<String>,
    fields: Vec<(Field, Wanted)>,
    absent: Vec<Field>,
    checks: Vec<(Field, Secret)>,
    refuse: u16,
    capture: Option<Field>,
    only_pending: bool,
    callout: Option<Callout>,
    status: u16,
    content_type: Option<String>,
    headers: Vec<(String, Echo)>,
    body: Echo,
}

/// What a handshake must prove.
#[derive(Debug, Clone)]
enum Needs {
    Nothing,
    /// What the source's events prove.
    Scheme,
    /// The same by a secret that everybody knows.
    Published(Box<Scheme>),
}

impl Handshake {
    /// Whether whoever asks gets something signed by the source's secret.
    pub(super) fn signs_for_anybody(&self) -> bool {
        let mut echoes = self.headers.iter().map(|(_, echo)| echo).chain([&self.body]);
        matches!(self.needs, Needs::Nothing) && echoes.any(Echo::has_mac)
    }
}

/// What must stand in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Anything,
    Text(String),
    /// Lower-case hex digits, so many.
    Hex(usize, usize),
}

/// Where a URL stands, and the hosts that it may be on.
#[derive(Debug, Clone)]
struct Callout {
    from: Field,
    hosts: Vec<HostPattern>,
}

/// What a request turns out to be.
pub(super) enum Met {
    Handshake(Answer),
    /// No handshake: an event that was proven.
    Event(Proof),
}

/// Finds the first handshake of the list that `received` is, or proves it as an event.
///
/// The scheme is asked once. A body is looked into before its proof only for the handshakes that are
/// written to need none.
pub(super) fn meet(
    source: &Source,
    received: &Received,
    now: DateTime<Utc>,
) -> Result<Met, Rejection> {
    let mut own: Option<Result<Proof, Rejection>> = None;
    let (mut unproven, mut closed) = (false, false);
    let path = path_of(received);
    for handshake in source.handshakes.iter().filter(|it| it.stands_at(source, path)) {
        let answered = match &handshake.needs {
            Needs::Nothing => {
                let matches = handshake.matches(received);
                let open = !matches || handshake.is_open(source, received);
                closed |= !open;
                matches && open
            }
            Needs::Scheme => {
                let proven = own.get_or_insert_with(|| source.verify(received, now)).is_ok();
                unproven |= !proven && handshake.may_match(received);
                proven && handshake.matches(received)
            }
            Needs::Published(scheme) => {
                let proven = own.get_or_insert_with(|| source.verify(received, now)).is_ok();
                !proven && handshake.matches(received) && scheme.verify(received, now).is_ok()
            }
        };
        if answered {
            let answer = handshake.answer(received)?;
            if let Some(Deed::Capture(secret)) = &answer.first {
                source.check_captured(secret).map_err(|why| {
                    let detail = format!("the handshake's secret can't be one: {why}");
                    Rejection::new(Code::HandshakeRefused, detail)
                })?;
            }
            return Ok(Met::Handshake(answer));
        }
    }
    if path != source.path() && source.extra_paths().any(|extra| extra == path) {
        return Err(Rejection::new(Code::UnknownSource, "only a handshake may come to this path"));
    }
    if !source.methods.contains(&received.method) && !unproven {
        let detail = "this source takes this method for handshakes only, and this is none";
        return Err(Rejection::new(Code::MethodNotAllowed, detail));
    }
    match own.unwrap_or_else(|| source.verify(received, now)) {
        Ok(proof) => Ok(Met::Event(proof)),
        Err(_) if closed => Err(Rejection::new(
            Code::HandshakeClosed,
            "this source has its secret: a handshake can't replace it; see `hookonce source reopen`",
        )),
        Err(rejection) => Err(rejection),
    }
}

/// The scheme by which `received` would be a handshake that anybody may sign: the provider's test, by the
/// secret that it publishes.
pub(super) fn test_scheme<'a>(source: &'a Source, received: &Received) -> Option<&'a Scheme> {
    source.handshakes.iter().find_map(|handshake| match &handshake.needs {
        Needs::Published(scheme) if handshake.matches(received) => Some(&**scheme),
        _ => None,
    })
}

/// The path of a request's target.
pub(super) fn path_of(received: &Received) -> &str {
    received.target.split('?').next().unwrap_or_default()
}

impl Handshake {
    /// The path outside of the source's own at which it stands.
    pub(super) fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The method that it names.
    pub(super) fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// Where the secret stands that it brings.
    pub(super) fn captures(&self) -> Option<&Field> {
        self.capture.as_ref()
    }

    /// Whether it stands at this path. A source's path may have changed since a request was kept, so
    /// every path that isn't another handshake's counts as the source's own.
    pub(super) fn stands_at(&self, source: &Source, path: &str) -> bool {
        match &self.path {
            Some(extra) => extra == path,
            None => path == source.path() || !source.extra_paths().any(|extra| extra == path),
        }
    }

    /// Whether `received`, of which only the head may be there, can still turn out to be it.
    pub(super) fn may_match(&self, received: &Received) -> bool {
        self.method.as_ref().is_none_or(|method| *method == received.method)
            && self.fields.iter().filter(|(field, _)| !field.is_in_body()).all(|(field, wanted)| {
                field.read(received).is_ok_and(|value| value.is_some_and(|it| wanted.fits(&it)))
            })
            && self
                .absent
                .iter()
                .filter(|field| !field.is_in_body())
                .all(|it| is_absent(it, received))
    }

    fn matches(&self, received: &Received) -> bool {
        // Of two values, one might be the wanted one, and the other one be acted upon: what can't be
        // read doesn't match.
        self.may_match(received)
            && self.fields.iter().filter(|(field, _)| field.is_in_body()).all(|(field, wanted)| {
                field.read(received).is_ok_and(|value| value.is_some_and(|it| wanted.fits(&it)))
            })
            && self
                .absent
                .iter()
                .filter(|field| field.is_in_body())
                .all(|it| is_absent(it, received))
    }

    /// Whether it counts in the source's state. One that brings the secret that was captured already
    /// is the provider's second try: our first answer was lost.
    fn is_open(&self, source: &Source, received: &Received) -> bool {
        if !self.only_pending || source.is_pending() {
            return true;
        }
        let Some(field) = &self.capture else { return false };
        field.read(received).is_ok_and(|value| value.is_some_and(|it| source.has_captured(&it)))
    }

    /// The answer; a refusal when it doesn't show what it must, or when what the answer repeats is
    /// missing or can't be repeated.
    fn answer(&self, received: &Received) -> Result<Answer, Rejection> {
        for (field, secret) in &self.checks {
            let shown = field.read(received).ok().flatten();
            if !shown.is_some_and(|shown| token::same(&shown, secret)) {
                let detail = format!("{field} is not what the settings say");
                return Err(Rejection::new(Code::HandshakeRefused, detail).with_status(self.refuse));
            }
        }
        let mut headers = Vec::with_capacity(self.headers.len() + 1);
        // The body may repeat what a stranger sent: no browser shall take it for a page.
        headers.push(("x-content-type-options".to_owned(), "nosniff".to_owned()));
        for (name, value) in &self.headers {
            let value = value.resolve(received)?;
            if value.chars().any(char::is_control) {
                return Err(malformed("the handshake's value can't stand in a header"));
            }
            headers.push((name.clone(), value));
        }
        Ok(Answer {
            status: self.status,
            content_type: self.content_type.clone(),
            headers,
            body: Bytes::from(self.body.resolve(received)?),
            first: self.first(received)?,
        })
    }

    fn first(&self, received: &Received) -> Result<Option<Deed>, Rejection> {
        if let Some(callout) = &self.callout {
            let url = text(&callout.from, received)?;
            let url = host::allowed(&url, &callout.hosts).map_err(|why| {
                let detail = format!("what stands in {} {why}", callout.from);
                Rejection::new(Code::HandshakeRefused, detail).with_status(self.refuse)
            })?;
            return Ok(Some(Deed::Fetch(url)));
        }
        let Some(field) = &self.capture else { return Ok(None) };
        Ok(Some(Deed::Capture(Secret::new(text(field, received)?))))
    }
}

impl Wanted {
    fn fits(&self, value: &[u8]) -> bool {
        match self {
            Self::Anything => true,
            Self::Text(text) => text.as_bytes() == value,
            Self::Hex(min, max) => {
                (*min..=*max).contains(&value.len())
                    && value.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
            }
        }
    }
}

/// Whether nothing stands in a place. Of what can't be read, nobody knows.
fn is_absent(field: &Field, received: &Received) -> bool {
    field.read(received).is_ok_and(|value| value.is_none_or(|value| value.is_empty()))
}

/// The text in a place.
fn text(field: &Field, received: &Received) -> Result<String, Rejection> {
    let value = field
        .read(received)
        .map_err(|why| malformed(&format!("{field} can't be read: {why}")))?
        .ok_or_else(|| malformed(&format!("the handshake lacks {field}")))?;
    match std::str::from_utf8(&value) {
        Ok(text) if text.len() <= ECHO_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(malformed(&format!("{field} is longer than {ECHO_BYTES_MAX} bytes, or not text"))),
    }
}

fn malformed(detail: &str) -> Rejection {
    Rejection::new(Code::BodyMalformed, detail)
}

#[cfg(test)]
mod tests;
