//! A compiled scheme: how requests of one source prove where they come from.

use chrono::{DateTime, Utc};

use super::Proof;
use super::field::Field;
use super::jwt::JwtScheme;
use super::keyring::{Fetched, KeyWanted};
use super::rejection::Rejection;
use super::signed::{From, SignedScheme};
use super::token::{AUTHORIZATION, BasicScheme, TokenScheme};
use crate::received::Received;

mod several;

pub(super) use several::reached;
use several::{all, any, sign_any};

/// How requests of one source prove where they come from.
#[derive(Debug, Clone)]
pub(crate) enum Scheme {
    /// A signature over a template of the request.
    Signed(Box<SignedScheme>),
    /// A JSON Web Token.
    Jwt(Box<JwtScheme>),
    /// A token.
    Token(TokenScheme),
    /// HTTP Basic.
    Basic(BasicScheme),
    /// Everything is accepted, because the operator wrote so.
    Unsigned,
    /// The first that accepts.
    Any(Vec<Scheme>),
    /// All must accept.
    All(Vec<Scheme>),
}

/// How much of the body a scheme's signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Integrity {
    /// Nothing: who holds a captured request can send any body with it.
    None,
    /// Some of its values.
    Partial,
    /// Every byte.
    Full,
}

impl Integrity {
    /// `full`, `partial` or `none`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Partial => "partial",
            Self::Full => "full",
        }
    }
}

impl Scheme {
    /// Accepts or refuses a request as of `now`.
    pub(crate) fn verify(
        &self,
        received: &Received,
        now: DateTime<Utc>,
    ) -> Result<Proof, Rejection> {
        match self {
            Self::Signed(scheme) => scheme.verify(received, now),
            Self::Jwt(scheme) => scheme.verify(received, now),
            Self::Token(scheme) => scheme.verify(received),
            Self::Basic(scheme) => scheme.verify(received),
            Self::Unsigned => Ok(Proof::mint(None, None)),
            Self::Any(members) => any(members, |member| member.verify(received, now)),
            Self::All(members) => all(members, |member| member.verify(received, now)),
        }
    }

    /// As [`Scheme::verify`], and the proof tells what the signature covers. Of several ways in, the one
    /// by which the request came: only that one knows, so it is asked on the way.
    pub(crate) fn verify_covering(
        &self,
        received: &Received,
        now: DateTime<Utc>,
    ) -> Result<Proof, Rejection> {
        match self {
            Self::Signed(scheme) => {
                scheme.verify(received, now).map(|proof| proof.covering(scheme.covered(received)))
            }
            Self::Jwt(scheme) => {
                scheme.verify(received, now).map(|proof| proof.covering(scheme.covered(received)))
            }
            Self::Token(_) | Self::Basic(_) | Self::Unsigned => self.verify(received, now),
            Self::Any(members) => any(members, |member| member.verify_covering(received, now)),
            Self::All(members) => all(members, |member| member.verify_covering(received, now)),
        }
    }

    /// Makes `received` one that [`Scheme::verify`] accepts as of `now`.
    pub(crate) fn sign(
        &self,
        received: &mut Received,
        now: DateTime<Utc>,
        secret: usize,
        fresh_id: &str,
    ) -> Result<(), String> {
        match self {
            Self::Signed(scheme) => scheme.sign(received, now, secret, fresh_id),
            Self::Jwt(scheme) => scheme.sign(received, now, secret, fresh_id),
            Self::Token(scheme) => scheme.sign(received, secret),
            Self::Basic(scheme) => scheme.sign(received, secret),
            Self::Unsigned => Ok(()),
            Self::Any(members) => sign_any(members, received, now, secret, fresh_id),
            // Members with secrets of their own have them pinned; the caller's choice is for those
            // that share one.
            Self::All(members) => members.iter().try_for_each(|member| {
                let pinned = member.first_secret().filter(|_| !member.has_secret(secret));
                member.sign(received, now, pinned.unwrap_or(secret), fresh_id)
            }),
        }
    }

    /// How much of the body is covered, whichever way a request is accepted.
    pub(crate) fn integrity(&self) -> Integrity {
        match self {
            Self::Signed(scheme) => scheme.integrity(),
            Self::Jwt(scheme) => scheme.integrity(),
            Self::Token(_) | Self::Basic(_) | Self::Unsigned => Integrity::None,
            Self::Any(members) => {
                members.iter().map(Self::integrity).min().unwrap_or(Integrity::None)
            }
            Self::All(members) => {
                members.iter().map(Self::integrity).max().unwrap_or(Integrity::None)
            }
        }
    }

    /// Whether `field` is signed, whichever way a request is accepted.
    pub(crate) fn signs(&self, field: &Field) -> bool {
        match self {
            Self::Signed(scheme) => scheme.signs(field),
            Self::Jwt(scheme) => scheme.signs(field),
            Self::Token(_) | Self::Basic(_) | Self::Unsigned => false,
            Self::Any(members) => members.iter().all(|member| member.signs(field)),
            Self::All(members) => members.iter().any(|member| member.signs(field)),
        }
    }

    /// Whether the registered URL is signed, whichever way a request is accepted.
    #[cfg(test)]
    pub(crate) fn signs_url(&self) -> bool {
        match self {
            Self::Signed(scheme) => scheme.content.has_url(),
            Self::Jwt(scheme) => scheme.expected.urls.is_any(),
            Self::Token(_) | Self::Basic(_) | Self::Unsigned => false,
            Self::Any(members) => members.iter().all(Self::signs_url),
            Self::All(members) => members.iter().any(Self::signs_url),
        }
    }

    /// Where the ways that accept this request read its signature or token.
    pub(crate) fn shown(&self, received: &Received, now: DateTime<Utc>) -> Vec<Field> {
        match self {
            Self::Any(members) => members
                .iter()
                .filter(|member| member.verify(received, now).is_ok())
                .flat_map(|member| member.shown(received, now))
                .collect(),
            Self::All(members) => {
                members.iter().flat_map(|member| member.shown(received, now)).collect()
            }
            Self::Signed(scheme) => match &scheme.from {
                From::Field(field) => vec![field.clone()],
                From::Headers(prefix) => received
                    .headers
                    .iter()
                    .filter(|(name, _)| name.starts_with(prefix.as_str()))
                    .map(|(name, _)| Field::Header(name.to_owned()))
                    .collect(),
            },
            Self::Jwt(scheme) => vec![scheme.from.clone()],
            Self::Token(scheme) => vec![scheme.from.clone()],
            Self::Basic(_) => vec![Field::Header(AUTHORIZATION.to_owned())],
            Self::Unsigned => Vec::new(),
        }
    }

    /// Whether every way in yields a signed id.
    pub(crate) fn has_signed_id(&self) -> bool {
        match self {
            Self::Signed(scheme) => scheme.id.as_ref().is_some_and(|id| self.signs(id)),
            Self::Jwt(_) | Self::Token(_) | Self::Basic(_) | Self::Unsigned => false,
            Self::Any(members) => members.iter().all(Self::has_signed_id),
            Self::All(members) => members.iter().any(Self::has_signed_id),
        }
    }

    /// Where the signed id stands: one place for each way in.
    pub(crate) fn id_fields(&self) -> Vec<&Field> {
        match self {
            Self::Signed(scheme) => scheme.id.iter().collect(),
            Self::Jwt(_) | Self::Token(_) | Self::Basic(_) | Self::Unsigned => Vec::new(),
            Self::Any(members) | Self::All(members) => {
                members.iter().flat_map(Self::id_fields).collect()
            }
        }
    }

    /// Whether some way in judges a signed time.
    pub(crate) fn has_clock(&self) -> bool {
        match self {
            Self::Signed(scheme) => scheme.clock.as_ref().is_some_and(|clock| clock.signed),
            Self::Jwt(scheme) => scheme.has_clock(),
            Self::Token(_) | Self::Basic(_) | Self::Unsigned => false,
            Self::Any(members) | Self::All(members) => members.iter().any(Self::has_clock),
        }
    }

    /// When a request was signed, as it says: the first way in that has a signed time there.
    pub(crate) fn signed_time(&self, received: &Received) -> Option<DateTime<Utc>> {
        match self {
            Self::Signed(scheme) => scheme.signed_time(received),
            Self::Any(members) | Self::All(members) => {
                members.iter().find_map(|member| member.signed_time(received))
            }
            _ => None,
        }
    }

    /// The headers in which it looks for proof.
    pub(crate) fn headers(&self) -> Vec<String> {
        match self {
            Self::Signed(scheme) => match &scheme.from {
                From::Field(Field::Header(name)) => vec![name.clone()],
                _ => Vec::new(),
            },
            Self::Token(TokenScheme { from: Field::Header(name), .. }) => vec![name.clone()],
            Self::Any(members) | Self::All(members) => {
                members.iter().flat_map(Self::headers).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Overwrites what in the head of a request would let its holder send another body: tokens, and
    /// signatures that don't cover the body. What lies in the body stays.
    pub(crate) fn conceal(&self, received: &mut Received) {
        match self {
            Self::Signed(_) | Self::Jwt(_) if self.integrity() == Integrity::Full => {}
            Self::Jwt(scheme) => scheme.from.conceal(received),
            Self::Signed(scheme) => match &scheme.from {
                From::Field(field) => field.conceal(received),
                From::Headers(prefix) => {
                    let names: Vec<String> = received
                        .headers
                        .iter()
                        .filter(|(name, _)| name.starts_with(prefix.as_str()))
                        .map(|(name, _)| name.to_owned())
                        .collect();
                    names.into_iter().for_each(|name| Field::Header(name).conceal(received));
                }
            },
            Self::Token(scheme) => scheme.from.conceal(received),
            Self::Basic(_) => Field::Header(AUTHORIZATION.to_owned()).conceal(received),
            Self::Unsigned => {}
            Self::Any(members) | Self::All(members) => {
                members.iter().for_each(|member| member.conceal(received));
            }
        }
    }

    /// The key that has to be fetched before this request can be judged; of several, one that can't
    /// be done without.
    pub(crate) fn wanted(&self, received: &Received, now: DateTime<Utc>) -> Option<KeyWanted> {
        match self {
            Self::Signed(scheme) => scheme.wanted(received, now),
            Self::Jwt(scheme) => scheme.wanted(received, now),
            Self::Token(_) | Self::Basic(_) | Self::Unsigned => None,
            Self::Any(members) | Self::All(members) => {
                let mut wanted = members.iter().filter_map(|it| it.wanted(received, now));
                let first = wanted.next()?;
                if first.is_urgent() { Some(first) } else { wanted.next().or(Some(first)) }
            }
        }
    }

    /// Where its keys come from, where they are fetched.
    pub(crate) fn fetched(&self) -> Vec<&Fetched> {
        match self {
            Self::Signed(scheme) => scheme.fetched.iter().collect(),
            Self::Jwt(scheme) => scheme.fetched.iter().collect(),
            Self::Token(_) | Self::Basic(_) | Self::Unsigned => Vec::new(),
            Self::Any(members) | Self::All(members) => {
                members.iter().flat_map(Self::fetched).collect()
            }
        }
    }

    /// Whether it accepts everything.
    pub(crate) fn is_unsigned(&self) -> bool {
        matches!(self, Self::Unsigned)
    }

    fn positions(&self) -> Vec<usize> {
        match self {
            Self::Signed(scheme) => scheme.keys.iter().map(|key| key.position).collect(),
            Self::Jwt(scheme) => scheme.keys.iter().map(|key| key.position).collect(),
            Self::Token(TokenScheme { secrets, .. }) | Self::Basic(BasicScheme { secrets }) => {
                secrets.iter().map(|(position, _)| *position).collect()
            }
            Self::Unsigned => Vec::new(),
            Self::Any(members) | Self::All(members) => {
                members.iter().flat_map(Self::positions).collect()
            }
        }
    }

    fn first_secret(&self) -> Option<usize> {
        self.positions().first().copied()
    }

    /// Whether it uses the secret at this position.
    pub(crate) fn has_secret(&self, position: usize) -> bool {
        self.positions().contains(&position)
    }
}
