//! JSON values that have passed the gate, and their canonical text.
//!
//! [`Json`] is the RFC 8785 text of a value: what is hashed, stored and sent on. It is text and not a tree so that
//! binary formats can carry it. Only `wire::json` and `wire::msgpack` make values from outside bytes.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::crypto::json::canonical;

/// A JSON value as its canonical text (RFC 8785): embedded as a value in text formats, a string in binary ones.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(String);

impl Json {
    /// The canonical text of a value that has passed the gate.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        Self(canonical(value))
    }

    /// The canonical text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The value as a tree.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or(Value::Null)
    }
}

impl fmt::Debug for Json {
    /// Contents may be personal data: logs get the length alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.value().serialize(serializer)
        } else {
            serializer.serialize_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Value::deserialize(deserializer).map(|value| Self::of(&value));
        }
        let text = String::deserialize(deserializer)?;
        let value: Value = serde_json::from_str(&text).map_err(D::Error::custom)?;
        let canonical = Self::of(&value);
        if canonical.0 == text { Ok(canonical) } else { Err(D::Error::custom("not canonical JSON (RFC 8785)")) }
    }
}
