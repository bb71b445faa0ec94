//! Compiles `signature`.

use super::super::spec::{Encoding as EncodingWord, GrammarSpec, Lines, OneOrMore, SignatureSpec};
use super::Faults;
use crate::verify::encoding::Encoding;
use crate::verify::field::Field;
use crate::verify::signature::Grammar;
use crate::verify::signed::From;

/// Where the signature stands.
pub(super) fn place(spec: &SignatureSpec, path: &str, faults: &mut Faults) -> Option<From> {
    let path_from = format!("{path}.from");
    let from = match spec.from.strip_suffix('*') {
        Some(prefix) => {
            let field = faults.take(&path_from, Field::parse(prefix))?;
            let Field::Header(prefix) = field else {
                faults.push(&path_from, "only a header's name may end with `*`");
                return None;
            };
            From::Headers(prefix)
        }
        None => From::Field(faults.take(&path_from, Field::parse(&spec.from))?),
    };
    if spec.lines == Some(Lines::All) && !matches!(from, From::Field(Field::Header(_))) {
        faults.push(&format!("{path}.lines"), "only a header can stand on several lines");
    }
    Some(from)
}

/// How the signature's bytes are written.
pub(super) fn encodings(spec: Option<&OneOrMore<EncodingWord>>) -> Vec<Encoding> {
    let words = spec.map_or(&[EncodingWord::Hex][..], OneOrMore::as_slice);
    words.iter().copied().map(encoding).collect()
}

/// One encoding.
pub(super) fn encoding(word: EncodingWord) -> Encoding {
    match word {
        EncodingWord::Hex => Encoding::Hex,
        EncodingWord::Base64 => Encoding::Base64,
        EncodingWord::Base64url => Encoding::Base64Url,
    }
}

/// What stands around them.
pub(super) fn grammar(
    spec: Option<&GrammarSpec>,
    path: &str,
    faults: &mut Faults,
) -> Option<Grammar> {
    let path = format!("{path}.grammar");
    let mut filled = |word: &str, text: &str| {
        if text.is_empty() {
            faults.push(&format!("{path}.{word}"), "is empty");
        }
        !text.is_empty()
    };
    Some(match spec {
        None => Grammar::Plain { prefix: String::new() },
        Some(GrammarSpec::Plain(plain)) => Grammar::Plain { prefix: plain.prefix.clone() },
        Some(GrammarSpec::List(list)) => filled("list.sep", &list.sep)
            .then(|| Grammar::List { sep: list.sep.clone(), tag: list.tag.clone() })?,
        Some(GrammarSpec::Kv(kv)) => {
            let named = !kv.sig.is_empty() && kv.sig.iter().all(|name| !name.is_empty());
            let sep = filled("kv.sep", &kv.sep);
            if !named {
                faults.push(&format!("{path}.kv.sig"), "names no signature");
            }
            (sep && named).then(|| Grammar::Kv {
                sep: kv.sep.clone(),
                sig: kv.sig.clone(),
                ts: kv.ts.clone(),
            })?
        }
        Some(GrammarSpec::Positional(it)) => filled("positional.sep", &it.sep)
            .then(|| Grammar::Positional { sep: it.sep.clone() })?,
        Some(GrammarSpec::Keyed(it)) => {
            let sep = filled("keyed.sep", &it.sep);
            let by = filled("keyed.by", &it.by);
            (sep && by).then(|| Grammar::Keyed { sep: it.sep.clone(), by: it.by.clone() })?
        }
    })
}
