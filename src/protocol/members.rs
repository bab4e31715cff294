//! Reading a JSON object member by member: each failure names its place, and what was not read is unknown.
//!
//! Requests refuse unknown members everywhere (docs/spec/details.md section 1 "Values"), so a reader that forgets one
//! refuses too much, never too little. `null` is no value of any member. Knows nothing of what the members mean.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::ids::BadName;
use super::refusal::Refusal;
use crate::crypto::json::escaped;

/// The largest integer that survives RFC 8785: 2^53 − 1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// An object being read, and where it stands in its request.
pub struct Members<'a> {
    at: String,
    object: Option<&'a Map<String, Value>>,
    read: BTreeSet<&'static str>,
}

/// A JSON Pointer (RFC 6901) to `name` under `at`.
#[must_use]
pub fn pointer(at: &str, name: &str) -> String {
    format!("{at}/{}", escaped(name))
}

impl<'a> Members<'a> {
    /// The members of `value`, which stands at `at`; absent reads as an empty object.
    pub fn of(at: impl Into<String>, value: Option<&'a Value>) -> Result<Self, Refusal> {
        let at = at.into();
        let object = match value {
            None => None,
            Some(Value::Object(object)) => Some(object),
            Some(_) => return Err(Refusal::invalid(at, "an object")),
        };
        Ok(Self { at, object, read: BTreeSet::new() })
    }

    /// Where `name` stands.
    pub fn at(&self, name: &str) -> String {
        pointer(&self.at, name)
    }

    /// The member as it is.
    pub fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.read.insert(name);
        self.object.and_then(|object| object.get(name))
    }

    /// A string.
    pub fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, Refusal> {
        self.read_as(name, "a string", Value::as_str)
    }

    /// A truth value.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Refusal> {
        self.read_as(name, "true or false", Value::as_bool)
    }

    /// A number.
    pub fn number(&mut self, name: &'static str, expected: &str) -> Result<Option<f64>, Refusal> {
        self.read_as(name, expected, Value::as_f64)
    }

    /// An integer from 0 to [`MAX_INTEGER`]; `1.0` is one.
    pub fn integer(&mut self, name: &'static str, expected: &str) -> Result<Option<u64>, Refusal> {
        self.read_as(name, expected, whole)
    }

    /// An array.
    pub fn list(&mut self, name: &'static str) -> Result<Option<&'a [Value]>, Refusal> {
        self.read_as(name, "an array", |value| value.as_array().map(Vec::as_slice))
    }

    /// A string that is a name, a time, a duration…
    pub fn parsed<T: FromStr<Err = BadName>>(&mut self, name: &'static str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|BadName(expected)| Refusal::invalid(self.at(name), expected))
    }

    /// The same, where it must be there.
    pub fn required<T: FromStr<Err = BadName>>(&mut self, name: &'static str, expected: &str) -> Result<T, Refusal> {
        self.parsed(name)?.ok_or_else(|| Refusal::invalid(self.at(name), expected))
    }

    /// Ends the reading: a member that nobody asked for is unknown.
    pub fn finish(self) -> Result<(), Refusal> {
        let unknown = self.object.into_iter().flat_map(Map::keys).find(|name| !self.read.contains(name.as_str()));
        unknown.map_or(Ok(()), |name| Err(Refusal::invalid(self.at(name), "no such member")))
    }

    fn read_as<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Refusal::invalid(self.at(name), expected))
    }
}

/// The whole number a JSON number stands for: `200` and `200.0` are hashed alike, so they mean alike.
#[must_use]
pub fn whole(value: &Value) -> Option<u64> {
    let number = match value.as_u64() {
        Some(number) => number,
        None => value.as_f64().filter(|number| number.fract() == 0.0).and_then(from_double)?,
    };
    (number <= MAX_INTEGER).then_some(number)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "in range by the check"
)]
fn from_double(number: f64) -> Option<u64> {
    (0.0..=MAX_INTEGER as f64).contains(&number).then_some(number as u64)
}
