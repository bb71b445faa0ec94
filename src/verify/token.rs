//! Secrets that the sender shows as they are. They prove who sends, and nothing about the body.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Proof;
use super::encoding::Encoding;
use super::field::{Field, spliced};
use super::json::select::Selector;
use super::rejection::{Code, Rejection};
use super::template::malformed;
use crate::received::Received;
use crate::secret::Secret;

/// A token in a field of the request.
#[derive(Debug, Clone)]
pub(crate) struct TokenScheme {
    /// Each secret with its position among the source's.
    pub(crate) secrets: Vec<(usize, Secret)>,
    /// Where the token stands.
    pub(crate) from: Field,
    /// What stands before it.
    pub(crate) prefix: String,
    /// The parts of a batch in each of which it stands.
    pub(crate) each: Option<Selector>,
}

/// HTTP Basic (RFC 7617): each secret is `user:password`.
#[derive(Debug, Clone)]
pub(crate) struct BasicScheme {
    /// Each secret with its position among the source's.
    pub(crate) secrets: Vec<(usize, Secret)>,
}

/// Compares two texts in constant time. Both are hashed first, so that not even their lengths can be
/// told from how long it takes.
pub(crate) fn same(shown: &[u8], secret: &Secret) -> bool {
    let shown = Sha256::digest(shown);
    let wanted = Sha256::digest(secret.expose().as_bytes());
    shown.as_slice().ct_eq(wanted.as_slice()).into()
}

fn matching(
    secrets: &[(usize, Secret)],
    shown: &[u8],
    place: &dyn std::fmt::Display,
) -> Result<Proof, Rejection> {
    match secrets.iter().find(|(_, secret)| same(shown, secret)) {
        Some((position, _)) => Ok(Proof::mint(Some(*position), None)),
        None => Err(Rejection::new(
            Code::SignatureMismatch,
            format!("what {place} shows is none of this source's secrets"),
        )),
    }
}

fn missing(place: &dyn std::fmt::Display) -> Rejection {
    Rejection::new(Code::SignatureMissing, format!("{place} is missing or empty"))
}

impl TokenScheme {
    /// Accepts or refuses a request. Where each part of a batch shows a token, all must be right: one
    /// that isn't would ride in on the others.
    pub(crate) fn verify(&self, received: &Received) -> Result<Proof, Rejection> {
        let Some(selector) = &self.each else { return self.verify_part(received, &received.body) };
        let selection = selector.select(&received.body).map_err(|error| {
            Rejection::new(Code::SignatureMalformed, format!("the body is not JSON: {error}"))
        })?;
        if !selection.barren.is_empty() {
            return Err(missing(&self.from));
        }
        let mut proof = None;
        for part in selection.parts {
            proof = Some(self.verify_part(received, &received.body[part.span])?);
        }
        proof.ok_or_else(|| missing(&self.from))
    }

    fn verify_part(&self, received: &Received, part: &[u8]) -> Result<Proof, Rejection> {
        let shown = self.from.read_in(received, part).map_err(|why| malformed(&self.from, &why))?;
        let shown = shown.filter(|s| !s.is_empty()).ok_or_else(|| missing(&self.from))?;
        let Some(token) = shown.strip_prefix(self.prefix.as_bytes()) else {
            let detail = format!("{} does not begin with `{}`", self.from, self.prefix);
            return Err(Rejection::new(Code::SignatureMalformed, detail));
        };
        if token.is_empty() {
            return Err(missing(&self.from));
        }
        matching(&self.secrets, token, &self.from)
    }

    /// Shows the token.
    pub(crate) fn sign(&self, received: &mut Received, secret: usize) -> Result<(), String> {
        let token = format!("{}{}", self.prefix, chosen(&self.secrets, secret)?.expose());
        let (Some(selector), Field::Body(place)) = (&self.each, &self.from) else {
            return self.from.put(received, &token);
        };
        // From the last to the first: what is put into one part moves those behind it.
        let parts = selector.select(&received.body).map_err(|error| error.to_string())?.parts;
        for part in parts.into_iter().rev() {
            received.body = spliced(&received.body, part.span, place, &token)?;
        }
        Ok(())
    }
}

/// Where HTTP Basic stands.
pub(crate) const AUTHORIZATION: &str = "authorization";
const BASIC: &str = "Basic ";

impl BasicScheme {
    /// Accepts or refuses a request.
    pub(crate) fn verify(&self, received: &Received) -> Result<Proof, Rejection> {
        let field = Field::Header(AUTHORIZATION.to_owned());
        let shown = field.read(received).map_err(|why| malformed(&field, &why))?;
        let shown = shown.filter(|s| !s.is_empty()).ok_or_else(|| missing(&field))?;
        let credentials = shown
            .split_at_checked(BASIC.len())
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BASIC.as_bytes()))
            .and_then(|(_, encoded)| Encoding::Base64.decode(encoded));
        let Some(credentials) = credentials else {
            let detail = "header:authorization is not `Basic` and base64";
            return Err(Rejection::new(Code::SignatureMalformed, detail));
        };
        matching(&self.secrets, &credentials, &field)
    }

    /// Shows user and password.
    pub(crate) fn sign(&self, received: &mut Received, secret: usize) -> Result<(), String> {
        let credentials = chosen(&self.secrets, secret)?.expose();
        let encoded = Encoding::Base64.encode(credentials.as_bytes());
        Field::Header(AUTHORIZATION.to_owned()).put(received, &format!("{BASIC}{encoded}"))
    }
}

fn chosen(secrets: &[(usize, Secret)], position: usize) -> Result<&Secret, String> {
    secrets
        .iter()
        .find(|(p, _)| *p == position)
        .map(|(_, secret)| secret)
        .ok_or_else(|| format!("this source has no secret number {position} to show"))
}
