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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(body: &[u8]) -> (u16, String, String) {
        let refusal = read(body).unwrap_err();
        let expected = refusal.extras()["expected"].as_str().unwrap().to_owned();
        (refusal.http_status(), refusal.pointer.unwrap(), expected)
    }

    fn place(body: &[u8], what: &str) -> String {
        let (status, place, expected) = refused(body);
        assert_eq!((status, expected.as_str()), (422, what));
        place
    }

    #[test]
    fn what_json_cannot_say_is_refused_at_its_place() {
        assert_eq!(place(&[0x81, 0xa1, b'a', 0xc4, 1, 0], NO_BINARY), "/a", "bin 8");
        assert_eq!(place(&[0x92, 0xc0, 0xd4, 1, 0], NO_EXTENSION), "/1", "fixext 1");
        assert_eq!(place(&[0x91, 0xd6, 0xff, 0, 0, 0, 0], NO_EXTENSION), "/0", "timestamp 32");
        assert_eq!(place(&[0x91, 0xca, 0x7f, 0xc0, 0, 0], FLOAT), "/0", "float32 NaN");
        assert_eq!(place(&[0x91, 0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0], FLOAT), "/0", "float64 infinity");
        assert_eq!(place(&[0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0], INTEGER), "", "2^53");
        assert_eq!(place(&[0xd3, 0xff, 0xe0, 0, 0, 0, 0, 0, 0], INTEGER), "", "-2^53");
        assert_eq!(place(&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], INTEGER), "");
        assert_eq!(place(&[0x82, 0xa1, b'a', 1, 0xa1, b'a', 2], "each member once"), "/a");
        for key in [&[0x01][..], &[0xc0], &[0xc2], &[0x90], &[0xca, 0, 0, 0, 0]] {
            let body = [&[0x81], key, &[1]].concat();
            assert_eq!(place(&body, "strings as names of members"), "");
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_another_status() {
        for body in [&[][..], &[0xc1], &[0x92, 1], &[0xa2, b'a'], &[0xdb, 0xff, 0xff, 0xff, 0xff], &[1, 2]] {
            let (status, place, _) = refused(body);
            assert_eq!((status, place.as_str()), (400, ""), "{body:?}");
        }
        assert_eq!(refused(&[0x91, 0xa2, 0xff, 0xff]), (400, "/0".to_owned(), "UTF-8".to_owned()));
        assert_eq!(refused(&[0x91, 0xa3, 0xed, 0xa0, 0x80]).0, 400, "a surrogate");
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| [vec![0x91; depth - 1], vec![0x90]].concat();
        assert!(read(&nested(16)).is_ok());
        assert_eq!(refused(&nested(17)).0, 422);
        assert!(read_batch(&nested(17)).is_ok());
        assert!(read_batch(&nested(18)).is_err());
        assert!(read(&vec![0x91; 200_000]).is_err());
    }

    #[test]
    fn numbers_are_widened_and_whole_ones_are_integers() {
        assert_eq!(read(&[0xca, 0x3f, 0xc0, 0, 0]).unwrap(), json!(1.5));
        assert_eq!(read(&[0xcb, 0x40, 0x69, 0, 0, 0, 0, 0, 0]).unwrap(), json!(200));
        assert_eq!(read(&[0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0]).unwrap(), json!(0), "-0.0");
    }
}
