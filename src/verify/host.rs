//! Hosts that we may call because a request, or a preset, names a URL on them.
//!
//! Whoever writes a pattern must know who can have a name that it fits: a bucket of S3 called `sns`
//! is at `sns.s3.amazonaws.com`.

use std::fmt;

use url::{Host, Url};

/// The host of a URL that may be called.
///
/// `paypal.com` is that host only. `*.paypal.com` is any below it, however deep. Elsewhere a `*`
/// stands for one or more characters of one label: `sns.us-*.amazonaws.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// Whether any labels may stand before the others; at least one must.
    any_before: bool,
    labels: Vec<String>,
    text: String,
}

impl HostPattern {
    /// Reads a pattern. The last two labels must be written out: `*.com` is everybody.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("*.");
        let labels: Vec<&str> = bare.unwrap_or(text).split('.').collect();
        let legal = |label: &&str| {
            let byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-*".contains(&b);
            !label.is_empty() && label.bytes().all(byte) && label.matches('*').count() <= 1
        };
        if !labels.iter().all(legal) {
            return Err(format!(
                "`{text}` is not a host pattern such as \"*.example.com\" or \"api.eu-*.example.com\", in lower case"
            ));
        }
        let whole = labels.iter().rev().take(2).filter(|label| !label.contains('*')).count();
        if whole < 2 {
            return Err(format!("`{text}` is too wide: its last two labels must be written out"));
        }
        // Addresses are never called by name, so a pattern of one would fit nothing.
        if labels.last().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit())) {
            return Err(format!("`{text}` is an address: write the name of a host"));
        }
        Ok(Self {
            any_before: bare.is_some(),
            labels: labels.into_iter().map(str::to_owned).collect(),
            text: text.to_owned(),
        })
    }

    /// Whether this host, as the URL parser gives it, fits.
    #[must_use]
    pub fn fits(&self, host: &str) -> bool {
        let labels: Vec<&str> = host.split('.').collect();
        let Some(before) = labels.len().checked_sub(self.labels.len()) else { return false };
        if (before > 0) != self.any_before || labels.iter().any(|label| label.is_empty()) {
            return false;
        }
        self.labels.iter().zip(&labels[before..]).all(|(pattern, label)| stands_for(pattern, label))
    }

    /// Whether a certificate's name, which may begin with `*.`, belongs to the one who has these
    /// hosts: it is what the pattern writes out at its end, or lies below that.
    #[must_use]
    pub fn is_akin_to(&self, name: &str) -> bool {
        let open = self.labels.iter().rposition(|label| label.contains('*')).map_or(0, |at| at + 1);
        let end = self.labels[open..].join(".");
        let name = name.strip_prefix("*.").unwrap_or(name).to_ascii_lowercase();
        name == end || name.strip_suffix(&end).is_some_and(|before| before.ends_with('.'))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The path of a URL that may be called: `/v1/certs/*`. A `*` stands for one or more characters of one
/// segment; all else is itself, case included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(Vec<String>);

impl PathPattern {
    /// Reads a pattern. It begins with `/`, and a segment has at most one `*`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.*".contains(&b);
        let segments: Vec<String> = text.split('/').skip(1).map(str::to_owned).collect();
        let legal = |segment: &String| {
            !segment.is_empty()
                && !segment.contains("..")
                && segment.bytes().all(plain)
                && segment.matches('*').count() <= 1
        };
        if !text.starts_with('/') || !segments.iter().all(legal) {
            return Err(format!("`{text}` is not a path pattern such as \"/v1/certs/*\""));
        }
        Ok(Self(segments))
    }

    /// Whether this path, as the URL parser gives it, fits.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let segments: Vec<&str> = rest.split('/').collect();
        segments.len() == self.0.len()
            && self.0.iter().zip(segments).all(|(pattern, segment)| stands_for(pattern, segment))
    }
}

/// Whether a text fits a pattern in which a `*` stands for one or more characters.
fn stands_for(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            text.len() > head.len() + tail.len() && text.starts_with(head) && text.ends_with(tail)
        }
    }
}

/// Reads a URL that a request named, and refuses it unless it is plain https on one of `hosts`:
/// without user, password, or a port of its own. What is checked is the URL as it will be called,
/// parsed once. The reason never repeats the URL.
pub fn allowed(text: &str, hosts: &[HostPattern]) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    if url.scheme() != "https" {
        return Err("is not an https URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password");
    }
    if url.port().is_some() {
        return Err("names a port");
    }
    match url.host() {
        Some(Host::Domain(host)) if hosts.iter().any(|pattern| pattern.fits(host)) => Ok(url),
        Some(Host::Domain(_)) => Err("is on a host that this source doesn't call"),
        _ => Err("names an address in place of a host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_whole_labels_and_parts_of_one() {
        for (pattern, fits, others) in [
            (
                "api.example.com",
                &["api.example.com"][..],
                &["example.com", "a.api.example.com", "api.example.com.evil.org"][..],
            ),
            (
                "*.paypal.com",
                &["api.paypal.com", "a.b.paypal.com"],
                &["paypal.com", "evilpaypal.com", ".paypal.com", "a..paypal.com", "paypal.com."],
            ),
            (
                "sns.us-*.amazonaws.com",
                &["sns.us-east-1.amazonaws.com"],
                &[
                    "sns.us-.amazonaws.com",
                    "sns.s3.amazonaws.com",
                    "sns.us-a.b.amazonaws.com",
                    "x.sns.us-east-1.amazonaws.com",
                    "sns.us-east-1.amazonaws.com.cn",
                ],
            ),
        ] {
            let parsed = HostPattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.to_string(), pattern);
            fits.iter().for_each(|host| assert!(parsed.fits(host), "{host} for {pattern}"));
            others.iter().for_each(|host| assert!(!parsed.fits(host), "{host} for {pattern}"));
        }
    }

    #[test]
    fn a_certificates_name_belongs_to_who_has_the_hosts() {
        for (pattern, akin, others) in [
            (
                "sns.us-*.amazonaws.com",
                &["sns.amazonaws.com", "amazonaws.com", "*.amazonaws.com"][..],
                &["amazonaws.com.cn", "evilamazonaws.com", "com", "*.com"][..],
            ),
            ("*.paypal.com", &["messageverificationcerts.paypal.com"], &["paypal.com.evil.org"]),
            ("api.example.com", &["api.example.com"], &["example.com", "www.example.com"]),
        ] {
            let pattern = HostPattern::parse(pattern).expect(pattern);
            akin.iter().for_each(|name| assert!(pattern.is_akin_to(name), "{name} for {pattern}"));
            others.iter().for_each(|name| assert!(!pattern.is_akin_to(name), "{name}: {pattern}"));
        }
    }

    #[test]
    fn a_pattern_that_is_too_wide_or_unreadable_is_refused() {
        for bad in [
            "",
            "*",
            "com",
            "*.com",
            "a.*.com",
            "a.b.*",
            "*.*.com",
            "a..com",
            "a.b**c.example.com",
            "EXAMPLE.com",
            "a b.example.com",
            "example.com/x",
            "example.com:1",
            "127.0.0.1",
            "ex*.com",
            ".example.com",
            "*example.com",
        ] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_pattern_is_read_or_refused() {
        for good in ["/a", "/v1/notifications/certs/*", "/SimpleNotificationService-*.pem", "/*"] {
            assert!(PathPattern::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "/", "//a", "/a/", "/a/../b", "/a**", "/*a*", "/a b", "/a%2fb", "/a?b"]
        {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
        let pattern = PathPattern::parse("/a-*.pem").expect("a pattern");
        for (path, fits) in
            [("/a-1.pem", true), ("/a-.pem", false), ("a-1.pem", false), ("", false)]
        {
            assert_eq!(pattern.fits(path), fits, "{path}");
        }
    }

    #[test]
    fn only_a_plain_https_url_on_an_allowed_host_may_be_called() {
        let hosts = [HostPattern::parse("*.example.com").expect("a pattern")];
        for good in [
            "https://api.example.com/a?b=c",
            "HTTPS://API.EXAMPLE.COM",
            "https://api.example.com:443/",
        ] {
            assert!(allowed(good, &hosts).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/path",
            "http://api.example.com/",
            "ftp://api.example.com/",
            "file:///etc/passwd",
            "https://user@api.example.com/",
            "https://:pw@api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com@evil.org/",
            "https://evil.org/api.example.com",
            "https://evil.org#.example.com",
            "https://evil.org\\.example.com/",
            "https://evil.org?.example.com",
            "https://api.example.com.evil.org/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://api.example.com./",
        ] {
            assert!(allowed(bad, &hosts).is_err(), "{bad}");
        }
    }
}
