//! DPoP proofs (RFC 9449) as an agent makes them: of a request, and of a message with its `asp_hash`.
//!
//! Only an agent's side: how cells check them is `protocol::proof`'s.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::crypto::digest::{Digest, base64url};
use crate::crypto::es256::SigningKey;
use crate::protocol::time::Timestamp;

/// What a proof says beside who made it.
#[derive(Debug, Clone, Copy)]
pub struct Claims<'a> {
    /// The method.
    pub htm: &'a str,
    /// The URL without query and fragment.
    pub htu: &'a str,
    /// When it is made.
    pub iat: Timestamp,
    /// E, if it proves a message.
    pub asp_hash: Option<Digest>,
}

/// A proof by `key`, with a new `jti`.
#[must_use]
pub fn prove(key: &SigningKey, claims: Claims<'_>) -> String {
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public()});
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of this age are exact in a double")]
    let iat = claims.iat.0 as f64 / 1000.0;
    let mut said = json!({"jti": Uuid::new_v4(), "htm": claims.htm, "htu": claims.htu, "iat": iat});
    if let (Some(envelope), Value::Object(members)) = (claims.asp_hash, &mut said) {
        members.insert("asp_hash".to_owned(), json!(envelope));
    }
    let signed = format!("{}.{}", segment(&header), segment(&said));
    let signature = base64url(&key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn segment(value: &Value) -> String {
    base64url(value.to_string().as_bytes())
}
