//! What cells and organisations sign: compact JWS whose kind stands in the header and in the payload.
//!
//! One kind never passes for another: `typ` and the payload's `type` must both be the expected one. Payloads are
//! canonical JSON, so that a signature covers one text only. Agents' proofs are not these: see `protocol::proof`.
//! Sources: RFC 7515; docs/spec/details.md section 2.

use serde_json::{Value, json};

use super::digest::{base64url, from_base64url};
use super::es256::{self, SigningKey};
use super::json::{Rules, canonical, read};
use super::jwk::PublicKey;

macro_rules! typ {
    ($name:literal) => {
        concat!("asp-", $name, "+jwt")
    };
    ($name:literal $header:literal) => {
        typ!($header)
    };
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident $name:literal $(under $header:literal)?;)*) => {
        /// What a signature says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// Its name in the contract.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// The header's `typ`.
            #[must_use]
            pub const fn typ(self) -> &'static str {
                match self { $(Self::$variant => typ!($name $($header)?),)* }
            }
            /// The payload's `type`.
            #[must_use]
            pub const fn payload_type(self) -> &'static str {
                match self { $(Self::$variant => concat!("asp/1.0 ", $name),)* }
            }
        }
    };
}

kinds! {
    /// A record is durable in the signing cell.
    Receipt "receipt";
    /// The proof of a system record.
    System "system";
    /// An agent's key and when it was its.
    Key "key";
    /// A profile in a search answer.
    Card "card";
    /// A score with its components.
    Trust "trust";
    /// One agent's endorsement of another.
    Endorsement "endorsement";
    /// An agent's history as a cell saw it.
    History "history";
    /// A session's outcome.
    Outcome "outcome";
    /// Money held in escrow.
    Hold "hold";
    /// How operators end an escrow that its session does not end.
    Escrow "escrow";
    /// An order to credit what an escrow released.
    Settlement "settlement";
    /// Where a cell stands with a peer.
    Netting "netting";
    /// How a session stood when somebody of a new cell was called.
    Seating "seating";
    /// An operator's request to the host's, to resolve a session.
    Request "request";
    /// A cell's verdict on a dispute.
    Verdict "verdict";
    /// Checkpoints of logs, handed over for a signature or signed.
    Checkpoints "checkpoints";
    /// What a cell holds of a data subject.
    Subject "subject";
    /// What a cell has imported from a peer.
    Imports "imports";
    /// What a residency bundle is about.
    Residency "residency";
    /// An erasure certificate.
    Erasure "erasure";
    /// An organisation's agreement to a consent document (detached payload).
    Consent "consent";
    /// An organisation's word that it ends a consent.
    Revocation "consent revocation" under "consent";
}

/// Why a JWS is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Not three segments of canonical base64url over JSON objects, or a `crit`.
    #[error("not a compact JWS of JSON objects without crit")]
    Malformed,
    /// Another algorithm.
    #[error("alg is not ES256")]
    Alg,
    /// Another kind in the header.
    #[error("typ is of another kind")]
    Typ,
    /// No key known by that name for what is claimed.
    #[error("kid names no known key of the signer")]
    Kid,
    /// The payload is not its own RFC 8785 text.
    #[error("the payload is not canonical JSON")]
    NotCanonical,
    /// Another kind in the payload.
    #[error("the payload's type is of another kind")]
    Type,
    /// The payload lacks a member, or has one of another form.
    #[error("the payload's members are not those of its kind")]
    Members,
    /// The key did not sign this.
    #[error("the signature does not verify")]
    Signature,
}

/// Signs `payload` as `kind`; `kid` is the key's thumbprint. The payload must hold the kind's `type`.
#[must_use]
pub fn sign(key: &SigningKey, kind: Kind, payload: &Value) -> String {
    let signed = format!("{}.{}", header(key, kind), base64url(canonical(payload).as_bytes()));
    let signature = base64url(&key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// As [`sign`], with the payload left out of the result (RFC 7515 Appendix F).
#[must_use]
pub fn sign_detached(key: &SigningKey, kind: Kind, payload: &Value) -> String {
    let header = header(key, kind);
    let signed = format!("{header}.{}", base64url(canonical(payload).as_bytes()));
    format!("{header}..{}", base64url(&key.sign(signed.as_bytes())))
}

fn header(key: &SigningKey, kind: Kind) -> String {
    let header = json!({"alg": "ES256", "kid": key.thumbprint(), "typ": kind.typ()});
    base64url(canonical(&header).as_bytes())
}

/// Verifies a JWS of `kind`; `key_of` knows the signer's keys by `kid`. Returns the payload.
pub fn verify(jws: &str, kind: Kind, key_of: impl FnOnce(&str) -> Option<PublicKey>) -> Result<Value, Why> {
    let claim = Claim::read(jws, kind)?;
    let key = key_of(claim.kid()).ok_or(Why::Kid)?;
    claim.verify(&key)
}

/// Verifies a detached JWS of `kind` over the canonical text of `payload`.
pub fn verify_detached(
    jws: &str,
    kind: Kind,
    payload: &Value,
    key_of: impl FnOnce(&str) -> Option<PublicKey>,
) -> Result<(), Why> {
    let (header, rest) = jws.split_once('.').ok_or(Why::Malformed)?;
    let signature = rest.strip_prefix('.').ok_or(Why::Malformed)?;
    let whole = format!("{header}.{}.{signature}", base64url(canonical(payload).as_bytes()));
    verify(&whole, kind, key_of).map(|_| ())
}

/// A well-formed JWS of one kind whose signature nobody has checked yet.
#[derive(Debug, Clone)]
pub struct Claim {
    kid: String,
    payload: Value,
    signed: String,
    signature: Vec<u8>,
}

impl Claim {
    /// Reads a JWS of `kind`; everything but the signature is checked.
    pub fn read(jws: &str, kind: Kind) -> Result<Self, Why> {
        let (signed, signature) = jws.rsplit_once('.').ok_or(Why::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Why::Malformed)?;
        let segment = |text| from_base64url(text).ok_or(Why::Malformed);
        let (header, payload, signature) = (segment(header)?, segment(payload)?, segment(signature)?);
        let key_name = key_id(&object(&header)?, kind)?;
        let claims = object(&payload)?;
        if canonical(&claims).as_bytes() != payload {
            return Err(Why::NotCanonical);
        }
        if text(&claims, "type") != Some(kind.payload_type()) {
            return Err(Why::Type);
        }
        Ok(Self { kid: key_name, payload: claims, signed: signed.to_owned(), signature })
    }

    /// The name of the key that is said to have signed.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What is said, unproven: only to find the key.
    #[must_use]
    pub const fn unproven(&self) -> &Value {
        &self.payload
    }

    /// Checks the signature and gives the payload.
    pub fn verify(self, key: &PublicKey) -> Result<Value, Why> {
        let good = es256::verify(key, self.signed.as_bytes(), &self.signature);
        if good { Ok(self.payload) } else { Err(Why::Signature) }
    }
}

/// Checks a header; members other than `alg`, `typ`, `kid` and `crit` are ignored.
fn key_id(header: &Value, kind: Kind) -> Result<String, Why> {
    if header.get("crit").is_some() {
        return Err(Why::Malformed);
    }
    if text(header, "alg") != Some("ES256") {
        return Err(Why::Alg);
    }
    if text(header, "typ") != Some(kind.typ()) {
        return Err(Why::Typ);
    }
    text(header, "kid").map(str::to_owned).ok_or(Why::Kid)
}

fn object(bytes: &[u8]) -> Result<Value, Why> {
    let value = read(bytes, Rules::WRITTEN).map_err(|_| Why::Malformed)?;
    if value.is_object() { Ok(value) } else { Err(Why::Malformed) }
}

fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str)
}
