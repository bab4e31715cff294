//! What can be asked of stored rows, committed ([`super::Read`]) or about to be ([`super::Write`]).
//!
//! Every answer is bounded by its caller; no answer was not opened under its own place.

use std::ops::{Bound, RangeBounds};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::key::{Key, StartsWith, after_prefix};
use super::table::{Table, corrupt};
use crate::disk::Fault;

/// In which order rows are asked for; a limit cuts off the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Forward,
    /// Largest key first.
    Backward,
}

/// An opened row: key and value as bytes.
pub type Opened = (Vec<u8>, Zeroizing<Vec<u8>>);

/// Keys from `start` up to and without `end`, as bytes.
#[derive(Debug, Clone)]
pub struct Span {
    /// The first key.
    pub start: Vec<u8>,
    /// The first key after, if there is an end.
    pub end: Option<Vec<u8>>,
}

impl Span {
    fn of<K: Key>(bounds: &impl RangeBounds<K>) -> Self {
        let start = match bounds.start_bound() {
            Bound::Included(key) => key.bytes(),
            Bound::Excluded(key) => next(key.bytes()),
            Bound::Unbounded => Vec::new(),
        };
        let end = match bounds.end_bound() {
            Bound::Included(key) => Some(next(key.bytes())),
            Bound::Excluded(key) => Some(key.bytes()),
            Bound::Unbounded => None,
        };
        Self { start, end }
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// The same as bounds.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = self.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        (Bound::Included(self.start.as_slice()), end)
    }
}

/// The smallest byte string after `key`.
fn next(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// Rows that can be read.
pub trait View {
    /// The value under a key, opened.
    fn row(&self, table: &'static str, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Fault>;

    /// At most `limit` rows of a span, opened.
    fn rows(&self, table: &'static str, span: &Span, order: Order, limit: usize) -> Result<Vec<Opened>, Fault>;

    /// The row under `key`.
    fn get<K: Key, V: Serialize + DeserializeOwned>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>, Fault> {
        let key = key.bytes();
        self.row(table.name(), &key)?.map(|row| table.decode(&key, &row)).transpose()
    }

    /// The row under `key`, which something else that is stored says is there: its absence is damage.
    fn existing<K: Key, V: Serialize + DeserializeOwned>(&self, table: &Table<K, V>, key: &K) -> Result<V, Fault> {
        self.get(table, key)?.ok_or_else(|| corrupt(table.name(), &key.bytes()))
    }

    /// At most `limit` rows whose keys lie in `bounds`.
    fn range<K: Key, V: Serialize + DeserializeOwned>(
        &self,
        table: &Table<K, V>,
        bounds: impl RangeBounds<K>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(K, V)>, Fault> {
        decoded(table, self.rows(table.name(), &Span::of(&bounds), order, limit)?)
    }

    /// At most `limit` rows whose keys begin with `prefix`.
    fn under<P: Key, K: StartsWith<P>, V: Serialize + DeserializeOwned>(
        &self,
        table: &Table<K, V>,
        prefix: &P,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(K, V)>, Fault> {
        let start = prefix.bytes();
        let end = after_prefix(&start);
        decoded(table, self.rows(table.name(), &Span { start, end }, order, limit)?)
    }

    /// The row with the largest key.
    fn last<K: Key, V: Serialize + DeserializeOwned>(&self, table: &Table<K, V>) -> Result<Option<(K, V)>, Fault> {
        Ok(self.range(table, .., Order::Backward, 1)?.pop())
    }

    /// The row with the largest key that begins with `prefix`.
    fn last_under<P: Key, K: StartsWith<P>, V: Serialize + DeserializeOwned>(
        &self,
        table: &Table<K, V>,
        prefix: &P,
    ) -> Result<Option<(K, V)>, Fault> {
        Ok(self.under(table, prefix, Order::Backward, 1)?.pop())
    }
}

fn decoded<K: Key, V: Serialize + DeserializeOwned>(
    table: &Table<K, V>,
    rows: Vec<Opened>,
) -> Result<Vec<(K, V)>, Fault> {
    rows.into_iter().map(|(key, row)| Ok((table.decode_key(&key)?, table.decode(&key, &row)?))).collect()
}
