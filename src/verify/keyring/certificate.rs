//! Certificates that a request names: who made them, for whom, and for how long.

use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, Utc};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::ring::Stored;
use crate::verify::host::HostPattern;
use crate::verify::public::{PublicAlgorithm, PublicKey};

/// How many certificates of an answer are read.
const CERTIFICATES_MAX: usize = 8;

/// Who may make certificates.
#[derive(Debug, Clone)]
pub struct Roots(Arc<[TrustAnchor<'static>]>);

impl Roots {
    /// Mozilla's.
    #[must_use]
    pub fn mozilla() -> Self {
        Self(webpki_roots::TLS_SERVER_ROOTS.into())
    }

    /// These. For tests, and for who has roots of his own.
    #[must_use]
    pub fn of(anchors: Vec<TrustAnchor<'static>>) -> Self {
        Self(anchors.into())
    }
}

/// The key of the first certificate, for as long as that is valid.
///
/// It must be valid now, be one for a name of `names` or under the end of one, and lead to one of the roots by
/// the certificates that come with it. `without_chain` leaves the last out where it comes alone.
pub(super) fn read(
    pem: &str,
    names: &[HostPattern],
    without_chain: bool,
    algorithms: &[PublicAlgorithm],
    roots: &Roots,
    now: DateTime<Utc>,
) -> Result<Vec<Stored>, String> {
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(CERTIFICATES_MAX)
        .collect::<Result<_, _>>()
        .map_err(|_| "the answer is not a certificate in PEM")?;
    let (leaf, others) = chain.split_first().ok_or("the answer holds no certificate in PEM")?;
    let certificate = EndEntityCert::try_from(leaf)
        .map_err(|why| format!("the certificate can't be read: {why}"))?;
    let (from, until) = validity(leaf).ok_or("the certificate says no time that can be read")?;
    if now < from || until <= now {
        return Err("the certificate is not valid now".to_owned());
    }
    if !certificate.valid_dns_names().any(|name| names.iter().any(|own| own.is_akin_to(name))) {
        return Err("the certificate is for none of the names that this source takes".to_owned());
    }
    if !(without_chain && others.is_empty()) {
        let time = u64::try_from(now.timestamp()).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(time));
        certificate
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &roots.0,
                others,
                time,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(|why| format!("the certificate leads to no root that we know: {why}"))?;
    }
    let der = certificate.subject_public_key_info();
    let key = |algorithm: &PublicAlgorithm| {
        let key = PublicKey::from_der(*algorithm, der.as_ref())?;
        let (from, until) = (Some(from), Some(until));
        Ok(Stored { kid: None, algorithm: *algorithm, key, from, until })
    };
    algorithms
        .iter()
        .map(key)
        .collect::<Result<_, String>>()
        .map_err(|why| format!("the key {why}"))
}

/// From when and until when a certificate is valid. webpki judges these times, but doesn't tell them.
fn validity(der: &[u8]) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let certificate = take(&mut &*der, 0x30)?;
    let mut body = take(&mut &*certificate, 0x30)?;
    if body.first() == Some(&0xa0) {
        take(&mut body, 0xa0)?; // version
    }
    take(&mut body, 0x02)?; // serial number
    take(&mut body, 0x30)?; // algorithm
    take(&mut body, 0x30)?; // issuer
    let mut validity = take(&mut body, 0x30)?;
    Some((time(&mut validity)?, time(&mut validity)?))
}

fn time(from: &mut &[u8]) -> Option<DateTime<Utc>> {
    let tag = *from.first()?;
    let text = std::str::from_utf8(take(from, tag)?).ok()?;
    // RFC 5280: of a year in two digits, those from 50 are of the last century.
    let text = match tag {
        0x17 if text.get(..1)? >= "5" => format!("19{text}"),
        0x17 => format!("20{text}"),
        0x18 => text.to_owned(),
        _ => return None,
    };
    NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok().map(|time| time.and_utc())
}

/// Takes the content of the next element of DER, which must have this tag.
fn take<'a>(from: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&[found, length], rest) = from.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *from = rest;
    (found == tag).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_certificate_are_read_and_nothing_else_panics() {
        let mut params =
            rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]).expect("params");
        params.not_before = rcgen::date_time_ymd(1999, 2, 3);
        params.not_after = rcgen::date_time_ymd(2055, 6, 7);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let der = certificate.der();
        let (from, until) = validity(der).expect("times");
        assert_eq!(from.to_rfc3339(), "1999-02-03T00:00:00+00:00");
        assert_eq!(until.to_rfc3339(), "2055-06-07T00:00:00+00:00");
        for end in 0..der.len() {
            let _cut = validity(&der[..end]);
            let mut changed = der.to_vec();
            changed[end] ^= 0xff;
            let _changed = validity(&changed);
        }
    }
}
