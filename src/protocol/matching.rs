//! Whether a COMMIT carries out an accepted offer, and so is accepted at once.
//!
//! A function of the offers and the pledge alone. Source: docs/spec/details.md section 4 ("A COMMIT matches when").

use super::commitment::Kind;
use super::ids::ParticipantId;
use super::money::Money;
use super::session::Offer;
use super::terms::Pledge;

/// What a COMMIT is measured against.
pub struct Candidate<'a> {
    /// The accepted offer that it names, or the only one there is.
    pub offer: &'a Offer,
    /// The payments that already carry this offer out, withdrawn and rejected ones left out.
    pub payments: &'a [Money],
}

/// The offer that a COMMIT without `referenceId` can only mean: none or several match none.
#[must_use]
pub fn only<'a>(mut accepted: impl Iterator<Item = &'a Offer>) -> Option<&'a Offer> {
    let first = accepted.next();
    if accepted.next().is_some() { None } else { first }
}

/// Whether `pledge` of `sender` carries the offer out. `principal` tells for whom somebody acts.
#[must_use]
pub fn carries_out(
    candidate: &Candidate<'_>,
    pledge: &Pledge,
    sender: ParticipantId,
    principal: impl Fn(ParticipantId) -> ParticipantId,
) -> bool {
    let offer = candidate.offer;
    let Some(accepter) = offer.accepter else { return false };
    let bound = [principal(offer.author), principal(accepter)];
    let pair = [principal(sender), principal(pledge.beneficiary)];
    let reversed = [principal(pledge.beneficiary), principal(sender)];
    (bound == pair || bound == reversed) && carries_out_terms(candidate, pledge)
}

fn carries_out_terms(candidate: &Candidate<'_>, pledge: &Pledge) -> bool {
    match pledge.kind {
        Kind::Payment => is_paid(candidate, pledge.money),
        Kind::Delivery => candidate.offer.deliver_by.is_none_or(|deliver_by| pledge.deadline <= deliver_by),
        Kind::Action | Kind::Information => true,
    }
}

/// Equal by value and currency, and with all other payments on the offer not above it.
fn is_paid(candidate: &Candidate<'_>, money: Option<Money>) -> bool {
    let (Some(price), Some(money)) = (candidate.offer.money, money) else { return false };
    let others = candidate.payments.iter().filter(|paid| paid.currency == price.currency);
    let sum = others.fold(money.minor, |sum, paid| sum.saturating_add(paid.minor));
    money == price && sum <= price.minor
}
