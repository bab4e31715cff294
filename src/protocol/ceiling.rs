//! Ceilings: the most that an amount, or all payments of a session, may be worth at the lower level of its parties.
//!
//! A rule alone; levels and rates are arguments. Source: docs/spec/details.md section 4 ("`fx`", "Each PROPOSE…"),
//! docs/spec/protocol.md section 5.

use serde_json::json;

use super::money::Money;
use super::rate::{Rates, Usd};
use super::refusal::{Code, Refusal};
use super::trust::Level;

/// One of those whose level bounds an amount: how answers name it, and its level as enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded {
    /// A participant id.
    pub whose: String,
    /// Its level.
    pub level: Level,
}

/// Checks an amount, with the `others` that count together with it, against the lower ceiling of `parties`.
/// A currency without a rate is above every ceiling.
pub fn check(parties: &[Bounded], money: Money, others: &[Money], rates: &Rates) -> Result<(), Refusal> {
    let Some(lowest) = parties.iter().min_by_key(|party| party.level) else { return Ok(()) };
    let Some(ceiling) = lowest.level.ceiling() else { return Ok(()) };
    let worth = others.iter().chain([&money]).try_fold(Usd::default(), |sum, money| Some(sum + rates.usd(money)?));
    let spent = others.iter().try_fold(Usd::default(), |sum, money| Some(sum + rates.usd(money)?));
    let left = spent.map(|spent| Usd::whole(ceiling).less(spent));
    let detail = match worth {
        Some(worth) if worth <= Usd::whole(ceiling) => return Ok(()),
        Some(worth) => format!(
            "{worth} USD is above the ceiling of {ceiling} USD at level {}; {} USD are left",
            lowest.level.number(),
            left.unwrap_or_default()
        ),
        None => {
            format!("this cell has no rate for {}, and level {} has a ceiling", money.currency, lowest.level.number())
        }
    };
    let refusal = Refusal::new(Code::CeilingExceeded, detail).at("/terms/amount");
    let refusal = refusal.with("ceiling", json!(ceiling.to_string())).with("whose", json!(lowest.whose));
    let refusal = match left {
        Some(left) => refusal.with("left", json!(left.to_string())),
        None => refusal,
    };
    Err(match worth {
        Some(worth) => refusal.with("wouldBe", json!(worth.to_string())),
        None => refusal,
    })
}
