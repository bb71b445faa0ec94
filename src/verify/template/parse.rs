//! Reads a template.

use std::collections::BTreeMap;

use super::{Demand, Part, Template};
use crate::secret::Secret;
use crate::verify::field::Field;
use crate::verify::json::Pointer;
use crate::verify::url::Spelling;

/// What a template's words stand for that no request brings.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Words<'a> {
    /// The registered public URL: never one that is rebuilt from a request.
    pub(crate) url: Option<&'a str>,
    /// The source's own values; `None` when only the form of things is looked at.
    pub(crate) params: Option<&'a BTreeMap<String, Secret>>,
}

impl Words<'_> {
    /// The value of a param, or how to give it.
    pub(crate) fn param(&self, name: &str) -> Result<String, String> {
        let Some(params) = self.params else { return Ok(format!("({name})")) };
        params.get(name).map(|value| value.expose().to_owned()).ok_or_else(|| {
            format!(
                "{{param:{name}}} needs `params.{name}` to be set: params = {{ {name} = \"…\" }}"
            )
        })
    }

    /// The registered URL, or how to give it.
    pub(crate) fn url(&self) -> Result<&str, String> {
        self.url.ok_or_else(|| {
            "{url} needs `public_url` to be set: the URL that is registered with the provider, byte for byte".to_owned()
        })
    }
}

/// Replaces `{param:X}` and `{url}` in a value of the config.
pub(crate) fn params(text: &str, words: &Words<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (word, after) = after
            .split_once('}')
            .ok_or_else(|| format!("`{text}` has a `{{` without its partner"))?;
        match word.split_once(':') {
            Some(("param", name)) => out.push_str(&words.param(name)?),
            None if word == "url" => out.push_str(words.url()?),
            _ => {
                return Err(format!("{{{word}}} is not known here: use {{param:NAME}} or {{url}}"));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

impl Template {
    /// Reads a template; `{{` and `}}` stand for braces.
    pub(crate) fn parse(text: &str, words: &Words<'_>) -> Result<Self, String> {
        let mut reader = Reader { text, rest: text, words };
        let parts = reader.parts(false)?;
        let template = Self { parts };
        if !template.leaves().any(|part| !matches!(part, Part::Literal(_) | Part::Secret)) {
            return Err(format!(
                "`{text}` signs nothing of the request: name a part such as {{body}}"
            ));
        }
        Ok(template)
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    words: &'a Words<'a>,
}

impl Reader<'_> {
    /// Parts until the end, or until the `?}` of what is optional.
    fn parts(&mut self, optional: bool) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        loop {
            let stops: &[char] = if optional { &['{', '}', '?'] } else { &['{', '}'] };
            let Some(at) = self.rest.find(stops) else {
                if optional {
                    return Err(format!("`{}` has a `{{?` without its `?}}`", self.text));
                }
                literal.extend_from_slice(self.rest.as_bytes());
                push_literal(&mut parts, &mut literal);
                return Ok(parts);
            };
            literal.extend_from_slice(&self.rest.as_bytes()[..at]);
            let stop = &self.rest[at..=at];
            self.rest = &self.rest[at + 1..];
            match (stop, self.rest.as_bytes().first()) {
                ("?", Some(b'}')) => {
                    self.rest = &self.rest[1..];
                    push_literal(&mut parts, &mut literal);
                    return Ok(parts);
                }
                ("?", _) => literal.push(b'?'),
                ("{", Some(b'{')) | ("}", Some(b'}')) => {
                    literal.extend_from_slice(stop.as_bytes());
                    self.rest = &self.rest[1..];
                }
                ("{", Some(b'?')) if !optional => {
                    self.rest = &self.rest[1..];
                    push_literal(&mut parts, &mut literal);
                    let inner = self.parts(true)?;
                    if !inner.iter().any(|part| matches!(part, Part::Field(..))) {
                        return Err(format!("`{}`: a value must stand in {{?…?}}", self.text));
                    }
                    parts.push(Part::Optional(inner));
                }
                ("{", _) => {
                    let Some(end) = self.rest.find('}') else { return Err(self.unpaired(stop)) };
                    let part = part(&self.rest[..end], self.words)?;
                    self.rest = &self.rest[end + 1..];
                    match part {
                        Part::Literal(bytes) => literal.extend_from_slice(&bytes),
                        part => {
                            push_literal(&mut parts, &mut literal);
                            parts.push(part);
                        }
                    }
                }
                _ => return Err(self.unpaired(stop)),
            }
        }
    }

    fn unpaired(&self, brace: &str) -> String {
        format!("`{}` has a `{brace}` without its partner", self.text)
    }
}

fn push_literal(parts: &mut Vec<Part>, literal: &mut Vec<u8>) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal)));
    }
}

fn part(word: &str, words: &Words<'_>) -> Result<Part, String> {
    let spelled = |spelling| Ok(Part::Url(words.url()?.to_owned(), spelling));
    match word {
        "body" => return Ok(Part::Body),
        "crc32:body" => return Ok(Part::Checksum),
        "ts" => return Ok(Part::Timestamp),
        "id" => return Ok(Part::Id),
        "secret" => return Ok(Part::Secret),
        "method" => return Ok(Part::Method),
        "sorted_form" => return Ok(Part::SortedForm),
        "url" => return spelled(Spelling::Registered),
        "url:with_port" => return spelled(Spelling::WithPort),
        "url:without_port" => return spelled(Spelling::WithoutPort),
        "url:unescaped" => return spelled(Spelling::Unescaped),
        "target:contentful" => return Ok(Part::Contentful(words.url.map(str::to_owned))),
        _ => {}
    }
    match word.split_once(':') {
        Some((_, "")) | None => Err(unknown(word)),
        Some(("param", name)) => Ok(Part::Literal(words.param(name)?.into_bytes())),
        Some(("sig", name)) => Ok(Part::Beside(name.to_owned())),
        Some(("signed_headers", name)) => Ok(Part::SignedHeaders(name.to_owned())),
        Some(("header_lines", name)) => Ok(Part::HeaderLines(name.to_ascii_lowercase())),
        Some(("raw", pointer)) => Pointer::parse(pointer).map(Part::Raw),
        Some(_) => {
            let mut last = word.char_indices().rev();
            let (field, without) = match (last.next(), last.next()) {
                (Some((_, c)), Some((at, '!'))) => (&word[..at], Some(c)),
                _ => (word, None),
            };
            let (field, or_nothing) = match field.strip_suffix('|') {
                Some(field) => (field, true),
                None => (field, false),
            };
            let demand = Demand { or_nothing, without };
            Field::parse(field).map(|f| Part::Field(f, demand)).map_err(|_| unknown(word))
        }
    }
}

fn unknown(word: &str) -> String {
    format!(
        "{{{word}}} is not a part of a request: use {{body}}, {{ts}}, {{id}}, {{url}}, {{method}}, {{secret}}, {{header:NAME}}, {{query:NAME}}, {{form:NAME}}, {{part:NAME}}, {{body:/pointer}}, {{param:NAME}} or another word of docs/sources.md"
    )
}
