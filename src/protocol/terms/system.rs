//! System events: what no agent's message causes, and the terms in which the host says so.
//!
//! Source: docs/spec/details.md section 2, the table of system records.

use serde_json::{Map, Value, json};

use crate::crypto::digest::Digest;
use crate::protocol::ids::{CommitmentId, ConsentId, DisputeId, MessageId};
use crate::protocol::members::Members;
use crate::protocol::outcome::Outcome;
use crate::protocol::refusal::{Code, Refusal};

/// Why an invitation ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// `answerBy` of this INVITE or DELEGATE passed.
    Silence(MessageId),
    /// A peer's final refusal of the invitation.
    Refused(Code),
}

/// One event of a system record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemEvent {
    /// Nobody answered in time, or a peer refused the invitation for good.
    InvitationExpired(Expiry),
    /// Deadline and grace passed without a FULFILL.
    DeadlineMissed {
        /// The commitment.
        commitment: CommitmentId,
        /// Its COMMIT.
        commit: MessageId,
    },
    /// The review window passed without an answer to the claim.
    ReviewElapsed {
        /// The commitment.
        commitment: CommitmentId,
        /// The FULFILL.
        fulfilment: MessageId,
    },
    /// `maxDuration` passed before EXECUTING.
    DurationElapsed {
        /// The INVITE.
        invite: MessageId,
    },
    /// All commitments have been final for `grace`.
    GraceElapsed {
        /// The derived outcome.
        outcome: Outcome,
    },
    /// The consent that carried the session was revoked.
    ConsentRevoked {
        /// The consent.
        consent: ConsentId,
    },
    /// The host's operator ended an escalation.
    OperatorResolved {
        /// Closes with it; absent: back to the saved state.
        outcome: Option<Outcome>,
    },
    /// A dispute was decided.
    DisputeDecided {
        /// The dispute.
        dispute: DisputeId,
        /// The commitment concerned.
        commitment: CommitmentId,
    },
    /// The session moved to a new host, which writes this first record of the new epoch.
    HostMoved {
        /// SHA-256 of the document that both organisations signed.
        document: Digest,
    },
}

impl SystemEvent {
    /// The wire names.
    pub const NAMES: [&'static str; 9] = [
        "invitationExpired",
        "deadlineMissed",
        "reviewElapsed",
        "durationElapsed",
        "graceElapsed",
        "consentRevoked",
        "operatorResolved",
        "disputeDecided",
        "hostMoved",
    ];

    /// The wire name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::InvitationExpired(_) => "invitationExpired",
            Self::DeadlineMissed { .. } => "deadlineMissed",
            Self::ReviewElapsed { .. } => "reviewElapsed",
            Self::DurationElapsed { .. } => "durationElapsed",
            Self::GraceElapsed { .. } => "graceElapsed",
            Self::ConsentRevoked { .. } => "consentRevoked",
            Self::OperatorResolved { .. } => "operatorResolved",
            Self::DisputeDecided { .. } => "disputeDecided",
            Self::HostMoved { .. } => "hostMoved",
        }
    }

    /// The `terms` of its record.
    #[must_use]
    pub fn terms(&self) -> Value {
        let mut terms = Map::new();
        terms.insert("event".into(), json!(self.name()));
        let mut put = |name: &str, value: String| {
            terms.insert(name.to_owned(), json!(value));
        };
        match self {
            Self::InvitationExpired(Expiry::Silence(message)) => put("cause", message.to_string()),
            Self::InvitationExpired(Expiry::Refused(code)) => put("cause", code.name().to_owned()),
            Self::DeadlineMissed { commitment, commit: cause }
            | Self::ReviewElapsed { commitment, fulfilment: cause } => {
                put("commitmentId", commitment.to_string());
                put("cause", cause.to_string());
            }
            Self::DurationElapsed { invite } => put("cause", invite.to_string()),
            Self::GraceElapsed { outcome } | Self::OperatorResolved { outcome: Some(outcome) } => {
                put("outcome", outcome.to_string());
            }
            Self::OperatorResolved { outcome: None } => {}
            Self::ConsentRevoked { consent } => put("cause", consent.to_string()),
            Self::DisputeDecided { dispute, commitment } => {
                put("commitmentId", commitment.to_string());
                put("cause", dispute.to_string());
            }
            Self::HostMoved { document } => put("cause", document.to_string()),
        }
        Value::Object(terms)
    }

    /// Reads the terms of a system record.
    pub fn parse(terms: Option<&Value>) -> Result<Self, Refusal> {
        let mut members = Members::of("/terms", terms)?;
        let event = Self::read(&mut members)?;
        members.finish()?;
        Ok(event)
    }

    pub(super) fn read(members: &mut Members<'_>) -> Result<Self, Refusal> {
        let event = members.text("event")?.unwrap_or_default();
        Ok(match event {
            "invitationExpired" => Self::InvitationExpired(expiry(members)?),
            "deadlineMissed" => Self::DeadlineMissed {
                commitment: commitment(members)?,
                commit: members.required("cause", "the COMMIT")?,
            },
            "reviewElapsed" => Self::ReviewElapsed {
                commitment: commitment(members)?,
                fulfilment: members.required("cause", "the FULFILL")?,
            },
            "durationElapsed" => Self::DurationElapsed { invite: members.required("cause", "the INVITE")? },
            "graceElapsed" => Self::GraceElapsed { outcome: members.required("outcome", "the derived outcome")? },
            "consentRevoked" => Self::ConsentRevoked { consent: members.required("cause", "the consent")? },
            "operatorResolved" => Self::OperatorResolved { outcome: members.parsed("outcome")? },
            "disputeDecided" => Self::DisputeDecided {
                commitment: commitment(members)?,
                dispute: members.required("cause", "the dispute")?,
            },
            "hostMoved" => Self::HostMoved { document: document(members)? },
            _ => return Err(Refusal::invalid(members.at("event"), format!("one of {}", Self::NAMES.join(", ")))),
        })
    }
}

fn commitment(members: &mut Members<'_>) -> Result<CommitmentId, Refusal> {
    members.required("commitmentId", "the commitment concerned")
}

fn expiry(members: &mut Members<'_>) -> Result<Expiry, Refusal> {
    let cause = members.text("cause")?.unwrap_or_default();
    let silence = cause.parse().map(Expiry::Silence).ok();
    let refused = Code::parse(cause).map(Expiry::Refused);
    silence
        .or(refused)
        .ok_or_else(|| Refusal::invalid(members.at("cause"), "the INVITE, the DELEGATE or an error code"))
}

fn document(members: &mut Members<'_>) -> Result<Digest, Refusal> {
    let digest = members.text("cause")?.and_then(Digest::parse);
    digest.ok_or_else(|| Refusal::invalid(members.at("cause"), "32 bytes as base64url without padding"))
}
