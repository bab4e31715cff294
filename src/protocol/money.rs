//! Money: ISO 4217 amounts as decimal strings outside, integer minor units inside, never a float.
//!
//! Amounts are hashed as submitted, compared by value and written with all minor digits. What an amount may be used
//! for (ceilings, escrow, a zero in a COMMIT) is not judged here. Source: docs/spec/details.md section 4.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::ids::BadName;

/// Most digits in front of the decimal point.
const MAX_WHOLE_DIGITS: usize = 15;
/// Most decimals of a quantity.
const MAX_QUANTITY_DECIMALS: usize = 6;

const CURRENCY_FORM: BadName = BadName("an ISO 4217 currency: three upper-case letters");
const CURRENCY_KNOWN: BadName = BadName("a current ISO 4217 currency with a minor unit");
const AMOUNT_FORM: BadName =
    BadName("an amount as a decimal string: no sign, no leading zero, at most 15 digits before the point");
const AMOUNT_DECIMALS: BadName = BadName("an amount with at most the decimals of its currency's minor unit");
const QUANTITY_FORM: BadName = BadName("an integer, or a decimal string with at most 6 decimals; not negative");

/// A currency with the number of its minor digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: &'static str,
    digits: u8,
}

impl Currency {
    /// The US dollar, in which ceilings are given.
    pub const USD: Self = Self { code: "USD", digits: 2 };

    /// The ISO 4217 code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.code
    }

    /// Decimals of its minor unit.
    #[must_use]
    pub const fn digits(self) -> u8 {
        self.digits
    }
}

impl FromStr for Currency {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.len() != 3 || !text.bytes().all(|c| c.is_ascii_uppercase()) {
            return Err(CURRENCY_FORM);
        }
        let listed = |(digits, codes): &(u8, &'static str)| {
            codes.split(' ').find(|code| *code == text).map(|code| Self { code, digits: *digits })
        };
        CURRENCIES.iter().find_map(listed).ok_or(CURRENCY_KNOWN)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A sum of money. `Eq` compares by value: `1800` and `1800.00` are one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Minor units (cents).
    pub minor: i128,
    /// The currency.
    pub currency: Currency,
}

/// An amount or currency that is not one: which of the two members, and what is expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {expected}")]
pub struct BadMoney {
    /// `amount` or `currency`.
    pub member: &'static str,
    /// What would be right.
    pub expected: BadName,
}

impl Money {
    /// Reads an amount and its currency.
    pub fn parse(amount: &str, currency: &str) -> Result<Self, BadMoney> {
        let currency = currency.parse().map_err(|expected| BadMoney { member: "currency", expected })?;
        Self::in_currency(amount, currency).map_err(|expected| BadMoney { member: "amount", expected })
    }

    /// Reads an amount in a known currency.
    pub fn in_currency(amount: &str, currency: Currency) -> Result<Self, BadName> {
        let decimal = Decimal::parse(amount).ok_or(AMOUNT_FORM)?;
        let minor = decimal.scaled(currency.digits.into()).ok_or(AMOUNT_DECIMALS)?;
        Ok(Self { minor, currency })
    }

    /// Reads the two members as they stand in JSON: both strings.
    pub fn read(amount: &Value, currency: &Value) -> Result<Self, BadMoney> {
        let amount = amount.as_str().ok_or(BadMoney { member: "amount", expected: AMOUNT_FORM })?;
        let currency = currency.as_str().ok_or(BadMoney { member: "currency", expected: CURRENCY_FORM })?;
        Self::parse(amount, currency)
    }

    /// Nothing, in this currency.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// The amount with all minor digits: the written form.
    #[must_use]
    pub fn amount(&self) -> String {
        let digits = usize::from(self.currency.digits);
        let sign = if self.minor < 0 { "-" } else { "" };
        let padded = format!("{:0>width$}", self.minor.unsigned_abs(), width = digits + 1);
        match padded.split_at_checked(padded.len().saturating_sub(digits)) {
            Some((whole, decimals)) if !decimals.is_empty() => format!("{sign}{whole}.{decimals}"),
            Some(_) | None => format!("{sign}{padded}"),
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount(), self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The wire form of [`Money`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    amount: String,
    currency: String,
}

impl Serialize for Money {
    /// `{"amount","currency"}` in text formats, minor units and code in binary ones.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            Written { amount: self.amount(), currency: self.currency.code.to_owned() }.serialize(serializer)
        } else {
            (self.minor, self.currency).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let written = Written::deserialize(deserializer)?;
            return Self::parse(&written.amount, &written.currency).map_err(D::Error::custom);
        }
        let (minor, currency) = Deserialize::deserialize(deserializer)?;
        Ok(Self { minor, currency })
    }
}

/// Checks a `quantity`: an integer or a decimal string. The cell computes nothing with it.
pub fn check_quantity(quantity: &Value) -> Result<(), BadName> {
    let good = match quantity {
        Value::Number(number) => number.as_f64().is_some_and(|n| n >= 0.0 && n.fract() == 0.0),
        Value::String(text) => Decimal::parse(text).is_some_and(|n| n.decimals() <= MAX_QUANTITY_DECIMALS),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    };
    if good { Ok(()) } else { Err(QUANTITY_FORM) }
}

/// A decimal text `^(0|[1-9][0-9]{0,14})(\.[0-9]+)?$`, split at its point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decimal<'a> {
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    /// Reads the text; no sign, no leading zero, no exponent.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return None,
            Some(halves) => halves,
            None => (text, ""),
        };
        let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        let good = (1..=MAX_WHOLE_DIGITS).contains(&whole.len()) && !leading_zero && digits(whole) && digits(fraction);
        good.then_some(Self { whole, fraction })
    }

    /// How many decimals were written.
    pub(super) const fn decimals(self) -> usize {
        self.fraction.len()
    }

    /// The value times 10^`digits`; `None` if more decimals than that were written.
    pub(super) fn scaled(self, digits: usize) -> Option<i128> {
        let missing = digits.checked_sub(self.decimals())?;
        format!("{}{}{}", self.whole, self.fraction, "0".repeat(missing)).parse().ok()
    }
}

/// ISO 4217, current currencies and funds by their minor digits; codes without a minor unit (metals, test codes)
/// are no money here.
const CURRENCIES: [(u8, &str); 4] = [
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW \
         CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF \
         IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK \
         MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP \
         SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG \
         YER ZAR ZMW ZWG",
    ),
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];
