//! A dispute as its party files it: what its proof covers.
//!
//! Kind and requested escrow are clear, the texts are erasable parts. Who may file and what follows is not judged
//! here. Source: docs/spec/details.md section 6 and S9.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::{BadName, CommitmentId, DisputeId, ParticipantId, ReferenceId, SessionId};
use super::json::Json;
use super::refusal::Refusal;
use super::terms::Evidence;
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

/// The most references, and the most pieces of evidence, of one dispute.
pub const MAX_ENTRIES: usize = 64;

/// A piece of evidence, which stands at `at`. What lies at a link can be changed: the digest is what the claimant swears
/// to.
///
/// # Errors
/// `validation_failed` at the member at fault.
pub fn check_evidence(at: &str, entry: &Value) -> Result<(), Refusal> {
    let read = Evidence::parse(at, entry)?;
    match (read.uri, read.sha256) {
        (Some(_), None) => Err(Refusal::invalid(format!("{at}/sha256"), "the digest of what lies at the uri")),
        (Some(_) | None, _) => Ok(()),
    }
}

impl Filing {
    /// What an agent's own cell asks of a filing when it reads it, asked again of one that a peer brings.
    ///
    /// # Errors
    /// `validation_failed` at the member at fault.
    pub fn check(&self) -> Result<(), Refusal> {
        if (self.escrow == EscrowTo::Split) != self.payee_amount.is_some() {
            let expected = "the payee's share of a split, and no such member otherwise";
            return Err(Refusal::invalid("/requestedResolution/payeeAmount", expected));
        }
        let evidence = self.evidence.value();
        let entries = evidence.as_array().map(Vec::as_slice).unwrap_or_default();
        let listed = evidence.is_array() || evidence.is_null();
        for (at, good) in [
            ("/references", self.references.len() <= MAX_ENTRIES),
            ("/evidence", listed && entries.len() <= MAX_ENTRIES),
        ] {
            if !good {
                return Err(Refusal::invalid(at, format!("a list of at most {MAX_ENTRIES}")));
            }
        }
        for (index, entry) in entries.iter().enumerate() {
            check_evidence(&format!("/evidence/{index}"), entry)?;
        }
        match self.parts.keys().find(|name| ![CLAIM, RESOLUTION].contains(&name.as_str())) {
            Some(name) => Err(Refusal::invalid(format!("/parts/{name}"), "the texts of claim and requestedResolution")),
            None => Ok(()),
        }
    }

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
