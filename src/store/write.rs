//! Changes collected in memory, then committed at once, in the order of their keys.
//!
//! What was put is seen by whoever reads through the same `Write`, and by nobody else before the commit; dropping it
//! changes nothing. A commit is durable when it returns; after one that failed nobody knows, and the store takes no
//! more writes.

use std::collections::BTreeMap;
use std::iter::Peekable;

use redb::Durability;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::database::{FORMAT_KEY, META, Store};
use super::key::Key;
use super::read::{Read, definition};
use super::redb_fault::contained;
use super::sealer::Sealer;
use super::table::Table;
use super::view::{Opened, Order, Span, View};
use crate::crypto::entropy::Entropy;
use crate::disk::Fault;

/// What a change leaves under a key: a row, or nothing.
type Change = Option<Zeroizing<Vec<u8>>>;
type Changes = BTreeMap<&'static str, BTreeMap<Vec<u8>, Change>>;

/// Changes that are committed together or not at all.
#[derive(Debug)]
pub struct Write<'s> {
    store: &'s mut Store,
    base: Read,
    changes: Changes,
    format: Option<u32>,
}

impl<'s> Write<'s> {
    pub(super) const fn new(store: &'s mut Store, base: Read) -> Self {
        Self { store, base, changes: Changes::new(), format: None }
    }

    /// Puts a row under a key, in place of any that is there.
    pub fn put<K: Key, V: Serialize + DeserializeOwned>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        row: &V,
    ) -> Result<(), Fault> {
        let key = key.bytes();
        let row = table.encode(&key, row)?;
        self.changes.entry(table.name()).or_default().insert(key, Some(row));
        Ok(())
    }

    /// Removes the row under a key, if there is one.
    pub fn remove<K: Key, V: Serialize + DeserializeOwned>(&mut self, table: &Table<K, V>, key: &K) {
        self.changes.entry(table.name()).or_default().insert(key.bytes(), None);
    }

    /// Puts a row under the number after the largest one there, counted from 1, and returns the number.
    ///
    /// For tables whose rows stay: the number of a removed last row would be given again.
    pub fn append<V: Serialize + DeserializeOwned>(&mut self, table: &Table<u64, V>, row: &V) -> Result<u64, Fault> {
        let last = self.rows(table.name(), &Span { start: Vec::new(), end: None }, Order::Backward, 1)?;
        let last = last.first().map(|(key, _)| table.decode_key(key)).transpose()?.unwrap_or(0);
        self.put(table, &(last + 1), row)?;
        Ok(last + 1)
    }

    /// Whether nothing was put or removed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.format.is_none()
    }

    pub(super) const fn set_format(&mut self, format: u32) {
        self.format = Some(format);
    }

    /// Makes all changes durable together.
    pub fn commit(self) -> Result<(), Fault> {
        if self.is_empty() {
            return Ok(());
        }
        let (shared, entropy) = self.store.parts();
        let committed =
            contained(&shared.place, || apply(shared.database()?, &self.changes, self.format, &shared.sealer, entropy));
        if committed.is_err() {
            shared.stop();
        }
        committed
    }
}

fn apply(
    database: &redb::Database,
    changes: &Changes,
    format: Option<u32>,
    sealer: &Sealer,
    entropy: &mut dyn Entropy,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    for (name, rows) in changes {
        let mut table = transaction.open_table(definition(name))?;
        for (key, change) in rows {
            match change {
                Some(row) => drop(table.insert(key.as_slice(), sealer.seal(name, key, row, entropy).as_slice())?),
                None => drop(table.remove(key.as_slice())?),
            }
        }
    }
    if let Some(format) = format {
        transaction.open_table(META)?.insert(FORMAT_KEY, format)?;
    }
    transaction.commit()?;
    Ok(())
}

impl View for Write<'_> {
    fn row(&self, table: &'static str, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        match self.changes.get(table).and_then(|rows| rows.get(key)) {
            Some(change) => Ok(change.clone()),
            None => self.base.row(table, key),
        }
    }

    fn rows(&self, table: &'static str, span: &Span, order: Order, limit: usize) -> Result<Vec<Opened>, Fault> {
        let Some(changes) = self.changes.get(table) else { return self.base.rows(table, span, order, limit) };
        if span.is_empty() {
            return Ok(Vec::new());
        }
        let within = changes.range::<[u8], _>(span.bounds());
        let mut merge = match order {
            Order::Forward => Merge::new(Box::new(within), order, limit),
            Order::Backward => Merge::new(Box::new(within.rev()), order, limit),
        };
        self.base.sealed_rows(table, span, order, |key, sealed| merge.base(key, sealed))?;
        merge.finish(|key, sealed| self.base.open(table, key, sealed))
    }
}

/// Changes to a span, in order.
type Changed<'c> = Box<dyn Iterator<Item = (&'c Vec<u8>, &'c Change)> + 'c>;

/// Committed rows and changes to them, merged in the order in which they are asked for.
struct Merge<'c> {
    changes: Peekable<Changed<'c>>,
    order: Order,
    limit: usize,
    rows: Vec<Merged<'c>>,
}

enum Merged<'c> {
    Changed(&'c [u8], &'c Zeroizing<Vec<u8>>),
    Committed(Vec<u8>, Vec<u8>),
}

impl<'c> Merge<'c> {
    fn new(changes: Changed<'c>, order: Order, limit: usize) -> Self {
        Self { changes: changes.peekable(), order, limit, rows: Vec::new() }
    }

    /// Takes the next committed row; answers whether more are wanted.
    fn base(&mut self, key: &[u8], sealed: &[u8]) -> bool {
        let order = self.order;
        self.changed_while(|changed| match order {
            Order::Forward => changed < key,
            Order::Backward => changed > key,
        });
        let hidden = self.changes.peek().is_some_and(|(changed, _)| changed.as_slice() == key);
        if !hidden && self.rows.len() < self.limit {
            self.rows.push(Merged::Committed(key.to_vec(), sealed.to_vec()));
        }
        self.rows.len() < self.limit
    }

    /// Takes changes as long as they come first and more rows are wanted.
    fn changed_while(&mut self, first: impl Fn(&[u8]) -> bool) {
        while self.rows.len() < self.limit {
            let Some((key, change)) = self.changes.next_if(|(key, _)| first(key)) else { break };
            self.rows.extend(change.as_ref().map(|row| Merged::Changed(key, row)));
        }
    }

    fn finish(
        mut self,
        open: impl Fn(&[u8], &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault>,
    ) -> Result<Vec<Opened>, Fault> {
        self.changed_while(|_| true);
        let opened = self.rows.into_iter().map(|row| match row {
            Merged::Changed(key, row) => Ok((key.to_vec(), row.clone())),
            Merged::Committed(key, sealed) => {
                let row = open(&key, &sealed)?;
                Ok((key, row))
            }
        });
        opened.collect()
    }
}
