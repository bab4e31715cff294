//! ES256: ECDSA over P-256 with SHA-256, signatures as 64 raw bytes r‖s.
//!
//! Both S forms verify (the clients in use make both), so a signature's bytes identify nothing. Signing goes through
//! aws-lc-rs, which draws its own nonce: signing the same bytes twice gives different signatures. Keys never print.
//! Sources: RFC 7518 section 3.4; docs/spec/details.md section 1 "Checking a proof".

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use zeroize::Zeroizing;

use super::digest::Digest;
use super::jwk::PublicKey;

/// Length of a signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// Whether `signature` (64 raw bytes) is `key`'s over `message`.
#[must_use]
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.uncompressed()).verify(message, signature).is_ok()
}

/// What is wrong with a private key file or a signature that could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no key of this kind.
    #[error("expected a P-256 private key in PKCS#8 (PEM \"PRIVATE KEY\" or its DER)")]
    NotAKey,
}

/// A P-256 private key with its public half.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
    thumbprint: Digest,
}

impl SigningKey {
    /// Reads PKCS#8 PEM.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        let secret = p256::SecretKey::from_pkcs8_pem(pem).map_err(|_| KeyError::NotAKey)?;
        Self::from_secret(&secret)
    }

    /// Reads PKCS#8 DER.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let secret = p256::SecretKey::from_pkcs8_der(der).map_err(|_| KeyError::NotAKey)?;
        Self::from_secret(&secret)
    }

    /// Reads a private scalar (`d` of a JWK), 32 bytes big-endian.
    pub fn from_scalar(scalar: &[u8; 32]) -> Result<Self, KeyError> {
        let secret = p256::SecretKey::from_bytes(&(*scalar).into()).map_err(|_| KeyError::NotAKey)?;
        Self::from_secret(&secret)
    }

    /// Makes a new key from 32 bytes of entropy.
    ///
    /// The first candidate is the entropy itself; the 2^-32 of values that are no scalar are hashed until one is.
    pub fn generate(entropy: &[u8; 32]) -> Result<Self, KeyError> {
        let mut candidate = Zeroizing::new(*entropy);
        loop {
            match Self::from_scalar(&candidate) {
                Ok(key) => return Ok(key),
                Err(KeyError::NotAKey) => *candidate = Digest::of(&[candidate.as_slice()]).0,
            }
        }
    }

    fn from_secret(secret: &p256::SecretKey) -> Result<Self, KeyError> {
        let der = secret.to_pkcs8_der().map_err(|_| KeyError::NotAKey)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_bytes());
        let pair = pair.map_err(|_| KeyError::NotAKey)?;
        let public = PublicKey::from_sec1(pair.public_key().as_ref()).ok_or(KeyError::NotAKey)?;
        Ok(Self { pair, public, thumbprint: public.thumbprint() })
    }

    /// The key as PKCS#8 PEM, for its file.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let der = self.pair.to_pkcs8v1().map_err(|_| KeyError::NotAKey)?;
        let secret = p256::SecretKey::from_pkcs8_der(der.as_ref()).map_err(|_| KeyError::NotAKey)?;
        secret.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::NotAKey)
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// RFC 7638 thumbprint of the public half: the `kid` of what it signs.
    #[must_use]
    pub const fn thumbprint(&self) -> Digest {
        self.thumbprint
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let signature = self.pair.sign(&SystemRandom::new(), message).ok();
        // A valid key signs; were it ever not so, 64 zero bytes verify under no key.
        signature.and_then(|s| s.as_ref().try_into().ok()).unwrap_or([0; SIGNATURE_BYTES])
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.thumbprint)
    }
}
