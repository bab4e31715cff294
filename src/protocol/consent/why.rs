//! Why a consent is not taken.

use crate::crypto::jws;
use crate::protocol::refusal::Refusal;

/// The first thing that is wrong with a consent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The document is no consent.
    #[error("type is \"asp/1.0 consent\"")]
    Type,
    /// Members are missing, unknown, null or of another form.
    #[error("the members of docs/spec/details.md S10: {0}")]
    Members(String),
    /// A class that is none of the six, or no class at all.
    #[error("dataClasses out of card, content, dispute, metadata, personal, trust; at least one")]
    Classes,
    /// Lists that are not sorted, or name something twice.
    #[error("dataClasses, purposes and agents sorted and each once, parties by organisation")]
    Order,
    /// An end that is not after the beginning.
    #[error("notBefore before notAfter")]
    Period,
    /// One organisation twice.
    #[error("two organisations")]
    Parties,
    /// A way that is not between the two.
    #[error("one or two directions, each from one party to the other")]
    Directions,
    /// The digest shown is not the document's.
    #[error("digest is SHA-256 over JCS of the document")]
    Digest,
    /// Not one signature by each organisation.
    #[error("one signature by each of the two organisations")]
    Signatures,
    /// The signature carries a payload.
    #[error("a detached signature: the middle segment is empty")]
    NotDetached,
    /// The signature is not a compact JWS.
    #[error("a signature that is a compact JWS of JSON objects without crit")]
    Malformed,
    /// Another algorithm.
    #[error("a signature with alg ES256")]
    Alg,
    /// A signature of another kind.
    #[error("a signature with typ \"asp-consent+jwt\"")]
    Typ,
    /// Another key than the party's.
    #[error("a signature whose kid is the party's, by a key that is known to be the organisation's")]
    Kid,
    /// The key did not sign this document.
    #[error("a signature by the party's key over JCS of the document")]
    Signature,
}

impl Why {
    /// `validation_failed` at `pointer`.
    #[must_use]
    pub fn refusal(&self, pointer: &str) -> Refusal {
        Refusal::invalid(pointer, self.to_string())
    }
}

impl From<jws::Why> for Why {
    fn from(why: jws::Why) -> Self {
        match why {
            jws::Why::Malformed | jws::Why::NotCanonical => Self::Malformed,
            jws::Why::Alg => Self::Alg,
            jws::Why::Typ => Self::Typ,
            jws::Why::Kid => Self::Kid,
            jws::Why::Type => Self::Type,
            jws::Why::Members => Self::Members("of its kind".to_owned()),
            jws::Why::Signature => Self::Signature,
        }
    }
}
