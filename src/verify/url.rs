//! The URL that a provider calls, in the spellings in which providers sign it.
//!
//! It is the registered one, from the config: never rebuilt from a Host or forwarding header, which
//! the sender chooses.

use std::borrow::Cow;

/// How the URL is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// As it is registered.
    Registered,
    /// With its port, also when it is the scheme's own.
    WithPort,
    /// Without any port.
    WithoutPort,
    /// With the escapes decoded that HubSpot decodes before it signs.
    Unescaped,
}

/// The registered URL with the query that the request came with. A URL that is registered with a
/// query of its own is taken as it stands.
pub(crate) fn called<'a>(registered: &'a str, target: &str) -> Cow<'a, str> {
    match target.split_once('?') {
        Some((_, query)) if !registered.contains('?') => {
            Cow::Owned(format!("{registered}?{query}"))
        }
        _ => Cow::Borrowed(registered),
    }
}

/// A URL in this spelling.
pub(crate) fn spelled(url: Cow<'_, str>, spelling: Spelling) -> Cow<'_, str> {
    match spelling {
        Spelling::Registered => url,
        Spelling::WithPort | Spelling::WithoutPort => Cow::Owned(with_port(&url, spelling)),
        Spelling::Unescaped => Cow::Owned(unescaped(&url)),
    }
}

fn with_port(url: &str, spelling: Spelling) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A user's name ends at the `@`; the colons of an IPv6 address stand inside of brackets.
    let host_from = authority.rfind(']').or_else(|| authority.rfind('@')).unwrap_or(0);
    let colon = authority[host_from..].rfind(':').map(|at| host_from + at);
    let bare = colon.map_or(authority, |at| &authority[..at]);
    match (spelling, colon) {
        (Spelling::WithoutPort, _) => format!("{scheme}://{bare}{path}"),
        (_, Some(_)) => url.to_owned(),
        (_, None) => {
            let port = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
            format!("{scheme}://{bare}:{port}{path}")
        }
    }
}

/// The twelve escapes of HubSpot's documentation; others stay.
fn unescaped(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let decoded = rest.get(at + 1..at + 3).and_then(|digits| {
            Some(match digits.to_ascii_uppercase().as_str() {
                "3A" => ':',
                "2F" => '/',
                "3F" => '?',
                "40" => '@',
                "21" => '!',
                "24" => '$',
                "27" => '\'',
                "28" => '(',
                "29" => ')',
                "2A" => '*',
                "2C" => ',',
                "3B" => ';',
                _ => return None,
            })
        });
        match decoded {
            Some(c) => {
                out.push(c);
                rest = &rest[at + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Path and query as Contentful signs them: the query escaped as a component, then the whole as a URI.
///
/// Source: `@contentful/node-apps-toolkit`, `requests/utils.ts`.
pub(crate) fn contentful(path: &str, query: Option<&str>) -> String {
    let whole = match query {
        Some(query) => format!("{path}?{}", escaped(query, b"-_.!~*'()")),
        None => path.to_owned(),
    };
    escaped(&whole, b";,/?:@&=+$-_.!~*'()#")
}

fn escaped(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_brings_the_query_unless_it_is_registered() {
        assert_eq!(called("https://x/in/a", "/in/a"), "https://x/in/a");
        assert_eq!(called("https://x/in/a", "/in/a?b=%41"), "https://x/in/a?b=%41");
        assert_eq!(called("https://x/in/a?c", "/in/a?b"), "https://x/in/a?c");
    }

    #[test]
    fn ports_come_and_go() {
        for (url, with, without) in [
            ("https://x/p?q=a:b", "https://x:443/p?q=a:b", "https://x/p?q=a:b"),
            ("http://x", "http://x:80", "http://x"),
            ("https://x:8443/", "https://x:8443/", "https://x/"),
            ("https://[::1]/a", "https://[::1]:443/a", "https://[::1]/a"),
            ("https://[::1]:1/a", "https://[::1]:1/a", "https://[::1]/a"),
            ("https://u:p@x/a", "https://u:p@x:443/a", "https://u:p@x/a"),
            ("https://u:p@x:1/a", "https://u:p@x:1/a", "https://u:p@x/a"),
            ("http://u:p@[::1]/a", "http://u:p@[::1]:80/a", "http://u:p@[::1]/a"),
        ] {
            assert_eq!(spelled(url.into(), Spelling::WithPort), with);
            assert_eq!(spelled(url.into(), Spelling::WithoutPort), without);
        }
    }

    #[test]
    fn only_the_documented_escapes_are_decoded() {
        let url = "https://x/a%3ab%2F%20%3f%zz%";
        assert_eq!(spelled(url.into(), Spelling::Unescaped), "https://x/a:b/%20?%zz%");
    }

    #[test]
    fn contentful_escapes_a_query_twice() {
        assert_eq!(contentful("/a b", None), "/a%20b");
        assert_eq!(contentful("/a", Some("b=c&d=é")), "/a?b%253Dc%2526d%253D%25C3%25A9");
    }
}
