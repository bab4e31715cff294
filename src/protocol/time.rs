//! Moments and spans as the protocol writes them.
//!
//! A [`Timestamp`] is milliseconds since 1970 and is written `2026-03-13T09:00:01.123Z`; a [`Span`] is an
//! ISO 8601 duration of days, hours, minutes and seconds, a day being 24 h. Nothing here reads a clock.
//! Source: docs/spec/details.md section 1 "Values".

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::BadName;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// A length of time in milliseconds; on the wire whole seconds as `PnDTnHnMnS`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub i64);

const EPOCH: DateTime = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
const TIME_FORM: BadName = BadName("an RFC 3339 time in UTC with T and Z, no or exactly three decimals");
const SPAN_FORM: BadName = BadName("an ISO 8601 duration PnDTnHnMnS of whole numbers, not zero");

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }
    /// A span of whole days of 24 h.
    #[must_use]
    pub const fn days(days: i64) -> Self {
        Self::seconds(days.saturating_mul(86_400))
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Self> for Timestamp {
    type Output = Span;
    fn sub(self, other: Self) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl FromStr for Timestamp {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let shape = |form: &str| {
            form.len() == text.len()
                && form.bytes().zip(text.bytes()).all(|(f, t)| if f == b'0' { t.is_ascii_digit() } else { f == t })
        };
        if !shape("0000-00-00T00:00:00Z") && !shape("0000-00-00T00:00:00.000Z") {
            return Err(TIME_FORM);
        }
        // jiff folds a leap second into :59; the protocol has none.
        if text.get(17..19) == Some("60") {
            return Err(TIME_FORM);
        }
        // As a civil time and not as jiff's Timestamp, which ends a day before 9999 does.
        let parsed: DateTime = text.trim_end_matches('Z').parse().map_err(|_| TIME_FORM)?;
        match i64::try_from(parsed.duration_since(EPOCH).as_millis()) {
            Ok(millis) if millis >= 0 => Ok(Self(millis)),
            Ok(_) | Err(_) => Err(TIME_FORM),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = EPOCH.checked_add(SignedDuration::from_millis(self.0)).unwrap_or(EPOCH);
        write!(f, "{moment:.3}Z")
    }
}

impl FromStr for Span {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let rest = text.strip_prefix('P').ok_or(SPAN_FORM)?;
        let (date, clock) = match rest.split_once('T') {
            Some((_, "")) => return Err(SPAN_FORM),
            Some(halves) => halves,
            None => (rest, ""),
        };
        let mut seconds = 0_i64;
        for (mut half, units) in [(date, &[('D', 86_400)][..]), (clock, &[('H', 3_600), ('M', 60), ('S', 1)][..])] {
            for (unit, length) in units {
                let Some((number, rest)) = half.split_once(*unit) else { continue };
                if number.is_empty() || !number.bytes().all(|c| c.is_ascii_digit()) {
                    return Err(SPAN_FORM);
                }
                let number: i64 = number.parse().map_err(|_| SPAN_FORM)?;
                seconds = number.checked_mul(*length).and_then(|n| n.checked_add(seconds)).ok_or(SPAN_FORM)?;
                half = rest;
            }
            if !half.is_empty() {
                return Err(SPAN_FORM);
            }
        }
        match seconds.checked_mul(1000) {
            Some(millis) if millis > 0 => Ok(Self(millis)),
            _ => Err(SPAN_FORM),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        // As the contract writes its own windows: PT72H, but P30D.
        let days = if seconds < 7 * 86_400 { 0 } else { seconds / 86_400 };
        let clock = seconds - days * 86_400;
        f.write_str("P")?;
        if days > 0 {
            write!(f, "{days}D")?;
        }
        if clock == 0 && days > 0 {
            return Ok(());
        }
        f.write_str("T")?;
        for (value, unit) in [(clock / 3600, 'H'), (clock / 60 % 60, 'M'), (clock % 60, 'S')] {
            if value > 0 || (unit == 'S' && clock == 0) {
                write!(f, "{value}{unit}")?;
            }
        }
        Ok(())
    }
}

macro_rules! text_or_millis {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    i64::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}
text_or_millis!(Timestamp);
text_or_millis!(Span);
