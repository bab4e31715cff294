//! P-256 public keys: JWK in, JWK out, thumbprint.
//!
//! A [`PublicKey`] is a point on the curve; there is no other way to hold one. It knows nothing of who owns it.
//! Sources: RFC 7517, RFC 7518 section 6.2, RFC 7638; docs/spec/details.md section 1 "Checking a proof".

use std::fmt;

use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::DecodePublicKey as _;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::digest::{Digest, base64url, from_base64url};

/// Why a JWK is not taken; [`BadJwk::reason`] is the `reason` of docs/spec/details.md S1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum BadJwk {
    /// It holds a private or symmetric member.
    #[error("a public key: the members d, p, q, dp, dq, qi, oth and k must never be sent")]
    Private,
    /// It is of another type than EC P-256.
    #[error("a JWK with kty \"EC\" and crv \"P-256\"")]
    Type,
    /// Its coordinates are no point of the curve.
    #[error("x and y: 32 bytes each in base64url without padding, a point on P-256")]
    Invalid,
}

impl BadJwk {
    /// The stable name.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Private => "jwk_private",
            Self::Type => "jwk_type",
            Self::Invalid => "jwk_invalid",
        }
    }
}

/// Members that only private and symmetric keys have (RFC 7518 section 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A P-256 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    x: [u8; 32],
    y: [u8; 32],
}

impl PublicKey {
    /// Reads a public JWK; other members than the four of the key are ignored.
    pub fn from_jwk(jwk: &Value) -> Result<Self, BadJwk> {
        if PRIVATE.iter().any(|name| jwk.get(name).is_some()) {
            return Err(BadJwk::Private);
        }
        let member = |name| jwk.get(name).and_then(Value::as_str);
        if member("kty") != Some("EC") || member("crv") != Some("P-256") {
            return Err(BadJwk::Type);
        }
        let coordinate = |name| member(name).and_then(from_base64url)?.try_into().ok();
        match (coordinate("x"), coordinate("y")) {
            (Some(x), Some(y)) => Self::from_coordinates(x, y).ok_or(BadJwk::Invalid),
            _ => Err(BadJwk::Invalid),
        }
    }

    /// A point by its coordinates (big-endian); `None` if it is not on the curve.
    #[must_use]
    pub fn from_coordinates(x: [u8; 32], y: [u8; 32]) -> Option<Self> {
        let key = Self { x, y };
        p256::PublicKey::from_sec1_bytes(&key.uncompressed()).is_ok().then_some(key)
    }

    /// A point in SEC1 form, compressed or not.
    #[must_use]
    pub fn from_sec1(bytes: &[u8]) -> Option<Self> {
        let point = p256::PublicKey::from_sec1_bytes(bytes).ok()?.to_sec1_point(false);
        Some(Self { x: (*point.x()?).into(), y: (*point.y()?).into() })
    }

    /// A key as `SubjectPublicKeyInfo` in PEM (`-----BEGIN PUBLIC KEY-----`).
    #[must_use]
    pub fn from_pem(pem: &str) -> Option<Self> {
        let key = p256::PublicKey::from_public_key_pem(pem).ok()?;
        Self::from_sec1(key.to_sec1_point(false).as_bytes())
    }

    /// The point as 0x04 ‖ x ‖ y.
    #[must_use]
    pub fn uncompressed(&self) -> [u8; 65] {
        let mut point = [4; 65];
        let (_, rest) = point.split_at_mut(1);
        let (x, y) = rest.split_at_mut(32);
        x.copy_from_slice(&self.x);
        y.copy_from_slice(&self.y);
        point
    }

    /// The public JWK: the four members that the thumbprint reads.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": base64url(&self.x), "y": base64url(&self.y)})
    }

    /// RFC 7638 SHA-256 thumbprint.
    #[must_use]
    pub fn thumbprint(&self) -> Digest {
        let (x, y) = (base64url(&self.x), base64url(&self.y));
        Digest::of(&[format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes()])
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.thumbprint())
    }
}

impl Serialize for PublicKey {
    /// A JWK in text formats, the two coordinates in binary ones.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.to_jwk().serialize(serializer)
        } else {
            (self.x, self.y).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Self::from_jwk(&Value::deserialize(deserializer)?).map_err(D::Error::custom);
        }
        let (x, y) = Deserialize::deserialize(deserializer)?;
        Self::from_coordinates(x, y).ok_or_else(|| D::Error::custom(BadJwk::Invalid))
    }
}
