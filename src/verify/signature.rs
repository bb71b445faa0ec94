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
}

/// What a signature header says.
#[derive(Debug, Default)]
pub(crate) struct Signatures<'a> {
    /// Still encoded.
    pub(crate) encoded: Vec<&'a [u8]>,
    /// The timestamp beside them.
    pub(crate) ts: Option<&'a [u8]>,
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
                Some(signature) => out.encoded.push(signature.as_bytes()),
                None => {
                    return Err(malformed(&format!(
                        "the signature does not begin with `{prefix}`"
                    )));
                }
            },
            Self::List { sep, tag } => {
                for part in text.split(sep.as_str()) {
                    if part.is_empty() {
                        return Err(malformed("the list of signatures has an empty place"));
                    }
                    // A version that we don't know isn't an error: providers add them.
                    if let Some(signature) = part.strip_prefix(tag.as_str()) {
                        out.encoded.push(signature.as_bytes());
                    }
                }
            }
            Self::Kv { sep, sig, ts } => {
                for part in text.split(sep.as_str()) {
                    let Some((name, value)) = part.split_once('=') else {
                        return Err(malformed("a part of the signature has no `=`"));
                    };
                    if ts.as_deref() == Some(name) {
                        // With two of them, one could be signed and the other one be judged.
                        if out.ts.replace(value.as_bytes()).is_some() {
                            return Err(malformed(&format!("`{name}` stands more than once")));
                        }
                    } else if sig.iter().any(|s| s == name) {
                        out.encoded.push(value.as_bytes());
                    }
                }
            }
        }
        if out.encoded.len() > SIGNATURES_MAX {
            return Err(malformed(&format!("more than {SIGNATURES_MAX} signatures")));
        }
        Ok(())
    }

    /// Writes one signature.
    pub(crate) fn write(&self, encoded: &str, ts: Option<&str>) -> String {
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
        }
    }

    /// How a request must say it, for the reader of a rejection.
    pub(crate) fn wanted(&self) -> String {
        match self {
            Self::Plain { prefix } => format!("{prefix}…"),
            Self::List { tag, .. } => format!("{tag}…"),
            Self::Kv { sig, .. } => {
                sig.iter().map(|s| format!("{s}=…")).collect::<Vec<_>>().join(" or ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(grammar: &Grammar, text: &str) -> Result<(Vec<String>, Option<String>), Code> {
        let mut out = Signatures::default();
        grammar.read(text.as_bytes(), &mut out).map_err(|r| r.code)?;
        let own = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        Ok((out.encoded.into_iter().map(own).collect(), out.ts.map(own)))
    }

    #[test]
    fn each_grammar_reads_what_it_writes() {
        let list = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let plain = Grammar::Plain { prefix: "sha256=".to_owned() };
        assert_eq!(read(&plain, "sha256=ab"), Ok((list(&["ab"]), None)));
        assert_eq!(read(&plain, "sha1=ab"), Err(Code::SignatureMalformed));
        assert_eq!(plain.write("ab", None), "sha256=ab");

        let tagged = Grammar::List { sep: " ".to_owned(), tag: "v1,".to_owned() };
        assert_eq!(read(&tagged, "v1,a v2,b v1a,c v1,d"), Ok((list(&["a", "d"]), None)));
        assert_eq!(read(&tagged, "v1,a  v1,b"), Err(Code::SignatureMalformed));
        assert_eq!(read(&tagged, &vec!["v1,a"; 16].join(" ")).map(|(s, _)| s.len()), Ok(16));
        assert_eq!(read(&tagged, &vec!["v1,a"; 17].join(" ")), Err(Code::SignatureMalformed));
        assert_eq!(tagged.write("a", None), "v1,a");

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
        assert_eq!(kv.write("a", Some("1")), "t=1,v1=a");
    }
}
