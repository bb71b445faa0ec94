//! Bytes of headers.

/// A character of a token (RFC 9110, 5.6.2).
pub(super) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Whether `word` stands in `text`, in any case.
pub(super) fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// What a text's bytes are, by the charset that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Charset {
    /// UTF-8.
    Plain,
    /// Another one, in which ASCII is ASCII: other letters may be others. Many senders name one by
    /// default and write ASCII, or UTF-8 after all.
    Ascii,
    /// One in which even ASCII may be another text, such as UTF-16 or EBCDIC, or one that is unknown.
    Other,
}

impl Charset {
    /// The charset of this name.
    pub(super) fn named(name: &[u8]) -> Self {
        let quotes = |b: &u8| !b"-_\"'".contains(b);
        let name: Vec<u8> =
            name.trim_ascii().to_ascii_lowercase().into_iter().filter(quotes).collect();
        match name.as_slice() {
            b"" | b"utf8" | b"usascii" | b"ascii" => Self::Plain,
            b"gbk" | b"gb2312" | b"gb18030" | b"big5" | b"euckr" | b"eucjp" | b"koi8r"
            | b"koi8u" | b"latin1" => Self::Ascii,
            other => {
                let known = [&b"iso8859"[..], b"windows125", b"cp125"];
                let is_known = known.iter().any(|prefix| other.starts_with(prefix));
                if is_known { Self::Ascii } else { Self::Other }
            }
        }
    }

    /// The charset that a content type names; of several the worst.
    pub(super) fn of(content_type: &[u8]) -> Self {
        content_type
            .split(|b| *b == b';')
            .skip(1)
            .filter_map(|parameter| {
                let equals = parameter.iter().position(|b| *b == b'=')?;
                let is_one = parameter[..equals].trim_ascii().eq_ignore_ascii_case(b"charset");
                is_one.then(|| Self::named(&parameter[equals + 1..]))
            })
            .max()
            .unwrap_or(Self::Plain)
    }
}
