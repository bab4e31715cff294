//! A snapshot: all that was committed when it was taken, and nothing later.
//!
//! It is cheap to take and to clone and may be read from any thread. The database keeps what a snapshot can see, so
//! hold one for a request and not for a stream.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use redb::{ReadOnlyTable, ReadTransaction, TableDefinition, TableError};
use zeroize::Zeroizing;

use super::database::Shared;
use super::redb_fault::contained;
use super::view::{Opened, Order, Span, View};
use crate::disk::Fault;

/// All tables are of this type for redb.
pub(super) type Raw = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// How redb is told of a table.
pub(super) const fn definition(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

/// A snapshot of the store.
#[derive(Clone)]
pub struct Read(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    snapshot: ReadTransaction,
    /// Tables opened so far; `None` if there was none of that name.
    tables: RwLock<HashMap<&'static str, Option<Arc<Raw>>>>,
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Read(..)")
    }
}

impl Read {
    pub(super) fn new(shared: Arc<Shared>, snapshot: ReadTransaction) -> Self {
        Self(Arc::new(Inner { shared, snapshot, tables: RwLock::default() }))
    }

    /// Reads the snapshot itself, with redb's errors and panics as faults.
    pub(super) fn contained<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, Fault> {
        contained(&self.0.shared.place, || read(&self.0.snapshot))
    }

    fn table(&self, name: &'static str) -> Result<Option<Arc<Raw>>, redb::Error> {
        if let Some(table) = self.0.tables.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(table.clone());
        }
        let table = match self.0.snapshot.open_table(definition(name)) {
            Ok(table) => Some(Arc::new(table)),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        self.0.tables.write().unwrap_or_else(PoisonError::into_inner).insert(name, table.clone());
        Ok(table)
    }

    /// Opens a sealed value of `table`.
    pub(super) fn open(&self, table: &str, key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.0.shared.sealer.open(table, key, sealed)
    }

    /// Sealed rows of a span: all those that `wanted` takes until it has enough (answers `false`).
    pub(super) fn sealed_rows(
        &self,
        table: &'static str,
        span: &Span,
        order: Order,
        mut wanted: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Fault> {
        contained(&self.0.shared.place, || {
            let (Some(table), false) = (self.table(table)?, span.is_empty()) else { return Ok(()) };
            let mut rows = table.range::<&[u8]>(span.bounds())?;
            while let Some(row) = if order == Order::Forward { rows.next() } else { rows.next_back() } {
                let (key, sealed) = row?;
                if !wanted(key.value(), sealed.value()) {
                    break;
                }
            }
            Ok(())
        })
    }
}

impl View for Read {
    fn row(&self, table: &'static str, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        let opened = contained(&self.0.shared.place, || {
            let Some(rows) = self.table(table)? else { return Ok(None) };
            Ok(rows.get(key)?.map(|sealed| self.open(table, key, sealed.value())))
        });
        opened?.transpose()
    }

    fn rows(&self, table: &'static str, span: &Span, order: Order, limit: usize) -> Result<Vec<Opened>, Fault> {
        let mut rows = Vec::new();
        if limit > 0 {
            self.sealed_rows(table, span, order, |key, sealed| {
                rows.push(self.open(table, key, sealed).map(|row| (key.to_vec(), row)));
                rows.len() < limit
            })?;
        }
        rows.into_iter().collect()
    }
}
