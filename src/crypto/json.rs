//! JSON as signatures need it: one strict reading of a text and one canonical writing of a value.
//!
//! Two readers that disagree about a text (which of two equal members counts, what an integer beyond 2^53 is) would
//! hash different messages under one signature, so every text that is hashed or signed is read here. It knows nothing
//! of messages, refusals or limits of size. Sources: RFC 8259, RFC 8785, docs/spec/details.md section 1 "Values".

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// The largest integer that every double-based reader takes exactly: 2^53 − 1.
pub const MAX_INTEGER: i64 = 9_007_199_254_740_991;

/// The deepest nesting of a message; the outermost container is 1.
pub const MAX_DEPTH: usize = 16;

/// What integers without fraction and exponent may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integers {
    /// Within ±(2^53 − 1), as in a request.
    Safe,
    /// Any; taken as the nearest double. JCS writes large doubles without a fraction, so whoever reads what a cell
    /// wrote (transcripts, bundles) must take them.
    Rounded,
}

/// How a text is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The deepest nesting; the outermost container is 1.
    pub depth: usize,
    /// What integers may be.
    pub integers: Integers,
}

impl Rules {
    /// What an agent sends.
    pub const REQUEST: Self = Self { depth: MAX_DEPTH, integers: Integers::Safe };
    /// What a cell wrote: a message of full depth lies some levels inside, and doubles are written by JCS.
    pub const WRITTEN: Self = Self { depth: 64, integers: Integers::Rounded };
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A byte order mark in front.
    #[error("UTF-8 without a byte order mark")]
    ByteOrderMark,
    /// Not UTF-8.
    #[error("UTF-8")]
    Encoding,
    /// Not one JSON value with nothing but white space around it.
    #[error("one JSON value (RFC 8259) and nothing after it")]
    Syntax,
    /// A member name twice in one object.
    #[error("each member once")]
    Duplicate,
    /// Half of a surrogate pair.
    #[error("Unicode text without lone surrogates")]
    Surrogate,
    /// A number outside its range.
    #[error("a number that a double holds; integers within ±(2^53 − 1)")]
    Number,
    /// Nested too deep.
    #[error("a shallower nesting (at most 16 levels in a message)")]
    Depth,
}

/// A text that is not taken: what is wrong, and where (JSON Pointer, RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at:?}: expected {flaw}")]
pub struct Rejected {
    /// What is wrong.
    pub flaw: Flaw,
    /// The value at fault; empty for the whole text.
    pub at: String,
}

/// Reads a text strictly. Integral doubles within the safe range become integers, `-0` becomes `0`: equal values are
/// equal trees, as they are equal under JCS.
pub fn read(bytes: &[u8], rules: Rules) -> Result<Value, Rejected> {
    let whole = |flaw| Rejected { flaw, at: String::new() };
    let text = std::str::from_utf8(bytes).map_err(|_| whole(Flaw::Encoding))?;
    if text.starts_with('\u{feff}') {
        return Err(whole(Flaw::ByteOrderMark));
    }
    // The syntax of the whole text is settled first and without recursion; what fails below is meaning.
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| whole(Flaw::Syntax))?;
    let mut walk = Walk { rules, path: Path::default(), flaw: None };
    match walk.value(raw, 1) {
        Ok(value) => Ok(value),
        Err(_) => Err(Rejected { flaw: walk.flaw.unwrap_or(Flaw::Syntax), at: walk.path.pointer() }),
    }
}

/// The RFC 8785 text of a value.
#[must_use]
pub fn canonical<T: Serialize>(value: &T) -> String {
    // What JCS cannot write (non-finite numbers, names that are no text) no type of this crate serialises to.
    serde_json_canonicalizer::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// Reads a double as the strict reading does: an integer if it is one within the safe range.
#[must_use]
pub fn number(double: f64) -> Option<Number> {
    #[allow(clippy::cast_precision_loss, reason = "2^53 − 1 is exact")]
    let safe = double.fract() == 0.0 && double.abs() <= MAX_INTEGER as f64;
    #[allow(clippy::cast_possible_truncation, reason = "integral and within ±(2^53 − 1)")]
    if safe { Some(Number::from(double as i64)) } else { Number::from_f64(double) }
}

/// Where in a value a reader stands.
#[derive(Debug, Default)]
pub struct Path(Vec<Step>);

#[derive(Debug)]
enum Step {
    Member(String),
    Item(usize),
}

impl Path {
    /// Steps into a member.
    pub fn member(&mut self, name: &str) {
        self.0.push(Step::Member(name.to_owned()));
    }

    /// Steps into an item of an array.
    pub fn item(&mut self, index: usize) {
        self.0.push(Step::Item(index));
    }

    /// Steps out again.
    pub fn leave(&mut self) {
        self.0.pop();
    }

    /// The JSON Pointer of the place.
    #[must_use]
    pub fn pointer(&self) -> String {
        let step = |step: &Step| match step {
            Step::Member(name) => format!("/{}", escaped(name)),
            Step::Item(index) => format!("/{index}"),
        };
        self.0.iter().map(step).collect()
    }
}

/// A member name as a token of a JSON Pointer.
#[must_use]
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

type Outcome<T> = Result<T, serde_json::Error>;

/// One pass down a text whose syntax is known to be right. On failure `flaw` says what, `path` where.
struct Walk {
    rules: Rules,
    path: Path,
    flaw: Option<Flaw>,
}

impl Walk {
    fn value(&mut self, raw: &RawValue, depth: usize) -> Outcome<Value> {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'{' | b'[') if depth > self.rules.depth => self.fail(Flaw::Depth),
            Some(b'{' | b'[') => {
                Container { walk: self, depth }.deserialize(&mut serde_json::Deserializer::from_str(text))
            }
            Some(b'"') => match serde_json::from_str(text) {
                Ok(string) => Ok(Value::String(string)),
                Err(_) => self.fail(Flaw::Surrogate),
            },
            Some(b'-' | b'0'..=b'9') => self.number(text),
            _ => serde_json::from_str(text),
        }
    }

    fn number(&mut self, token: &str) -> Outcome<Value> {
        let integer = !token.contains(['.', 'e', 'E']);
        let in_range = |n: i64| (-MAX_INTEGER..=MAX_INTEGER).contains(&n);
        if integer && self.rules.integers == Integers::Safe && !token.parse().is_ok_and(in_range) {
            return self.fail(Flaw::Number);
        }
        match token.parse().ok().and_then(number) {
            Some(number) => Ok(Value::Number(number)),
            None => self.fail(Flaw::Number),
        }
    }

    fn fail<T>(&mut self, flaw: Flaw) -> Outcome<T> {
        self.flaw = Some(flaw);
        Err(serde_json::Error::custom(flaw))
    }
}

/// One object or array; its members are read by recursion, bounded by the rules' depth.
struct Container<'w> {
    walk: &'w mut Walk,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Container<'_> {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Container<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(raw) = items.next_element::<&RawValue>()? {
            self.walk.path.item(array.len());
            array.push(self.walk.value(raw, self.depth + 1).map_err(A::Error::custom)?);
            self.walk.path.leave();
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        loop {
            // The syntax is right, so a name that cannot be read has a lone surrogate.
            let name = match members.next_key::<String>() {
                Ok(Some(name)) => name,
                Ok(None) => return Ok(Value::Object(object)),
                Err(_) => return self.walk.fail(Flaw::Surrogate).map_err(A::Error::custom),
            };
            let raw = members.next_value::<&RawValue>()?;
            self.walk.path.member(&name);
            if object.contains_key(&name) {
                return self.walk.fail(Flaw::Duplicate).map_err(A::Error::custom);
            }
            let value = self.walk.value(raw, self.depth + 1).map_err(A::Error::custom)?;
            self.walk.path.leave();
            object.insert(name, value);
        }
    }
}
