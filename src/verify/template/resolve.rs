//! The signed bytes of a request.

use std::borrow::Cow;

use super::{Content, Context, Part, Template, malformed, missing};
use crate::received::Received;
use crate::verify::field::FormKind;
use crate::verify::json;
use crate::verify::rejection::{Code, Rejection};
use crate::verify::url;

/// How many headers a list of signed headers may name.
const SIGNED_HEADERS_MAX: usize = 64;

/// How many pairs a form may have that is sorted before anything is proven.
const PAIRS_MAX: usize = 1_000;

impl Template {
    /// The signed bytes of a request, piece by piece.
    pub(crate) fn resolve<'a>(
        &'a self,
        received: &'a Received,
        context: &Context<'a>,
    ) -> Result<Content<'a>, Rejection> {
        let mut content = Vec::with_capacity(self.parts.len());
        resolve(&self.parts, received, context, &mut content)?;
        Ok(content)
    }
}

fn resolve<'a>(
    parts: &'a [Part],
    received: &'a Received,
    context: &Context<'a>,
    content: &mut Content<'a>,
) -> Result<(), Rejection> {
    for part in parts {
        match part {
            Part::Literal(bytes) => content.push(Cow::Borrowed(bytes.as_slice())),
            Part::Body => content.push(Cow::Borrowed(received.body.as_ref())),
            Part::Checksum => {
                let sum = crc32fast::hash(&received.body).to_string();
                content.push(Cow::Owned(sum.into_bytes()));
            }
            Part::Method => content.push(Cow::Borrowed(received.method.as_bytes())),
            Part::Secret => content.push(Cow::Borrowed(context.secret)),
            Part::Timestamp => content.push(Cow::Borrowed(context.ts.ok_or_else(|| {
                Rejection::new(Code::TimestampMissing, "the signed timestamp is missing")
            })?)),
            Part::Id => content.push(Cow::Borrowed(
                context
                    .id
                    .ok_or_else(|| Rejection::new(Code::IdMissing, "the signed id is missing"))?,
            )),
            Part::Url(registered, spelling) => {
                let url = url::spelled(url::called(registered, &received.target), *spelling);
                content.push(owned_text(url));
            }
            Part::Contentful(registered) => {
                content.push(Cow::Owned(contentful(registered.as_deref(), received).into_bytes()));
            }
            Part::Field(field, demand) => {
                match field.read_in(received, context.part).map_err(|why| malformed(field, &why))? {
                    Some(value) => {
                        if demand.without.is_some_and(|c| holds(&value, c)) {
                            let detail = format!(
                                "{field} holds the character that ends it in what is signed"
                            );
                            return Err(Rejection::new(Code::SignatureMalformed, detail));
                        }
                        content.push(value);
                    }
                    None if demand.or_nothing => {}
                    None => return Err(missing(field)),
                }
            }
            Part::Raw(pointer) => content.push(raw(context.part, pointer)?),
            Part::SortedForm => sorted_form(received, content)?,
            Part::Beside(name) => content.push(Cow::Borrowed(beside(context, name)?)),
            Part::SignedHeaders(name) => signed_headers(received, context, name, content)?,
            Part::HeaderLines(list) => header_lines(received, context, list, content)?,
            Part::Optional(inner) => {
                if all_there(inner, received, context)? {
                    resolve(inner, received, context, content)?;
                }
            }
        }
    }
    Ok(())
}

fn holds(value: &[u8], c: char) -> bool {
    let mut buffer = [0; 4];
    let c = c.encode_utf8(&mut buffer).as_bytes();
    value.windows(c.len()).any(|window| window == c)
}

fn owned_text(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Whether every value of an optional part is there, and isn't empty.
fn all_there(
    parts: &[Part],
    received: &Received,
    context: &Context<'_>,
) -> Result<bool, Rejection> {
    for part in parts {
        if let Part::Field(field, _) = part {
            let value =
                field.read_in(received, context.part).map_err(|why| malformed(field, &why))?;
            if value.is_none_or(|value| value.is_empty()) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn contentful(registered: Option<&str>, received: &Received) -> String {
    let (path, query) = match received.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (received.target.as_str(), None),
    };
    // A proxy may have cut the path: the provider signed the registered one.
    let registered = registered.and_then(|url| url.split_once("://")).map(|(_, rest)| rest);
    let path = registered
        .and_then(|rest| rest.find('/').map(|at| &rest[at..]))
        .map_or(path, |path| path.split('?').next().unwrap_or(path));
    url::contentful(path, query)
}

fn raw<'a>(document: &'a [u8], pointer: &json::Pointer) -> Result<Cow<'a, [u8]>, Rejection> {
    let what = || format!("body:{}", pointer.as_str());
    let found = json::scan(document, &[pointer]).map_err(|error| {
        Rejection::new(Code::SignatureMalformed, format!("the body is not JSON: {error}"))
    })?;
    if found.is_ambiguous(0) {
        let detail = format!("{} stands more than once", what());
        return Err(Rejection::new(Code::SignatureMalformed, detail));
    }
    let hit = found.hits.into_iter().next().flatten().ok_or_else(|| missing(&what()))?;
    Ok(Cow::Borrowed(&document[hit.span]))
}

/// Pairs in the order of their names; of one name each value once, in their order.
fn sorted_form<'a>(received: &'a Received, content: &mut Content<'a>) -> Result<(), Rejection> {
    FormKind::Pairs.check(received).map_err(|why| {
        Rejection::new(Code::SignatureMalformed, format!("the body is not a form: {why}"))
    })?;
    let mut pairs: Vec<_> = form_urlencoded::parse(&received.body).take(PAIRS_MAX + 1).collect();
    if pairs.len() > PAIRS_MAX {
        let detail = format!("the form has more than {PAIRS_MAX} pairs");
        return Err(Rejection::new(Code::SignatureMalformed, detail));
    }
    pairs.sort();
    pairs.dedup();
    for (name, value) in pairs {
        content.push(owned_text(name));
        content.push(owned_text(value));
    }
    Ok(())
}

fn beside<'a>(context: &Context<'a>, name: &str) -> Result<&'a [u8], Rejection> {
    context
        .beside
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, value)| *value)
        .ok_or_else(|| missing(&format!("`{name}` of the signature")))
}

fn signed_headers<'a>(
    received: &'a Received,
    context: &Context<'a>,
    name: &str,
    content: &mut Content<'a>,
) -> Result<(), Rejection> {
    let list = text_of(beside(context, name)?, "the list of signed headers")?;
    for (i, header) in list.split(' ').enumerate() {
        if i >= SIGNED_HEADERS_MAX {
            return Err(too_many());
        }
        if i > 0 {
            content.push(Cow::Borrowed(b"."));
        }
        content.push(Cow::Borrowed(one_header(received, header)?));
    }
    Ok(())
}

/// `name:value` lines joined by `;`, in the order of the names. The list must name itself and the
/// header of the time: else both could be exchanged.
fn header_lines<'a>(
    received: &'a Received,
    context: &Context<'a>,
    list_header: &str,
    content: &mut Content<'a>,
) -> Result<(), Rejection> {
    let list = text_of(one_header(received, list_header)?, "the list of signed headers")?;
    let mut names: Vec<String> = list.split(',').map(|n| n.trim().to_ascii_lowercase()).collect();
    if names.len() > SIGNED_HEADERS_MAX {
        return Err(too_many());
    }
    names.sort();
    names.dedup();
    for needed in std::iter::once(list_header).chain(context.time_header) {
        if !names.iter().any(|name| name == needed) {
            let detail = format!("{needed} is not among the signed headers");
            return Err(Rejection::new(Code::SignatureMalformed, detail));
        }
    }
    let mut lines = Vec::new();
    for (i, name) in names.iter().enumerate() {
        if i > 0 {
            lines.push(b';');
        }
        lines.extend_from_slice(name.as_bytes());
        lines.push(b':');
        lines.extend_from_slice(one_header(received, name)?.trim_ascii());
    }
    content.push(Cow::Owned(lines));
    Ok(())
}

fn one_header<'a>(received: &'a Received, name: &str) -> Result<&'a [u8], Rejection> {
    let name = name.to_ascii_lowercase();
    match received.headers.one(&name) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(missing(&format!("header:{name}"))),
        Err(_) => {
            let detail = format!("header:{name} stands more than once");
            Err(Rejection::new(Code::SignatureMalformed, detail))
        }
    }
}

fn text_of<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, Rejection> {
    std::str::from_utf8(bytes)
        .map_err(|_| Rejection::new(Code::SignatureMalformed, format!("{what} is not text")))
}

fn too_many() -> Rejection {
    let detail = format!("more than {SIGNED_HEADERS_MAX} signed headers");
    Rejection::new(Code::SignatureMalformed, detail)
}
