//! The constraints of a session: what an INVITE may set, what holds where it is silent.
//!
//! All are optional and defaults are never put into what was signed, so the typed form carries the effective values.
//! Source: docs/spec/details.md section 3, first entry.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ids::BadName;
use super::members::Members;
use super::money::Money;
use super::performative::Performative;
use super::refusal::Refusal;
use super::terms::money;
use super::time::Span;

/// What `escrow` in an INVITE demands of the session's payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EscrowRule {
    /// Every payment is escrowed.
    Required,
    /// Parties at level 1 may opt out.
    Optional,
}

impl EscrowRule {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

impl FromStr for EscrowRule {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        match text {
            "required" => Ok(Self::Required),
            "optional" => Ok(Self::Optional),
            _ => Err(BadName("required or optional")),
        }
    }
}

/// The constraints in force, defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Constraints {
    /// From record 1; bounds everything before EXECUTING.
    pub max_duration: Span,
    /// 0 to 100; binds each participant at INVITE and answer.
    pub min_trust_score: f64,
    /// Of the thirteen, as sent; those never excluded are allowed whether listed or not.
    pub allowed_performatives: Vec<Performative>,
    /// LLM tokens of the whole session.
    pub token_budget: Option<u64>,
    /// The most that an offer, a commitment and all payments together may be worth.
    pub max_transaction_value: Option<Money>,
    /// Whether every `content` and `personal` value is encrypted by the agents themselves.
    pub end_to_end: bool,
    /// What payments must do.
    pub escrow: Option<EscrowRule>,
}

impl Default for Constraints {
    fn default() -> Self {
        Self {
            max_duration: Span::days(1),
            min_trust_score: 0.0,
            allowed_performatives: Performative::THIRTEEN.to_vec(),
            token_budget: None,
            max_transaction_value: None,
            end_to_end: false,
            escrow: None,
        }
    }
}

impl Constraints {
    /// The longest `maxDuration`.
    pub const LONGEST: Span = Span::days(30);

    /// Reads `constraints`, which stand at `at`.
    pub fn parse(at: &str, value: Option<&Value>) -> Result<Self, Refusal> {
        let mut members = Members::of(at, value)?;
        let silent = Self::default();
        let read = Self {
            max_duration: max_duration(&mut members)?.unwrap_or(silent.max_duration),
            min_trust_score: min_trust_score(&mut members)?.unwrap_or(silent.min_trust_score),
            allowed_performatives: allowed_performatives(&mut members)?.unwrap_or(silent.allowed_performatives),
            token_budget: members.integer("tokenBudget", "a number of LLM tokens, an integer from 0 to 2^53 - 1")?,
            max_transaction_value: max_transaction_value(&mut members)?,
            end_to_end: members.flag("endToEnd")?.unwrap_or(silent.end_to_end),
            escrow: members.parsed("escrow")?,
        };
        members.finish()?;
        Ok(read)
    }

    /// Whether `allowedPerformatives` lets it pass (docs/spec/protocol.md section 3).
    #[must_use]
    pub fn allow(&self, performative: Performative) -> bool {
        let concerned = Performative::THIRTEEN.contains(&performative) && !performative.never_excluded();
        !concerned || self.allowed_performatives.contains(&performative)
    }

    /// Whether an amount, with the others that count together with it, is within `maxTransactionValue`; another
    /// currency than its own is not.
    #[must_use]
    pub fn admit(&self, money: Money, others: &[Money]) -> bool {
        let Some(most) = self.max_transaction_value else { return true };
        let mine = others.iter().filter(|other| other.currency == most.currency);
        let sum = mine.fold(money.minor, |sum, other| sum.saturating_add(other.minor));
        money.currency == most.currency && sum <= most.minor
    }

    /// As S8b shows them, defaults included.
    #[must_use]
    pub fn view(&self) -> Value {
        json!({
            "maxDuration": self.max_duration,
            "minTrustScore": plain_number(self.min_trust_score),
            "allowedPerformatives": self.allowed_performatives.iter().map(|p| p.name()).collect::<Vec<_>>(),
            "tokenBudget": self.token_budget,
            "maxTransactionValue": self.max_transaction_value,
            "endToEnd": self.end_to_end,
            "escrow": self.escrow.map(EscrowRule::name),
        })
    }
}

/// `20`, not `20.0`, where the score is whole.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100 by parsing")]
fn plain_number(score: f64) -> Value {
    if score.fract() == 0.0 { json!(score as u8) } else { json!(score) }
}

fn max_duration(members: &mut Members<'_>) -> Result<Option<Span>, Refusal> {
    let span: Option<Span> = members.parsed("maxDuration")?;
    if span.is_some_and(|span| span > Constraints::LONGEST) {
        return Err(Refusal::invalid(members.at("maxDuration"), "a duration of at most P30D"));
    }
    Ok(span)
}

fn min_trust_score(members: &mut Members<'_>) -> Result<Option<f64>, Refusal> {
    const EXPECTED: &str = "a number from 0 to 100";
    let score = members.number("minTrustScore", EXPECTED)?;
    if score.is_some_and(|score| !(0.0..=100.0).contains(&score)) {
        return Err(Refusal::invalid(members.at("minTrustScore"), EXPECTED));
    }
    Ok(score)
}

/// Bounded by itself: thirteen names, none twice.
fn allowed_performatives(members: &mut Members<'_>) -> Result<Option<Vec<Performative>>, Refusal> {
    let Some(names) = members.list("allowedPerformatives")? else { return Ok(None) };
    let mut allowed = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let read: Option<Performative> = name.as_str().and_then(|name| name.parse().ok());
        match read {
            Some(performative) if !allowed.contains(&performative) => allowed.push(performative),
            Some(_) | None => {
                let place = format!("{}/{index}", members.at("allowedPerformatives"));
                return Err(Refusal::invalid(place, "one of the thirteen performatives, each once"));
            }
        }
    }
    Ok(Some(allowed))
}

fn max_transaction_value(members: &mut Members<'_>) -> Result<Option<Money>, Refusal> {
    let at = members.at("maxTransactionValue");
    let Some(value) = members.value("maxTransactionValue") else { return Ok(None) };
    let mut object = Members::of(&at, Some(value))?;
    let value = money(&mut object)?.ok_or_else(|| Refusal::invalid(&at, "an object with amount and currency"))?;
    object.finish()?;
    Ok(Some(value))
}
