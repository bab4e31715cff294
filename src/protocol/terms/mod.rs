//! `terms`: what the protocol itself must read of a message, typed by performative.
//!
//! Parsed once from the JSON that was signed; unknown members are refused, so terms grow only with the contract.
//! Says what a message means, never whether it may be sent now. Source: docs/spec/protocol.md section 3,
//! docs/spec/details.md sections 1 to 4.

mod deal;
mod system;

use serde_json::Value;

pub(super) use deal::money;
pub use deal::{Close, Delegation, Evidence, Fulfilment, Offered, Pledge, Scope};
pub use system::{Expiry, SystemEvent};

use super::constraints::Constraints;
use super::ids::{BadName, ParticipantId};
use super::json::Json;
use super::members::Members;
use super::performative::Performative;
use super::refusal::{Code, Refusal};
use crate::crypto::digest::Digest;

/// The longest `purpose`, in characters: it is kept in the session's state.
pub const MAX_PURPOSE: usize = 1_000;

/// The terms of one message.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// LLM tokens that the sender spent since its last message (any of the thirteen).
    pub tokens: u64,
    /// What the performative says.
    pub body: Body,
}

/// What each performative says.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// PROPOSE: a new offer.
    Propose(Offered),
    /// COUNTER of an offer: a new offer.
    Counter(Offered),
    /// COUNTER of the constraints, in INVITED: what is asked, and the SHA-256 of its canonical text.
    Ask(Box<Constraints>, Digest),
    /// ACCEPT.
    Accept,
    /// REJECT.
    Reject(Option<Reason>),
    /// COMMIT.
    Commit(Pledge),
    /// FULFILL.
    Fulfill(Fulfilment),
    /// INFORM.
    Inform(Option<Reason>),
    /// QUERY.
    Query(Option<Reason>),
    /// CLARIFY.
    Clarify(Option<Reason>),
    /// DELEGATE.
    Delegate(Delegation),
    /// ESCALATE, and why.
    Escalate(String),
    /// WITHDRAW.
    Withdraw(Option<Reason>),
    /// CLOSE.
    Close(Close),
    /// INVITE.
    Invite {
        /// What the session is for; consents name purposes.
        purpose: String,
        /// The constraints with their defaults.
        constraints: Box<Constraints>,
    },
    /// INTRODUCE: the invitation is accepted.
    Introduce,
    /// DECLINE.
    Decline(Option<Reason>),
    /// RATE, beside the chain.
    Rate {
        /// 1 to 5.
        rating: u8,
        /// Whom; absent between two.
        of: Option<ParticipantId>,
    },
    /// SYSTEM.
    System(SystemEvent),
}

/// What terms put a value on, which limits then bound: the one place that says which performatives do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stake<'a> {
    /// An offer: PROPOSE, COUNTER.
    Offer(&'a Offered),
    /// A promise: COMMIT.
    Pledge(&'a Pledge),
    /// A bound on all of them: INVITE, COUNTER of the constraints.
    Bound(&'a Constraints),
    /// Nothing.
    Nothing,
}

/// A code that agents give each other (docs/spec/details.md section 3 "Agents' `code`").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub Code);

impl Reason {
    /// The five that agents may use.
    pub const ALL: [Code; 5] = [
        Code::SchemaUnsupported,
        Code::CapacityUnavailable,
        Code::PolicyViolation,
        Code::BudgetExceeded,
        Code::Unspecified,
    ];
}

impl std::str::FromStr for Reason {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let known = Code::parse(text).filter(|code| Self::ALL.contains(code));
        known.map(Self).ok_or(BadName(
            "schema_unsupported, capacity_unavailable, policy_violation, budget_exceeded or unspecified",
        ))
    }
}

impl Terms {
    /// Reads the terms of a message of this performative; pointers start at `/terms`.
    pub fn parse(performative: Performative, terms: Option<&Value>) -> Result<Self, Refusal> {
        let mut members = Members::of("/terms", terms)?;
        let tokens = tokens(performative, &mut members)?;
        let body = Body::read(performative, &mut members)?;
        members.finish()?;
        Ok(Self { tokens, body })
    }

    /// The performative these terms belong to.
    #[must_use]
    pub const fn performative(&self) -> Performative {
        self.body.performative()
    }
}

fn tokens(performative: Performative, members: &mut Members<'_>) -> Result<u64, Refusal> {
    if !Performative::THIRTEEN.contains(&performative) {
        return Ok(0);
    }
    let tokens = members.integer("tokens", "a number of LLM tokens, an integer from 0 to 2^53 - 1")?;
    Ok(tokens.unwrap_or(0))
}

impl Body {
    /// The performative that says it.
    #[must_use]
    pub const fn performative(&self) -> Performative {
        match self {
            Self::Propose(_) => Performative::Propose,
            Self::Counter(_) | Self::Ask(..) => Performative::Counter,
            Self::Accept => Performative::Accept,
            Self::Reject(_) => Performative::Reject,
            Self::Commit(_) => Performative::Commit,
            Self::Fulfill(_) => Performative::Fulfill,
            Self::Inform(_) => Performative::Inform,
            Self::Query(_) => Performative::Query,
            Self::Clarify(_) => Performative::Clarify,
            Self::Delegate(_) => Performative::Delegate,
            Self::Escalate(_) => Performative::Escalate,
            Self::Withdraw(_) => Performative::Withdraw,
            Self::Close(_) => Performative::Close,
            Self::Invite { .. } => Performative::Invite,
            Self::Introduce => Performative::Introduce,
            Self::Decline(_) => Performative::Decline,
            Self::Rate { .. } => Performative::Rate,
            Self::System(_) => Performative::System,
        }
    }

    /// What it puts a value on.
    #[must_use]
    pub const fn stake(&self) -> Stake<'_> {
        match self {
            Self::Propose(offered) | Self::Counter(offered) => Stake::Offer(offered),
            Self::Commit(pledge) => Stake::Pledge(pledge),
            Self::Ask(constraints, _) | Self::Invite { constraints, .. } => Stake::Bound(constraints),
            Self::Accept
            | Self::Reject(_)
            | Self::Fulfill(_)
            | Self::Inform(_)
            | Self::Query(_)
            | Self::Clarify(_)
            | Self::Delegate(_)
            | Self::Escalate(_)
            | Self::Withdraw(_)
            | Self::Close(_)
            | Self::Introduce
            | Self::Decline(_)
            | Self::Rate { .. }
            | Self::System(_) => Stake::Nothing,
        }
    }

    fn read(performative: Performative, members: &mut Members<'_>) -> Result<Self, Refusal> {
        Ok(match performative {
            Performative::Propose => Self::Propose(Offered::read(members)?),
            Performative::Counter => Self::counter(members)?,
            Performative::Accept => Self::Accept,
            Performative::Reject => Self::Reject(members.parsed("code")?),
            Performative::Commit => Self::Commit(Pledge::read(members)?),
            Performative::Fulfill => Self::Fulfill(Fulfilment::read(members)?),
            Performative::Inform => Self::Inform(members.parsed("code")?),
            Performative::Query => Self::Query(members.parsed("code")?),
            Performative::Clarify => Self::Clarify(members.parsed("code")?),
            Performative::Delegate => Self::Delegate(Delegation::read(members)?),
            Performative::Escalate => Self::Escalate(reason(members)?),
            Performative::Withdraw => Self::Withdraw(members.parsed("code")?),
            Performative::Close => Self::Close(Close::read(members)?),
            Performative::Invite => Self::invite(members)?,
            Performative::Introduce => Self::Introduce,
            Performative::Decline => Self::Decline(members.parsed("code")?),
            Performative::Rate => Self::Rate { rating: deal::required_rating(members)?, of: members.parsed("of")? },
            Performative::System => Self::System(SystemEvent::read(members)?),
        })
    }

    /// A COUNTER speaks either of an offer or, with `constraints`, of the constraints.
    fn counter(members: &mut Members<'_>) -> Result<Self, Refusal> {
        let at = members.at("constraints");
        match members.value("constraints") {
            None => Offered::read(members).map(Self::Counter),
            Some(asked) => {
                let constraints = Constraints::parse(&at, Some(asked))?;
                Ok(Self::Ask(Box::new(constraints), Digest::of(&[Json::of(asked).text().as_bytes()])))
            }
        }
    }

    fn invite(members: &mut Members<'_>) -> Result<Self, Refusal> {
        let purpose = members.text("purpose")?.unwrap_or_default();
        if purpose.is_empty() || purpose.chars().count() > MAX_PURPOSE {
            let expected = format!("what the session is for, 1 to {MAX_PURPOSE} characters");
            return Err(Refusal::invalid(members.at("purpose"), expected));
        }
        let at = members.at("constraints");
        let constraints = Constraints::parse(&at, members.value("constraints"))?;
        Ok(Self::Invite { purpose: purpose.to_owned(), constraints: Box::new(constraints) })
    }
}

fn reason(members: &mut Members<'_>) -> Result<String, Refusal> {
    let reason = members.text("reason")?.filter(|reason| !reason.is_empty());
    reason.map(str::to_owned).ok_or_else(|| Refusal::invalid(members.at("reason"), "why an operator must act"))
}
