//! All rows of a database as they are stored, out of a snapshot and into a new database: what a backup is made of.
//!
//! Rows stay sealed: whoever copies them needs no key and learns nothing.

use std::path::Path;

use redb::{Builder, Database, Durability, ReadableTable as _, TableHandle as _};

use super::database::{FORMAT_KEY, META};
use super::read::{Read, definition};
use super::redb_fault::contained;
use crate::disk::{Fault, Unusable, private};

/// Bytes of rows in one commit while a database is rebuilt.
const STEP: usize = 4 << 20;

impl Read {
    /// Gives every row of every table, sealed, to `each`, until it refuses.
    pub(super) fn every_row<E>(
        &self,
        mut each: impl FnMut(&str, &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, Fault> {
        self.contained(|snapshot| {
            for table in snapshot.list_tables()?.filter(|table| table.name() != redb::TableHandle::name(&META)) {
                let rows = snapshot.open_table(definition(table.name()))?;
                for row in rows.iter()? {
                    let (key, value) = row?;
                    if let Err(refused) = each(table.name(), key.value(), value.value()) {
                        return Ok(Err(refused));
                    }
                }
            }
            Ok(Ok(()))
        })
    }
}

/// A sealed row: table, key, value.
type Row = (String, Vec<u8>, Vec<u8>);

/// A database that is being put together from rows as they were stored.
pub(super) struct Rebuilt {
    database: Database,
    place: String,
    rows: Vec<Row>,
    bytes: usize,
}

impl Rebuilt {
    /// An empty database where there is no file.
    pub fn begin(path: &Path) -> Result<Self, Unusable> {
        let place = path.display().to_string();
        let file = private::create_file(path)?;
        let database = contained(&place, || {
            let backend = redb::backends::FileBackend::new(file)?;
            Ok(Builder::new().create_with_backend(backend)?)
        })?;
        Ok(Self { database, place, rows: Vec::new(), bytes: 0 })
    }

    /// Adds a row.
    pub fn put(&mut self, table: String, key: Vec<u8>, value: Vec<u8>) -> Result<(), Fault> {
        self.bytes += key.len() + value.len();
        self.rows.push((table, key, value));
        if self.bytes < STEP { Ok(()) } else { self.flush(None) }
    }

    /// Makes it durable and says which format it has: without that it is no database of a cell.
    pub fn finish(mut self, format: u32) -> Result<(), Fault> {
        self.flush(Some(format))
    }

    fn flush(&mut self, format: Option<u32>) -> Result<(), Fault> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        contained(&self.place, || {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.set_two_phase_commit(true);
            transaction.set_quick_repair(true);
            let mut rows = rows.as_slice();
            while let Some((name, _, _)) = rows.first() {
                let of_it = rows.iter().take_while(|(table, _, _)| table == name).count();
                let (these, rest) = rows.split_at(of_it);
                let mut table = transaction.open_table(definition(name))?;
                for (_, key, value) in these {
                    table.insert(key.as_slice(), value.as_slice())?;
                }
                rows = rest;
            }
            if let Some(format) = format {
                transaction.open_table(META)?.insert(FORMAT_KEY, format)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }
}
