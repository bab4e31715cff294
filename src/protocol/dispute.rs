//! A dispute as its party files it: what its proof covers.
//!
//! Kind and requested escrow are clear, the texts are erasable parts. Who may file and what follows is not judged
//! here. Source: docs/spec/details.md section 6 and S9.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{BadName, CommitmentId, DisputeId, ParticipantId, ReferenceId, SessionId};
use super::json::Json;
use crate::crypto::digest::Digest;
use crate::crypto::json::canonical;

/// The part that the claim's text is.
pub const CLAIM: &str = "claim";
/// The part that the requested resolution's text is.
pub const RESOLUTION: &str = "requestedResolution";

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $expected:literal: $($(#[$vdoc:meta])* $variant:ident $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// The wire name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(BadName($expected)),
                }
            }
        }
    };
}

words! {
    /// What is claimed.
    ClaimKind, "nonDelivery, late, nonPayment, amount, terms, evidence or other":
    /// Nothing was delivered.
    NonDelivery "nonDelivery",
    /// It came after its deadline.
    Late "late",
    /// Nothing was paid.
    NonPayment "nonPayment",
    /// Another amount was paid.
    Amount "amount",
    /// Other terms than agreed.
    Terms "terms",
    /// The evidence is false.
    Evidence "evidence",
    /// Anything else.
    Other "other",
}

words! {
    /// To whom the escrow is to go.
    EscrowTo, "payer, payee or split":
    /// Back to the payer.
    Payer "payer",
    /// To the payee.
    Payee "payee",
    /// `payeeAmount` to the payee, the rest back.
    Split "split",
}

/// A dispute as filed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filing {
    /// The session.
    pub session_id: SessionId,
    /// Drawn by who files it.
    pub dispute_id: DisputeId,
    /// Who files it.
    pub sender: ParticipantId,
    /// What it is about.
    pub commitment_id: CommitmentId,
    /// Against whom, if not the obligor.
    pub against: Option<ParticipantId>,
    /// Messages and commitments it refers to.
    pub references: Vec<ReferenceId>,
    /// The evidence, exactly as sent.
    pub evidence: Json,
    /// What is claimed.
    pub claim: ClaimKind,
    /// Where the escrow is to go.
    pub escrow: EscrowTo,
    /// The payee's share of a split.
    pub payee_amount: Option<String>,
    /// The commitments of its texts.
    pub parts: BTreeMap<String, Digest>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    r#type: &'static str,
    session_id: SessionId,
    dispute_id: DisputeId,
    sender: ParticipantId,
    commitment_id: CommitmentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<ParticipantId>,
    references: &'a [ReferenceId],
    evidence: &'a Json,
    claim: Claim,
    requested_resolution: Resolution<'a>,
    parts: BTreeMap<&'a str, Digest>,
}

#[derive(Serialize)]
struct Claim {
    kind: ClaimKind,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resolution<'a> {
    escrow: EscrowTo,
    #[serde(skip_serializing_if = "Option::is_none")]
    payee_amount: Option<&'a str>,
}

impl Filing {
    /// The RFC 8785 text whose hash is the proof's `asp_hash`.
    #[must_use]
    pub fn envelope(&self) -> String {
        canonical(&Members {
            r#type: "asp/1.0 dispute",
            session_id: self.session_id,
            dispute_id: self.dispute_id,
            sender: self.sender,
            commitment_id: self.commitment_id,
            against: self.against,
            references: &self.references,
            evidence: &self.evidence,
            claim: Claim { kind: self.claim },
            requested_resolution: Resolution { escrow: self.escrow, payee_amount: self.payee_amount.as_deref() },
            parts: self.parts.iter().map(|(name, commitment)| (name.as_str(), *commitment)).collect(),
        })
    }
}
