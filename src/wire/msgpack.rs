//! MessagePack bodies: the JSON data model in another encoding, read as strictly into the same values.
//!
//! What JSON cannot say (binary, extensions, timestamps, NaN, infinities, names that are no strings) is refused with
//! a pointer; what is hashed never depends on the encoding. Sources: docs/spec/details.md section 14, section 1 "Values".

use std::fmt;
use std::io::Cursor;

use rmp_serde::decode::Error;
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::json::check_size;
use crate::crypto::json::{MAX_DEPTH, MAX_INTEGER, Path, number};
use crate::protocol::refusal::Refusal;

/// The decoder's own bound, above ours, so that too deep a body gets the refusal that names the place.
const DECODER_DEPTH: usize = 64;

/// Reads a body that is one value; nesting counts from it.
pub fn read(body: &[u8]) -> Result<Value, Refusal> {
    read_to(body, MAX_DEPTH)
}

/// Reads a body that is one message or an array of messages; in an array nesting counts from each message.
pub fn read_batch(body: &[u8]) -> Result<Value, Refusal> {
    // fixarray, array 16, array 32
    let array = matches!(body.first(), Some(0x90..=0x9f | 0xdc | 0xdd));
    read_to(body, MAX_DEPTH + usize::from(array))
}

fn read_to(body: &[u8], deepest: usize) -> Result<Value, Refusal> {
    check_size(body.len())?;
    let mut decoder = rmp_serde::Deserializer::new(Cursor::new(body));
    decoder.set_max_depth(DECODER_DEPTH);
    let mut walk = Walk { deepest, path: Path::default(), expected: None };
    match (Node { walk: &mut walk, depth: 1 }).deserialize(&mut decoder) {
        Ok(value) if decoder.position() == body.len() as u64 => Ok(value),
        Ok(_) => Err(Refusal::invalid("", "one MessagePack value and nothing after it").status(400)),
        Err(Error::Utf8Error(_)) => Err(Refusal::invalid(walk.path.pointer(), "UTF-8").status(400)),
        Err(_) => Err(match walk.expected {
            Some(expected) => Refusal::invalid(walk.path.pointer(), expected),
            None => Refusal::invalid("", "one MessagePack value of the JSON data model").status(400),
        }),
    }
}

/// The pass down a body: on failure `path` says where, `expected` what would be right (nothing if the bytes are no
/// MessagePack at all).
struct Walk {
    deepest: usize,
    path: Path,
    expected: Option<&'static str>,
}

impl Walk {
    fn fail<T, E: serde::de::Error>(&mut self, expected: &'static str) -> Result<T, E> {
        self.expected = Some(expected);
        Err(E::custom(expected))
    }

    fn open<E: serde::de::Error>(&mut self, depth: usize) -> Result<(), E> {
        if depth > self.deepest { self.fail("a shallower nesting (at most 16 levels in a message)") } else { Ok(()) }
    }
}

const INTEGER: &str = "an integer within ±(2^53 − 1)";
const FLOAT: &str = "a finite number";
const NO_BINARY: &str = "a value of the JSON data model; bytes as base64url in a string";
const NO_EXTENSION: &str = "a value of the JSON data model, no extension and no timestamp";

/// One value at its depth.
struct Node<'w> {
    walk: &'w mut Walk,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the JSON data model")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.walk.fail(INTEGER),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        let safe = (-MAX_INTEGER..=MAX_INTEGER).contains(&value);
        if safe { Ok(Value::Number(value.into())) } else { self.walk.fail(INTEGER) }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        match number(value) {
            Some(number) => Ok(Value::Number(number)),
            None => self.walk.fail(FLOAT),
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Value, E> {
        self.walk.fail(NO_BINARY)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<Value, D::Error> {
        self.walk.fail(NO_EXTENSION)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Self { walk, depth } = self;
        walk.open(depth)?;
        let mut array = Vec::new();
        loop {
            walk.path.item(array.len());
            let item = items.next_element_seed(Node { walk: &mut *walk, depth: depth + 1 })?;
            walk.path.leave();
            match item {
                Some(item) => array.push(item),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let Self { walk, depth } = self;
        walk.open(depth)?;
        let mut object = Map::new();
        while let Some(name) = members.next_key_seed(Name { walk: &mut *walk })? {
            walk.path.member(&name);
            if object.contains_key(&name) {
                return walk.fail("each member once");
            }
            let value = members.next_value_seed(Node { walk: &mut *walk, depth: depth + 1 })?;
            walk.path.leave();
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// A member's name: a string, as in JSON.
struct Name<'w> {
    walk: &'w mut Walk,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let Self { walk } = self;
        let depth = walk.deepest;
        match deserializer.deserialize_any(Node { walk: &mut *walk, depth })? {
            Value::String(name) => Ok(name),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                walk.fail("strings as names of members")
            }
        }
    }
}

/// Writes a value.
#[must_use]
pub fn write(value: &Value) -> Vec<u8> {
    // A `Value` has nothing that MessagePack cannot say, and a `Vec` takes every byte.
    rmp_serde::to_vec(value).unwrap_or_default()
}
