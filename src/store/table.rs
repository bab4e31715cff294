//! Tables: a name, what its keys and rows are, and which version of the row this build writes.
//!
//! A row is stored as a version byte and postcard. A row of an older version is read through the table's upgrade and
//! is written in the new form when it next changes: stored types know how to become their successor.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::key::Key;
use crate::disk::Fault;

/// Reads a row of an older version (`version`, postcard bytes); `None` if it is not one.
pub type Upgrade<V> = fn(u8, &[u8]) -> Option<V>;

/// A table of rows `V` under keys `K`.
#[derive(Debug)]
pub struct Table<K, V> {
    name: &'static str,
    version: u8,
    upgrade: Upgrade<V>,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Serialize + DeserializeOwned> Table<K, V> {
    /// The table called `name`, its rows in version 1. A name is used once.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, version: 1, upgrade: |_, _| None, of: PhantomData }
    }

    /// Its rows are of a later version; `upgrade` reads the earlier ones.
    #[must_use]
    pub const fn version(mut self, version: u8, upgrade: Upgrade<V>) -> Self {
        self.version = version;
        self.upgrade = upgrade;
        self
    }

    /// The table's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// A row as it is sealed.
    ///
    /// A row that cannot be encoded is a fault: its type does not suit postcard, which no input can cause.
    pub(super) fn encode(&self, key: &[u8], row: &V) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let bytes = postcard::to_extend(row, vec![self.version]).map_err(|_| corrupt(self.name, key))?;
        Ok(Zeroizing::new(bytes))
    }

    pub(super) fn decode(&self, key: &[u8], bytes: &[u8]) -> Result<V, Fault> {
        let row = bytes.split_first().and_then(|(version, rest)| {
            if *version != self.version {
                return (self.upgrade)(*version, rest);
            }
            let (row, rest) = postcard::take_from_bytes(rest).ok()?;
            rest.is_empty().then_some(row)
        });
        row.ok_or_else(|| corrupt(self.name, key))
    }

    pub(super) fn decode_key(&self, bytes: &[u8]) -> Result<K, Fault> {
        K::from_bytes(bytes).ok_or_else(|| corrupt(self.name, bytes))
    }
}

/// The row under `key` cannot be what was written.
pub(super) fn corrupt(table: &str, key: &[u8]) -> Fault {
    use std::fmt::Write as _;
    let hex = key.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    Fault::Corrupt { table: table.to_owned(), key: hex }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Table<u64, u16> = Table::new("rows");
    const NEW: Table<u64, (u16, bool)> = Table::new("rows").version(2, |version, bytes| match version {
        1 => Some((postcard::from_bytes(bytes).ok()?, false)),
        _ => None,
    });

    #[test]
    fn a_row_of_the_version_before_is_read_as_its_successor() {
        let old = OLD.encode(&[], &300).unwrap();
        assert_eq!(NEW.decode(&[], &old), Ok((300, false)));
        let new = NEW.encode(&[], &(300, true)).unwrap();
        assert_eq!(NEW.decode(&[], &new), Ok((300, true)));
        assert_eq!(OLD.decode(&[0xab], &new), Err(Fault::Corrupt { table: "rows".into(), key: "ab".into() }));
    }

    #[test]
    fn bytes_after_a_row_are_no_row() {
        let mut bytes = OLD.encode(&[], &300).unwrap();
        bytes.push(0);
        assert!(OLD.decode(&[], &bytes).is_err());
        assert!(OLD.decode(&[], &[]).is_err());
    }
}
