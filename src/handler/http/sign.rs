//! Signing by Standard Webhooks, version 1: HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// Below this a key protects nothing; Standard Webhooks wants 24 to 64 bytes.
const KEY_BYTES_MIN: usize = 16;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A checked key, ready to sign.
pub(super) struct Signer(Hmac<Sha256>);

impl Signer {
    /// Reads a secret such as `whsec_MfKQ…`; the prefix may be absent.
    ///
    /// Fails with a sentence that never holds the secret.
    pub(super) fn new(secret: &Secret) -> Result<Self, String> {
        let text = secret.expose().trim();
        let text = text.strip_prefix("whsec_").unwrap_or(text);
        let key = BASE64.decode(text).map_err(|_invalid| {
            "the secret is not base64; it looks like whsec_ and 32 to 88 characters".to_owned()
        })?;
        if key.len() < KEY_BYTES_MIN {
            return Err(format!(
                "the secret has {} bytes, which is too short; use 32 random bytes in base64",
                key.len()
            ));
        }
        let mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| error.to_string())?;
        Ok(Self(mac))
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secret: &str) -> Result<Signer, String> {
        Signer::new(&Secret::new(secret.to_owned()))
    }

    #[test]
    fn the_specifications_own_example_gives_its_signature() {
        for secret in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
        {
            let signature = signer(secret).expect("a key").sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#,
            );
            assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        }
    }

    #[test]
    fn a_secret_that_protects_nothing_is_refused_without_being_said() {
        for (secret, reason) in [
            ("whsec_", "too short"),
            ("whsec_c2hvcnQ=", "too short"),
            ("whsec_!canary!", "not base64"),
        ] {
            let fault = signer(secret).err().expect(secret);
            assert!(fault.contains(reason) && !fault.contains("canary"), "{fault}");
        }
    }
}
