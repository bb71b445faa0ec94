//! What a scheme proves, derived from it: for `provider show`, and for warnings.

use super::compile::{Faults, Surroundings, reader, root_scheme};
use super::identity::{Format, Place, Reader};
use super::spec::SourceSpec;
use crate::verify::Integrity;
use crate::verify::field::Field;
use crate::verify::json::Pointer;
use crate::verify::scheme::Scheme;

mod signing;

pub use signing::{Beside, Signing};

/// What a scheme proves, and where its ids are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// In a few words, such as `HMAC-SHA256`.
    pub scheme: String,
    /// How much of the body the signature covers.
    pub integrity: Integrity,
    /// Whether a signed timestamp limits how old a request may be.
    pub fresh: bool,
    /// Whether the id is signed, wherever it comes from. If not, who holds a captured request can
    /// send it again as a new event.
    pub id_signed: bool,
    /// Where the id is, in the order of trying, such as `header:x-github-delivery`.
    pub id_places: Vec<String>,
    /// Where the type is, in the order of trying; empty where the source has none.
    pub type_places: Vec<String>,
    /// Whether the type is signed, wherever it comes from. If not, who holds a captured request can name
    /// another one. True where there is none.
    pub type_signed: bool,
    /// How a request of several events is split; `None` when each request is one.
    pub batch: Option<Batch>,
    /// Where public keys are fetched from while the source has no secrets, in a few words each.
    pub keys_from: Vec<String>,
    /// What of a request has to do with its signature.
    pub signing: Signing,
}

/// How a batch is split, in the preset's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Pointers with `*` to the events of a JSON document.
    pub pointers: Vec<String>,
    /// Whether each line is an event.
    pub lines: bool,
    /// The form's field that holds the document, when it isn't the body itself.
    pub form_field: Option<String>,
}

impl SourceSpec {
    /// What this spec proves, without any secret. Fails with every fault of it.
    pub fn facts(&self) -> Result<Facts, Vec<String>> {
        let mut faults = Faults::default();
        // `{url}` stands for something: which, makes no difference here.
        let surroundings = Surroundings {
            secrets: None,
            tolerance: None,
            url: Some("https://example.invalid/"),
            params: None,
            strict: true,
        };
        let scheme = root_scheme(self.verify.as_ref(), &surroundings, &mut faults);
        let ignore = self.conflict_ignore.clone().unwrap_or_default();
        let reader = reader(self, scheme.as_ref(), "", &ignore, &mut faults);
        match (scheme, reader) {
            (Some(scheme), Some(reader)) if faults.0.is_empty() => Ok(of(&scheme, &reader)),
            _ => Err(faults.0),
        }
    }
}

/// The facts of a compiled source.
pub(super) fn of(scheme: &Scheme, reader: &Reader) -> Facts {
    let texts = |places: &[Place]| places.iter().map(ToString::to_string).collect();
    let signed = |places: &[Place]| places.iter().all(|place| is_signed(place, scheme, reader));
    Facts {
        scheme: name(scheme),
        integrity: scheme.integrity(),
        fresh: scheme.has_clock(),
        id_signed: signed(&reader.id),
        id_places: texts(&reader.id),
        type_places: texts(&reader.kind),
        type_signed: signed(&reader.kind),
        batch: batch(reader),
        keys_from: keys_from(scheme),
        signing: signing::of(scheme),
    }
}

fn batch(reader: &Reader) -> Option<Batch> {
    let split = reader.split.as_ref()?;
    let form_field = reader.formats.iter().find_map(|format| match format {
        Format::FormField(name) => Some(name.clone()),
        _ => None,
    });
    let pointers = split.selectors.iter().map(|it| it.as_str().to_owned()).collect();
    Some(Batch { pointers, lines: split.lines, form_field })
}

fn keys_from(scheme: &Scheme) -> Vec<String> {
    let mut places: Vec<String> = scheme.fetched().into_iter().map(|it| it.place()).collect();
    places.dedup();
    places
}

fn name(scheme: &Scheme) -> String {
    let joined = |members: &[Scheme], word: &str| {
        let mut names: Vec<String> = members.iter().map(name).collect();
        names.dedup();
        names.join(word)
    };
    match scheme {
        Scheme::Signed(signed) => signed.algorithm.name().to_owned(),
        Scheme::Jwt(jwt) => {
            let algs: Vec<&str> = jwt.algs.iter().map(|alg| alg.name()).collect();
            format!("JSON Web Token by {}", algs.join(" or "))
        }
        Scheme::Token(token) => format!("token in {}", token.from),
        Scheme::Basic(_) => "HTTP Basic".to_owned(),
        Scheme::Unsigned => "none: everything is accepted".to_owned(),
        Scheme::Any(members) => joined(members, " or "),
        Scheme::All(members) => joined(members, " and "),
    }
}

fn is_signed(place: &Place, scheme: &Scheme, reader: &Reader) -> bool {
    match place {
        Place::Body(_, text) => {
            scheme.integrity() == Integrity::Full
                || Pointer::parse(text).is_ok_and(|pointer| scheme.signs(&Field::Body(pointer)))
        }
        Place::Item(_, text) => {
            let pointer = Pointer::parse(text).ok();
            signs_item(scheme, reader, pointer.map(Field::Body).as_ref())
        }
        Place::ItemHash => signs_item(scheme, reader, None),
        Place::Field(field) => scheme.signs(field),
        // There are claims only of a token that was verified.
        Place::Claim(_) => true,
        Place::Signed(_) => scheme.has_signed_id(),
        Place::Concat(parts) | Place::Dotted(parts) => {
            parts.iter().all(|part| is_signed(part, scheme, reader))
        }
        Place::BodyHash | Place::Xml(..) | Place::Key(_) => scheme.integrity() == Integrity::Full,
        Place::CoveredHash => scheme.integrity() != Integrity::None,
        Place::Never => false,
    }
}

/// Whether `field` of each part of a batch is signed, or all of the part when `None`: with the body,
/// or where each part is signed by itself.
fn signs_item(scheme: &Scheme, reader: &Reader, field: Option<&Field>) -> bool {
    match scheme {
        _ if scheme.integrity() == Integrity::Full => true,
        Scheme::Signed(signed) => {
            let parts = reader.split.as_ref().map(|split| split.selectors.as_slice());
            signed.each.is_some()
                && signed.each.as_ref().map(std::slice::from_ref) == parts
                && (signed.content.has_body()
                    || field.is_some_and(|field| signed.content.has_field(field)))
        }
        Scheme::Any(members) => members.iter().all(|member| signs_item(member, reader, field)),
        Scheme::All(members) => members.iter().any(|member| signs_item(member, reader, field)),
        _ => false,
    }
}
