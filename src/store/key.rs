//! Key encodings: bytes that sort as the keys do.
//!
//! Numbers are big-endian, names of fixed length stand as they are, texts end with two zero bytes that nothing in them
//! can imitate, and a tuple is its members one after the other; so all keys that begin alike stand together.

use std::str::FromStr;

use crate::crypto::digest::Digest;
use crate::protocol::ids::{CellId, CommitmentId, ConsentId, DisputeId, MessageId, ParticipantId, SessionId};
use crate::vault::Tag;

/// A key of a table.
pub trait Key: Sized {
    /// Appends the encoding.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes the encoding off the front; `None` if it is not one.
    fn read(input: &mut &[u8]) -> Option<Self>;

    /// The encoding.
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        self.write(&mut out);
        out
    }

    /// Decodes a whole key.
    fn from_bytes(mut input: &[u8]) -> Option<Self> {
        let key = Self::read(&mut input)?;
        input.is_empty().then_some(key)
    }
}

/// Keys whose encoding begins with the encoding of a `P`.
pub trait StartsWith<P: Key>: Key {}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*taken)
}

impl<const N: usize> Key for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        take(input)
    }
}

impl Key for () {
    fn write(&self, _out: &mut Vec<u8>) {}
    fn read(_input: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

macro_rules! number_keys {
    ($($number:ty),*) => { $(
        impl Key for $number {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn read(input: &mut &[u8]) -> Option<Self> {
                take(input).map(Self::from_be_bytes)
            }
        }
    )* };
}
number_keys!(u8, u16, u32, u64);

macro_rules! uuid_keys {
    ($($name:ident),*) => { $(
        impl Key for $name {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.bytes());
            }
            fn read(input: &mut &[u8]) -> Option<Self> {
                take(input).map(|raw| Self(uuid::Uuid::from_bytes(raw)))
            }
        }
    )* };
}
uuid_keys!(SessionId, MessageId, CommitmentId, ConsentId, DisputeId, ParticipantId);

impl Key for Digest {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        take(input).map(Self)
    }
}

impl Key for Tag {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        take(input).map(Self)
    }
}

/// A zero byte within the text is followed by `0xFF`, the one at its end by another zero.
impl Key for String {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self, out);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        loop {
            match take(input)? {
                [0] => match take(input)? {
                    [0] => return Self::from_utf8(text).ok(),
                    [0xFF] => text.push(0),
                    _ => return None,
                },
                [byte] => text.push(byte),
            }
        }
    }
}

/// Cells are no persons: theirs is the only name that stands in a key as it is, all others stand as tags.
impl Key for CellId {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self.as_str(), out);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        Self::from_str(&String::read(input)?).ok()
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend([0, 0]);
}

impl<A: Key, B: Key> Key for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        Some((A::read(input)?, B::read(input)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
        self.2.write(out);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        Some((A::read(input)?, B::read(input)?, C::read(input)?))
    }
}

impl<K: Key> StartsWith<()> for K {}
impl<A: Key, B: Key> StartsWith<(A,)> for (A, B) {}
impl<A: Key, B: Key, C: Key> StartsWith<(A,)> for (A, B, C) {}
impl<A: Key, B: Key, C: Key> StartsWith<(A, B)> for (A, B, C) {}

/// A prefix of one member.
impl<A: Key> Key for (A,) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(input: &mut &[u8]) -> Option<Self> {
        Some((A::read(input)?,))
    }
}

/// The first encoding after all that begin with `prefix`; `None` if there is none.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_sort_as_bytes_and_read_back(
            a in ("[\\x00-\\x02a\u{ff}]{0,4}", any::<u16>(), any::<[u8; 2]>()),
            b in ("[\\x00-\\x02a\u{ff}]{0,4}", any::<u16>(), any::<[u8; 2]>()),
        ) {
            prop_assert_eq!(a.bytes().cmp(&b.bytes()), a.cmp(&b));
            prop_assert_eq!(Key::from_bytes(&a.bytes()), Some(a.clone()));
            prop_assert!(a.bytes().starts_with(&(a.0.clone(),).bytes()));
            prop_assert_eq!(a.bytes().starts_with(&(b.0.clone(),).bytes()), a.0 == b.0);
        }

        #[test]
        fn what_is_no_key_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Some(key) = <(String, u64)>::from_bytes(&bytes) {
                prop_assert_eq!(key.bytes(), bytes);
            }
        }

        #[test]
        fn the_end_of_a_prefix_is_after_all_of_it(prefix in proptest::collection::vec(250_u8.., 0..3), rest in any::<[u8; 3]>()) {
            let key = [prefix.as_slice(), &rest].concat();
            prop_assert!(after_prefix(&prefix).is_none_or(|end| end > key && !end.starts_with(&prefix)));
        }
    }
}
