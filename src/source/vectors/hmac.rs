//! What is refused with which code, where one HMAC stands in a header and covers the whole body: the
//! usual scheme, in every way in which it can be spoilt.

use bytes::Bytes;

use super::*;
use crate::verify::Integrity;
use crate::verify::field::Field;
use crate::verify::freshness::Unit;
use crate::verify::key::Algorithm;
use crate::verify::signature::Signatures;
use crate::verify::signed::{From as SignatureFrom, SignedScheme};

/// The hmac that reads this request's signature, with the name of its header.
fn hmac_of<'a>(scheme: &'a Scheme, request: &Received) -> Option<(&'a SignedScheme, String)> {
    match scheme {
        Scheme::Signed(hmac) => match &hmac.from {
            SignatureFrom::Field(Field::Header(name))
                if is_usual(hmac)
                    && !request.body.is_empty()
                    && request.headers.all(name).next().is_some() =>
            {
                Some((hmac, name.clone()))
            }
            _ => None,
        },
        // Where several read one header, the code of a refusal may be that of another.
        Scheme::Any(members) => {
            let reads = |member: &&Scheme| match member {
                Scheme::Signed(signed) => matches!(
                    &signed.from,
                    SignatureFrom::Field(Field::Header(name))
                        if request.headers.all(name).next().is_some()
                ),
                _ => false,
            };
            let mut readers = members.iter().filter(reads);
            readers.next().filter(|_| readers.next().is_none()).and_then(|it| hmac_of(it, request))
        }
        _ => None,
    }
}

/// An HMAC in one header line, in one encoding, over a content that holds the whole body.
fn is_usual(scheme: &SignedScheme) -> bool {
    matches!(scheme.algorithm, Algorithm::Hmac(_))
        && !scheme.all_lines
        && scheme.encodings.len() == 1
        && scheme.by_id.is_none()
        && scheme.preconditions.is_empty()
        && scheme.integrity() == Integrity::Full
        && scheme.content.has_body()
        // A time that is spoilt with its body, or that has a form of its own, can't even be read.
        && scheme.clock.as_ref().is_none_or(|clock| {
            clock.unit != Unit::Rfc3339 && !clock.from.as_ref().is_some_and(Field::is_in_body)
        })
}

/// Runs `check` with each hmac vector, its signature's header and text, and those of its encoded
/// signatures that a secret makes.
fn each_signature(mut check: impl FnMut(&str, &Source, &Vector, &Received, &str, &str, &str)) {
    let mut seen = 0;
    each_vector(|name, source, vector, request| {
        let Some((hmac, header)) = hmac_of(&source.scheme, request) else { return };
        let text = vector.headers[&header].as_slice()[0].clone();
        let mut read = Signatures::default();
        hmac.grammar.read(text.as_bytes(), &mut read).expect("a signature");
        for (encoded, key) in read.encoded {
            let encoded = std::str::from_utf8(encoded).expect("text");
            let alone = hmac.grammar.write(
                encoded,
                read.ts.map(|ts| std::str::from_utf8(ts).expect("text")),
                key,
            );
            if code(source, &with_header(request, &header, alone.as_bytes()), vector.now).is_ok() {
                seen += 1;
                check(name, source, vector, request, &header, &alone, encoded);
            }
        }
    });
    assert!(seen >= 14, "only {seen} signatures");
}

#[test]
fn any_changed_bit_of_a_signed_body_is_a_mismatch() {
    each_signature(|name, source, vector, request, _, _, _| {
        for at in 0..request.body.len() {
            for bit in 0..8 {
                let mut body = request.body.to_vec();
                body[at] ^= 1 << bit;
                let changed = Received { body: Bytes::from(body), ..request.clone() };
                let refused = code(source, &changed, vector.now);
                assert_eq!(refused, Err(Code::SignatureMismatch), "{name}: byte {at} bit {bit}");
            }
        }
        let longer = Bytes::from([request.body.as_ref(), b"\n"].concat());
        let shorter = request.body.slice(..request.body.len() - 1);
        for body in [longer, shorter, Bytes::new()] {
            let changed = Received { body, ..request.clone() };
            assert_eq!(code(source, &changed, vector.now), Err(Code::SignatureMismatch), "{name}");
        }
    });
}

#[test]
fn any_changed_character_of_a_signed_header_is_a_mismatch() {
    let mut changes = 0;
    each_signature(|name, source, vector, request, signature, _, _| {
        for (header, lines) in &vector.headers {
            let value = &lines.as_slice()[0];
            let field = Field::Header(header.clone());
            let (hmac, _) = hmac_of(&source.scheme, request).expect("an hmac");
            let signed = hmac.signs(&field);
            if header == signature || !signed {
                continue;
            }
            for i in 0..value.len() {
                let mut changed = value.clone().into_bytes();
                changed[i] = if changed[i] == b'1' { b'2' } else { b'1' };
                let changed = with_header(request, header, &changed);
                let refused = code(source, &changed, vector.now);
                assert_eq!(refused, Err(Code::SignatureMismatch), "{name}: {header}[{i}]");
                changes += 1;
            }
            assert!(code(source, &without_header(request, header), vector.now).is_err(), "{name}");
            let empty = with_header(request, header, b"");
            assert!(code(source, &empty, vector.now).is_err(), "{name}: empty {header}");
            let twice = with_line(request, header, value.as_bytes());
            let refused = code(source, &twice, vector.now);
            assert_eq!(refused, Err(Code::SignatureMalformed), "{name}: {header} twice");
        }
    });
    assert!(changes > 200, "only {changes} changes");
}

#[test]
fn any_changed_bit_of_a_signature_is_a_mismatch() {
    each_signature(|name, source, vector, request, header, alone, encoded| {
        let (hmac, _) = hmac_of(&source.scheme, request).expect("an hmac");
        let bytes = hmac.encodings[0].decode(encoded.as_bytes()).expect("decodes");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let text = alone.replace(encoded, &hmac.encodings[0].encode(&changed));
            let refused = code(source, &with_header(request, header, text.as_bytes()), vector.now);
            assert_eq!(refused, Err(Code::SignatureMismatch), "{name}: bit {bit}");
        }
    });
}

#[test]
fn a_signature_of_another_length_or_spelling_is_malformed() {
    each_signature(|name, source, vector, request, header, alone, encoded| {
        let (hmac, _) = hmac_of(&source.scheme, request).expect("an hmac");
        let bytes = hmac.encodings[0].decode(encoded.as_bytes()).expect("decodes");
        let mut others: Vec<String> = (1..bytes.len())
            .map(|end| hmac.encodings[0].encode(&bytes[..end]))
            .chain([hmac.encodings[0].encode(&[bytes.as_slice(), &[0]].concat())])
            .collect();
        others.extend((1..encoded.len()).map(|end| encoded[..end].to_owned()));
        others.extend([format!("{encoded}0"), format!("{encoded} "), format!(" {encoded}")]);
        others.extend([format!("{encoded}\t"), format!("{encoded}="), format!("{encoded}\0")]);
        // The last character of a base64 MAC has unused bits: only one spelling of it is good.
        if encoded.ends_with('=') {
            let last = encoded.len() - 2;
            let next = char::from(encoded.as_bytes()[last] + 1);
            others.push(format!("{}{next}=", &encoded[..last]));
        }
        for other in others {
            let text = alone.replacen(encoded, &other, 1);
            let refused = code(source, &with_header(request, header, text.as_bytes()), vector.now);
            assert_eq!(refused, Err(Code::SignatureMalformed), "{name}: {text:?}");
        }
    });
}

#[test]
fn a_missing_empty_or_repeated_signature_header_has_its_code() {
    each_signature(|name, source, vector, request, header, alone, _| {
        let missing = Err(Code::SignatureMissing);
        assert_eq!(code(source, &without_header(request, header), vector.now), missing, "{name}");
        assert_eq!(code(source, &with_header(request, header, b""), vector.now), missing, "{name}");
        for second in [alone.as_bytes(), b"", b"x"] {
            let twice = with_line(request, header, second);
            let refused = code(source, &twice, vector.now);
            assert_eq!(refused, Err(Code::SignatureMalformed), "{name}: {second:?}");
        }
        let binary = with_header(request, header, b"\xff\xfe");
        assert_eq!(code(source, &binary, vector.now), Err(Code::SignatureMalformed), "{name}");
    });
}

#[test]
fn any_changed_byte_of_a_token_is_a_mismatch() {
    let mut tokens = 0;
    each_vector(|name, source, vector, request| {
        let Scheme::Token(scheme) = &source.scheme else { return };
        let Field::Header(header) = &scheme.from else { return };
        tokens += 1;
        let token = vector.headers[header].as_slice()[0].as_bytes();
        // Without its prefix it is no token at all.
        let prefix = scheme.prefix.len();
        for i in prefix..token.len() {
            for bit in 0..8 {
                let mut changed = token.to_vec();
                changed[i] ^= 1 << bit;
                let refused = code(source, &with_header(request, header, &changed), vector.now);
                // CR and LF can't stand in a header line at all, and are dropped with it.
                assert_eq!(refused, Err(Code::SignatureMismatch), "{name}: byte {i} bit {bit}");
            }
            let cut = with_header(request, header, &token[..i]);
            let wanted = if i == prefix { Code::SignatureMissing } else { Code::SignatureMismatch };
            assert_eq!(code(source, &cut, vector.now), Err(wanted), "{name}: {i} bytes");
        }
        let longer = with_header(request, header, &[token, b"x"].concat());
        assert_eq!(code(source, &longer, vector.now), Err(Code::SignatureMismatch), "{name}");
        let gone = without_header(request, header);
        assert_eq!(code(source, &gone, vector.now), Err(Code::SignatureMissing), "{name}");
        let twice = with_line(request, header, token);
        assert_eq!(code(source, &twice, vector.now), Err(Code::SignatureMalformed), "{name}");
    });
    assert!(tokens >= 2, "only {tokens}");
}
