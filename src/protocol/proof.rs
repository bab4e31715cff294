//! Proofs: the DPoP JWS by which an agent shows that a request, or a message, is its own.
//!
//! [`check`] is a pure function over the proof's text and what the call knows; whose key it is, and whether its `jti`
//! was seen before, the caller looks up. Only this module makes a [`Signed`] message from a message and its proof.
//! Sources: RFC 9449; docs/spec/details.md section 1 "Checking a proof" and S1 (the order of reasons).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::beside::Beside;
use super::envelope::Envelope;
use super::message::Message;
use super::refusal::{Code, Refusal};
use super::time::{Span, Timestamp};
use super::url::Target;
use crate::crypto::digest::{Digest, from_base64url};
use crate::crypto::es256;
use crate::crypto::json::{Flaw, Rules, read};
use crate::crypto::jwk::{BadJwk, PublicKey};

/// How far `iat` may lie from the moment of admission, inclusive.
pub const SKEW: Span = Span::seconds(60);
/// How long after `iat` a proof's `jti` is remembered.
pub const REMEMBERED: Span = Span::seconds(150);
/// Most characters of a `jti`.
const MAX_JTI: usize = 256;

/// What the checker knows of the call that a proof is for.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The method: `POST` for every message.
    pub htm: &'a str,
    /// The URL.
    pub target: &'a Target,
    /// Now, at the sender's own cell; `admittedAt` at every other.
    pub at: Timestamp,
    /// At registration: SHA-256 of the enrolment key, which an `ath` must equal if there is one.
    pub ath: Option<Digest>,
    /// The nonces in force, if nonces are on; the proof must carry one of them.
    pub nonces: Option<&'a [&'a str]>,
    /// Whether the proof is a message's and must carry `asp_hash`.
    pub message: bool,
}

/// A proof that holds for its call.
#[derive(Debug, Clone, PartialEq)]
pub struct Proven {
    text: String,
    key: PublicKey,
    thumbprint: Digest,
    jti: String,
    iat: f64,
    asp_hash: Option<Digest>,
}

impl Proven {
    /// The key that made it.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The key's RFC 7638 thumbprint: who the caller is.
    #[must_use]
    pub const fn thumbprint(&self) -> Digest {
        self.thumbprint
    }

    /// What is remembered to refuse its second use: SHA-256 of thumbprint and `jti`. Never of the signature, which
    /// anybody can give another valid form.
    #[must_use]
    pub fn replay_key(&self) -> Digest {
        Digest::of(&[self.thumbprint.bytes(), self.jti.as_bytes()])
    }

    /// Its `iat`, to the millisecond.
    #[must_use]
    pub fn issued_at(&self) -> Timestamp {
        #[allow(clippy::cast_possible_truncation, reason = "fresh, so within a minute of a timestamp")]
        Timestamp((self.iat * 1000.0).floor() as i64)
    }

    /// Whether it covers what has this envelope hash; `hash_mismatch` if it covers something else.
    pub fn covers(&self, envelope: Digest) -> Result<(), Refusal> {
        if self.asp_hash == Some(envelope) {
            return Ok(());
        }
        let detail = "asp_hash covers another message than the one sent; `expected` is this one's envelope hash";
        Err(Refusal::new(Code::HashMismatch, detail).with("expected", json!(envelope)))
    }

    /// The message it proves, with what is kept of the proof; `hash_mismatch` if it proves another.
    pub fn bind(self, message: Message, admitted_at: Timestamp) -> Result<Signed, Refusal> {
        let envelope = Envelope::of(&message).hash();
        self.covers(envelope)?;
        Ok(Signed { message, envelope, proof: self.text, admitted_at })
    }

    /// What it proves beside the chain, with what is kept of the proof; `hash_mismatch` if it proves another.
    pub fn vouch(self, said: Beside, admitted_at: Timestamp) -> Result<Vouched, Refusal> {
        let envelope = said.envelope();
        self.covers(envelope)?;
        Ok(Vouched { said, envelope, proof: self.text, admitted_at })
    }
}

/// Something beside the chain whose proof covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    said: Beside,
    envelope: Digest,
    proof: String,
    admitted_at: Timestamp,
}

impl Vouched {
    /// What was said.
    #[must_use]
    pub const fn said(&self) -> &Beside {
        &self.said
    }

    /// The hash its proof covers.
    #[must_use]
    pub const fn envelope(&self) -> Digest {
        self.envelope
    }

    /// The proof: a compact JWS.
    #[must_use]
    pub fn proof(&self) -> &str {
        &self.proof
    }

    /// When the sender's own cell admitted it.
    #[must_use]
    pub const fn admitted_at(&self) -> Timestamp {
        self.admitted_at
    }
}

/// A message whose proof covers it. It serialises for this cell's own storage; what a peer sends goes through
/// [`check`] and [`Proven::bind`] again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    message: Message,
    envelope: Digest,
    proof: String,
    admitted_at: Timestamp,
}

impl Signed {
    /// The message.
    #[must_use]
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// E, the envelope hash its proof covers.
    #[must_use]
    pub const fn envelope(&self) -> Digest {
        self.envelope
    }

    /// The proof: a compact JWS.
    #[must_use]
    pub fn proof(&self) -> &str {
        &self.proof
    }

    /// When the sender's own cell admitted it.
    #[must_use]
    pub const fn admitted_at(&self) -> Timestamp {
        self.admitted_at
    }

    /// The message alone.
    #[must_use]
    pub fn into_message(self) -> Message {
        self.message
    }
}

/// Whether a message admitted then may stand in a record of that time: clocks of two cells may differ by a minute.
#[must_use]
pub fn admitted_in_time(admitted_at: Timestamp, recorded: Timestamp) -> bool {
    admitted_at <= recorded + SKEW
}

/// Checks a proof for its call; with several faults the refusal names the first in the order of S1.
/// An empty text is a missing proof.
pub fn check(text: &str, call: &Call<'_>) -> Result<Proven, Refusal> {
    if text.is_empty() {
        return Err(refuse("missing", "send a DPoP proof (RFC 9449) in the header DPoP, or in the message's `proof`"));
    }
    let parts = Parts::read(text)?;
    let key = check_header(&parts.header)?;
    if !es256::verify(&key, parts.signed.as_bytes(), &parts.signature) {
        return Err(refuse("signature", "the signature must be 64 raw bytes r and s by the key in `jwk`"));
    }
    let claims = &parts.claims;
    let jti = check_jti(claims)?;
    check_call(claims, call)?;
    let iat = check_iat(claims, call.at)?;
    check_ath(claims, call.ath)?;
    let asp_hash = if call.message { Some(check_asp_hash(claims)?) } else { None };
    check_nonce(claims, call.nonces)?;
    Ok(Proven { text: text.to_owned(), key, thumbprint: key.thumbprint(), jti, iat, asp_hash })
}

fn refuse(reason: &'static str, detail: &str) -> Refusal {
    Refusal::proof(reason, detail)
}

/// The three segments of a compact JWS, read.
struct Parts<'a> {
    header: Value,
    claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

/// Why segments cannot be read, in the order of S1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unreadable {
    NotCompact,
    Duplicate,
    Encoding,
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::NotCompact => refuse(
                "not_compact_jws",
                "expected three segments of base64url without padding: a JSON object, a JSON object, a signature",
            ),
            Unreadable::Duplicate => refuse("duplicate_member", "header or claims name a member twice"),
            Unreadable::Encoding => refuse("invalid_utf8", "header or claims are not UTF-8"),
        }
    }
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Result<Self, Unreadable> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Unreadable::NotCompact)?;
        let (header, claims) = signed.split_once('.').ok_or(Unreadable::NotCompact)?;
        let signature = from_base64url(signature).ok_or(Unreadable::NotCompact)?;
        match (object(header), object(claims)) {
            (Ok(header), Ok(claims)) => Ok(Self { header, claims, signed, signature }),
            (Err(one), Err(other)) => Err(one.min(other)),
            (Err(unreadable), Ok(_)) | (Ok(_), Err(unreadable)) => Err(unreadable),
        }
    }
}

/// A segment's JSON object. A fault of its text is told from a fault of its bytes by reading it once more without
/// them.
fn object(segment: &str) -> Result<Value, Unreadable> {
    let bytes = from_base64url(segment).ok_or(Unreadable::NotCompact)?;
    match read(&bytes, Rules::WRITTEN) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(Unreadable::NotCompact),
        Err(rejected) => Err(match rejected.flaw {
            Flaw::Duplicate => Unreadable::Duplicate,
            Flaw::Surrogate => Unreadable::Encoding,
            Flaw::Encoding => match read(String::from_utf8_lossy(&bytes).as_bytes(), Rules::WRITTEN) {
                Ok(value) if value.is_object() => Unreadable::Encoding,
                Err(rejected) if rejected.flaw == Flaw::Duplicate => Unreadable::Duplicate,
                Ok(_) | Err(_) => Unreadable::NotCompact,
            },
            Flaw::ByteOrderMark | Flaw::Syntax | Flaw::Number | Flaw::Depth => Unreadable::NotCompact,
        }),
    }
}

fn text<'a>(object: &'a Value, member: &str) -> Option<&'a str> {
    object.get(member).and_then(Value::as_str)
}

fn check_header(header: &Value) -> Result<PublicKey, Refusal> {
    if text(header, "typ") != Some("dpop+jwt") {
        return Err(refuse("typ", "the header's typ must be exactly dpop+jwt"));
    }
    if text(header, "alg") != Some("ES256") {
        return Err(refuse("alg", "the header's alg must be ES256"));
    }
    if header.get("crit").is_some() {
        return Err(refuse("crit", "the header must not have crit"));
    }
    let jwk = header.get("jwk").ok_or_else(|| refuse("jwk_missing", "the header must hold the public key in jwk"))?;
    PublicKey::from_jwk(jwk).map_err(|bad: BadJwk| refuse(bad.reason(), &format!("the header's jwk must be {bad}")))
}

fn check_jti(claims: &Value) -> Result<String, Refusal> {
    let printable =
        |jti: &&str| (1..=MAX_JTI).contains(&jti.len()) && jti.bytes().all(|c| c == b' ' || c.is_ascii_graphic());
    let jti = text(claims, "jti").filter(printable);
    jti.map(str::to_owned).ok_or_else(|| refuse("jti", "jti must be 1 to 256 printable ASCII characters"))
}

fn check_call(claims: &Value, call: &Call<'_>) -> Result<(), Refusal> {
    if text(claims, "htm") != Some(call.htm) {
        return Err(refuse("htm", &format!("htm must be {}", call.htm)));
    }
    if text(claims, "htu").is_some_and(|htu| call.target.matches(htu)) {
        return Ok(());
    }
    let detail = "htu must be the public URL of the sender's cell and the path of the call, without query and fragment";
    Err(refuse("htu", detail))
}

fn check_iat(claims: &Value, at: Timestamp) -> Result<f64, Refusal> {
    let fresh = |iat: &f64| {
        #[allow(clippy::cast_precision_loss, reason = "milliseconds up to the year 9999 are exact")]
        let (at, skew) = (at.0 as f64, SKEW.0 as f64);
        // To the microsecond: a double near 1.8e12 ms is no finer, and the edge is inclusive.
        ((iat * 1000.0 - at) * 1000.0).round().abs() <= skew * 1000.0
    };
    let iat = claims.get("iat").and_then(Value::as_f64).filter(fresh);
    iat.ok_or_else(|| refuse("iat", &format!("iat must be a number of seconds within 60 s of the cell's clock, {at}")))
}

fn check_ath(claims: &Value, expected: Option<Digest>) -> Result<(), Refusal> {
    let (Some(expected), Some(ath)) = (expected, claims.get("ath")) else { return Ok(()) };
    if ath.as_str().and_then(Digest::parse) == Some(expected) {
        return Ok(());
    }
    Err(refuse("ath", "ath must be the SHA-256 of the enrolment key in base64url without padding"))
}

fn check_asp_hash(claims: &Value) -> Result<Digest, Refusal> {
    let detail = "the proof of a message must carry asp_hash, the message's envelope hash";
    let asp_hash = claims.get("asp_hash").ok_or_else(|| refuse("asp_hash_missing", detail))?;
    let digest = asp_hash.as_str().and_then(Digest::parse);
    digest.ok_or_else(|| refuse("asp_hash_malformed", "asp_hash must be 32 bytes in base64url without padding"))
}

fn check_nonce(claims: &Value, nonces: Option<&[&str]>) -> Result<(), Refusal> {
    let Some(nonces) = nonces else { return Ok(()) };
    if text(claims, "nonce").is_some_and(|nonce| nonces.contains(&nonce)) {
        return Ok(());
    }
    Err(Refusal::new(Code::UseDpopNonce, "the proof must carry the nonce of the header DPoP-Nonce"))
}
