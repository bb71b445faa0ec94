//! What stands around a signature's bytes.

use super::rejection::{Code, Rejection};

/// How many signatures one request may bring.
pub(crate) const SIGNATURES_MAX: usize = 16;

/// What stands around a signature's bytes.
#[derive(Debug, Clone)]
pub(crate) enum Grammar {
    /// One signature after a prefix, which may be empty.
    Plain { prefix: String },
    /// Several, of which those with the tag count.
    List { sep: String, tag: String },
    /// Named values.
    Kv { sep: String, sig: Vec<String>, ts: Option<String> },
    /// The timestamp, then signatures.
    Positional { sep: String },
    /// Signatures, each beside the id of its key.
    Keyed { sep: String, by: String },
}

/// What a signature header says.
#[derive(Debug, Default)]
pub(crate) struct Signatures<'a> {
    /// Still encoded, each with the id of its key when that stands beside it.
    pub(crate) encoded: Vec<(&'a [u8], Option<&'a str>)>,
    /// The timestamp beside them.
    pub(crate) ts: Option<&'a [u8]>,
    /// Other named values beside them.
    pub(crate) beside: Vec<(&'a str, &'a [u8])>,
}

fn malformed(detail: &str) -> Rejection {
    Rejection::new(Code::SignatureMalformed, detail)
}

impl Grammar {
    /// Reads one header line, adding to what earlier lines said.
    pub(crate) fn read<'a>(
        &self,
        line: &'a [u8],
        out: &mut Signatures<'a>,
    ) -> Result<(), Rejection> {
        let Ok(text) = std::str::from_utf8(line) else {
            return Err(malformed("the signature is not text"));
        };
        match self {
            Self::Plain { prefix } => match text.strip_prefix(prefix.as_str()) {
                Some(signature) => out.encoded.push((signature.as_bytes(), None)),
                None => {
                    let detail = format!("the signature does not begin with `{prefix}`");
                    return Err(malformed(&detail));
                }
            },
            Self::List { sep, tag } => {
                for part in text.split(sep.as_str()) {
                    if part.is_empty() {
                        return Err(malformed("the list of signatures has an empty place"));
                    }
                    // A version that we don't know isn't an error: providers add them.
                    if let Some(signature) = part.strip_prefix(tag.as_str()) {
                        out.encoded.push((signature.as_bytes(), None));
                    }
                }
            }
            Self::Kv { sep, sig, ts } => read_kv(text, sep, sig, ts.as_deref(), out)?,
            Self::Positional { sep } => {
                let mut parts = text.split(sep.as_str());
                // With two of them, one could be signed and the other one be judged.
                if out.ts.replace(parts.next().unwrap_or_default().as_bytes()).is_some() {
                    return Err(malformed("the timestamp stands more than once"));
                }
                out.encoded.extend(parts.map(|part| (part.as_bytes(), None)));
            }
            Self::Keyed { sep, by } => {
                for part in text.split(sep.as_str()) {
                    let Some((id, signature)) = part.split_once(by.as_str()) else {
                        return Err(malformed(&format!("a part of the signature has no `{by}`")));
                    };
                    out.encoded.push((signature.as_bytes(), Some(id)));
                }
            }
        }
        if out.encoded.len() > SIGNATURES_MAX || out.beside.len() > SIGNATURES_MAX {
            return Err(malformed(&format!("more than {SIGNATURES_MAX} signatures")));
        }
        Ok(())
    }

    /// Writes one signature; `key` is the id of its key where that stands beside it.
    pub(crate) fn write(&self, encoded: &str, ts: Option<&str>, key: Option<&str>) -> String {
        match self {
            Self::Plain { prefix } => format!("{prefix}{encoded}"),
            Self::List { tag, .. } => format!("{tag}{encoded}"),
            Self::Kv { sep, sig, ts: name } => {
                let sig = sig.first().map_or("", String::as_str);
                match (name, ts) {
                    (Some(name), Some(ts)) => format!("{name}={ts}{sep}{sig}={encoded}"),
                    _ => format!("{sig}={encoded}"),
                }
            }
            Self::Positional { sep } => format!("{}{sep}{encoded}", ts.unwrap_or_default()),
            Self::Keyed { by, .. } => format!("{}{by}{encoded}", key.unwrap_or_default()),
        }
    }

    /// Writes one signature between named values that stand beside it.
    pub(crate) fn write_beside(
        &self,
        encoded: &str,
        ts: Option<&str>,
        beside: &[(&str, &[u8])],
    ) -> String {
        let Self::Kv { sep, sig, ts: name } = self else { return self.write(encoded, ts, None) };
        let mut parts: Vec<String> = Vec::with_capacity(beside.len() + 2);
        parts.extend(name.iter().zip(ts).map(|(name, ts)| format!("{name}={ts}")));
        parts.extend(
            beside.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))),
        );
        parts.extend(sig.first().map(|name| format!("{name}={encoded}")));
        parts.join(sep)
    }

    /// Whether it holds the timestamp.
    pub(crate) fn holds_timestamp(&self) -> bool {
        matches!(self, Self::Kv { ts: Some(_), .. } | Self::Positional { .. })
    }

    /// How a request must say it, for the reader of a rejection.
    pub(crate) fn wanted(&self) -> String {
        match self {
            Self::Plain { prefix } => format!("{prefix}…"),
            Self::List { tag, .. } => format!("{tag}…"),
            Self::Kv { sig, .. } => {
                sig.iter().map(|s| format!("{s}=…")).collect::<Vec<_>>().join(" or ")
            }
            Self::Positional { sep } => format!("time{sep}…"),
            Self::Keyed { by, .. } => format!("id{by}…"),
        }
    }
}

fn read_kv<'a>(
    text: &'a str,
    sep: &str,
    sig: &[String],
    ts: Option<&str>,
    out: &mut Signatures<'a>,
) -> Result<(), Rejection> {
    // Some providers write a space after the comma.
    for part in text.split(sep).map(|part| part.trim_start_matches(' ')) {
        let Some((name, value)) = part.split_once('=') else {
            return Err(malformed("a part of the signature has no `=`"));
        };
        if ts == Some(name) {
            // With two of them, one could be signed and the other one be judged.
            if out.ts.replace(value.as_bytes()).is_some() {
                return Err(malformed(&format!("`{name}` stands more than once")));
            }
        } else if sig.iter().any(|s| s == name) {
            out.encoded.push((value.as_bytes(), None));
        } else if out.beside.iter().any(|(other, _)| *other == name) {
            return Err(malformed(&format!("`{name}` stands more than once")));
        } else {
            out.beside.push((name, value.as_bytes()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(grammar: &Grammar, text: &str) -> Result<(Vec<String>, Option<String>), Code> {
        let mut out = Signatures::default();
        grammar.read(text.as_bytes(), &mut out).map_err(|r| r.code)?;
        let own = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let encoded = out.encoded.into_iter().map(|(bytes, _)| own(bytes)).collect();
        Ok((encoded, out.ts.map(own)))
    }

    #[test]
    fn each_grammar_reads_what_it_writes() {
        let list = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let plain = Grammar::Plain { prefix: "sha256=".to_owned() };
        assert_eq!(read(&plain, "sha256=ab"), Ok((list(&["ab"]), None)));
        assert_eq!(read(&plain, "sha1=ab"), Err(Code::SignatureMalformed));
        assert_eq!(plain.write("ab", None, None), "sha256=ab");

        let tagged = Grammar::List { sep: " ".to_owned(), tag: "v1,".to_owned() };
        assert_eq!(read(&tagged, "v1,a v2,b v1a,c v1,d"), Ok((list(&["a", "d"]), None)));
        assert_eq!(read(&tagged, "v1,a  v1,b"), Err(Code::SignatureMalformed));
        assert_eq!(read(&tagged, &vec!["v1,a"; 16].join(" ")).map(|(s, _)| s.len()), Ok(16));
        assert_eq!(read(&tagged, &vec!["v1,a"; 17].join(" ")), Err(Code::SignatureMalformed));
        assert_eq!(tagged.write("a", None, None), "v1,a");

        let kv = Grammar::Kv {
            sep: ",".to_owned(),
            sig: vec!["v1".to_owned()],
            ts: Some("t".to_owned()),
        };
        assert_eq!(
            read(&kv, "t=1,v1=a,v0=b,v1=c="),
            Ok((list(&["a", "c="]), Some("1".to_owned())))
        );
        assert_eq!(read(&kv, "t=1,v1=a,t=1"), Err(Code::SignatureMalformed));
        assert_eq!(read(&kv, "t=1,v1"), Err(Code::SignatureMalformed));
        assert_eq!(read(&kv, "t=1, v1=a"), Ok((list(&["a"]), Some("1".to_owned()))));
        assert_eq!(read(&kv, "t=1,h=x,h=y,v1=a"), Err(Code::SignatureMalformed));
        assert_eq!(kv.write("a", Some("1"), None), "t=1,v1=a");
    }

    #[test]
    fn a_position_or_a_key_says_what_a_part_is() {
        let positional = Grammar::Positional { sep: ",".to_owned() };
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(read(&positional, "7,a,b"), Ok((texts(&["a", "b"]), Some("7".to_owned()))));
        assert_eq!(read(&positional, "7"), Ok((texts(&[]), Some("7".to_owned()))));
        assert_eq!(positional.write("a", Some("7"), None), "7,a");

        let keyed = Grammar::Keyed { sep: "&".to_owned(), by: "|".to_owned() };
        let mut out = Signatures::default();
        keyed.read(b"k|a&l|b", &mut out).expect("pairs");
        assert_eq!(out.encoded, [(&b"a"[..], Some("k")), (&b"b"[..], Some("l"))]);
        assert_eq!(read(&keyed, "k|a&b"), Err(Code::SignatureMalformed));
        assert_eq!(keyed.write("a", None, Some("k")), "k|a");
    }
}
