//! Exchange rates into USD, in which ceilings are given: the operator's `[limits] fx`.
//!
//! Exact integer arithmetic; a currency without a rate has no value, which the caller must take as above any ceiling.
//! Source: docs/spec/details.md section 4 ("`fx` gives USD per unit").

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::BadName;
use super::money::{Currency, Decimal, Money};

/// Decimals of a rate.
const RATE_DIGITS: usize = 9;
/// Digits of a rate in front of the point; with [`RATE_DIGITS`] and the largest amount the product stays in `i128`.
const RATE_WHOLE: i128 = 1_000_000_000;
/// Decimals of [`Usd`]: those of a rate and the most of a currency.
const USD_DIGITS: u32 = 13;

/// USD for one unit of a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate(i128);

impl FromStr for Rate {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        const FORM: BadName =
            BadName("USD per unit as a decimal string, above 0, at most 9 digits before and after the point");
        let scaled = Decimal::parse(text).and_then(|decimal| decimal.scaled(RATE_DIGITS)).ok_or(FORM)?;
        let in_range = scaled > 0 && scaled < RATE_WHOLE * RATE_WHOLE;
        if in_range { Ok(Self(scaled)) } else { Err(FORM) }
    }
}

/// An exact value in USD, in units of 10^-13.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Usd(i128);

impl Usd {
    /// So many whole dollars.
    #[must_use]
    pub const fn whole(dollars: i64) -> Self {
        Self(dollars as i128 * 10_i128.pow(USD_DIGITS))
    }

    /// What is left of it once `other` is taken off; never below nothing.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        let left = self.0.saturating_sub(other.0);
        Self(if left > 0 { left } else { 0 })
    }
}

impl std::fmt::Display for Usd {
    /// Dollars with two decimals, more only where they are not zero.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = 10_i128.pow(USD_DIGITS);
        let decimals = format!("{:013}", self.0 % unit);
        let shown = decimals.trim_end_matches('0');
        write!(f, "{}.{shown:0<2}", self.0 / unit)
    }
}

impl std::ops::Add for Usd {
    type Output = Self;
    /// Saturates: a sum beyond all bounds is beyond every ceiling.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// The rates of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rates(BTreeMap<Currency, Rate>);

impl Rates {
    /// These rates.
    #[must_use]
    pub const fn of(rates: BTreeMap<Currency, Rate>) -> Self {
        Self(rates)
    }

    /// What `money` is worth in USD; `None` without a rate for its currency.
    #[must_use]
    pub fn usd(&self, money: &Money) -> Option<Usd> {
        let Rate(rate) = match (money.currency, self.0.get(&money.currency)) {
            (_, Some(rate)) => *rate,
            (Currency::USD, None) => Rate(RATE_WHOLE),
            (_, None) => return None,
        };
        let scale = USD_DIGITS.saturating_sub(u32::from(money.currency.digits()) + 9);
        let value = money.minor.checked_mul(rate).and_then(|n| n.checked_mul(10_i128.pow(scale)));
        Some(Usd(value.unwrap_or(i128::MAX)))
    }
}
