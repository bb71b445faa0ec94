//! How bytes are written in headers, read strictly: one value has one spelling, apart from the case
//! of hex digits.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// How a signature's bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Two digits a byte, either case.
    Hex,
    /// With padding.
    Base64,
    /// The URL-safe alphabet, without padding.
    Base64Url,
}

// Trailing bits that no byte uses must be zero: else several spellings would decode to one MAC, and
// what we keep as "the signature" could be varied at will.
const STRICT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(false);
const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    STRICT.with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    STRICT.with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::RequireNone),
);
const STANDARD_KEY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    STRICT.with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const URL_SAFE_KEY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    STRICT.with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Encoding {
    /// The bytes that `text` spells; `None` when it spells none.
    pub(crate) fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => STANDARD.decode(text).ok(),
            Self::Base64Url => URL_SAFE.decode(text).ok(),
        }
    }

    /// The one spelling of `bytes` that we write.
    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url => URL_SAFE.encode(bytes),
        }
    }

    /// The bytes of a configured key. Padding may be missing: operators copy keys both ways.
    pub(crate) fn decode_key(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => STANDARD_KEY.decode(text).ok(),
            Self::Base64Url => URL_SAFE_KEY.decode(text).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_one_spelling() {
        for (encoding, good, bad) in [
            (Encoding::Hex, "00ff", &["00f", "00fg", " 00ff", "00ff\n", "0x00ff"][..]),
            (
                Encoding::Base64,
                "AP8=",
                &["AP8", "AP9=", "AP8==", "AP8=\n", " AP8=", "A P8=", "AP8=AP8=", "_P8="][..],
            ),
            (Encoding::Base64Url, "AP8", &["AP8=", "AP9", "A+8", "AP8 "][..]),
        ] {
            assert_eq!(encoding.decode(good.as_bytes()), Some(vec![0, 255]), "{good}");
            assert_eq!(encoding.encode(&[0, 255]), good);
            for text in bad {
                assert_eq!(encoding.decode(text.as_bytes()), None, "{text:?} as {encoding:?}");
            }
        }
    }

    #[test]
    fn a_key_may_lack_its_padding() {
        assert_eq!(Encoding::Base64.decode_key("AP8="), Encoding::Base64.decode_key("AP8"));
        assert_eq!(Encoding::Base64Url.decode_key("AP8="), Some(vec![0, 255]));
    }
}
