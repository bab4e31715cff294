//! The database of one cell, opened for one writer, with every reason to refuse.
//!
//! Two rows say whose it is: its format, in the clear, so that a build which cannot read the rest still knows why; and
//! its identity, sealed like everything else, so that a wrong root key is noticed before anything is read with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, StorageBackend, StorageError, TableDefinition};
use serde::{Deserialize, Serialize};

use super::backend::MemoryBackend;
use super::read::Read;
use super::redb_fault::{contained, fault};
use super::sealer::Sealer;
use super::table::Table;
use super::view::View as _;
use super::write::Write;
use crate::crypto::digest::Digest;
use crate::crypto::entropy::Entropy;
use crate::crypto::secret::Secret;
use crate::disk::{Fault, SimulatedDisk, Unusable, private};
use crate::protocol::ids::CellId;
use crate::protocol::time::Timestamp;

/// The only table whose values are not sealed.
pub(super) const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");
pub(super) const FORMAT_KEY: &str = "format";

/// A database up to this size is checked whole when it is opened (about a second); a larger one only row by row when it
/// is read, where a row that damage hides is noticed by whoever knows that it was there.
const CHECKED: u64 = 1 << 30;

const IDENTITY: Table<(), Identity> = Table::new("identity");

/// What a database knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    cell: CellId,
    vault: Digest,
    created: Timestamp,
}

/// Where a database lies.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// On a simulated disk.
    Simulated(SimulatedDisk),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Simulated(_) => Path::new("simulated disk"),
        }
    }
}

/// Takes a database from one format to the next.
pub type Migration = fn(&mut Write<'_>) -> Result<(), Fault>;

/// The format of a database: which tables there are and what they mean.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// The format this build writes, counted from 1.
    pub version: u32,
    /// The steps that lead to it, the last one from `version - 1`; each is committed with the number it leads to.
    pub migrations: &'static [Migration],
}

/// What a database is created or opened with.
pub struct Terms {
    /// The key that seals its rows.
    pub key: Secret,
    /// The cell it belongs to.
    pub cell: CellId,
    /// The identity of the vault that belongs to it.
    pub vault: Digest,
    /// The format this build knows.
    pub format: Format,
    /// Bytes of the file kept in memory.
    pub cache_bytes: usize,
    /// Where nonces come from.
    pub entropy: Box<dyn Entropy>,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms").field("cell", &self.cell).field("format", &self.format).finish_non_exhaustive()
    }
}

/// What readers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub place: String,
    /// There until it is closed by the drop.
    database: Option<Database>,
    pub sealer: Sealer,
    stopped: AtomicBool,
}

impl Shared {
    /// The database.
    pub fn database(&self) -> Result<&Database, redb::Error> {
        self.database.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    /// No more writes: nobody knows what the last one left.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    fn snapshot(self: &Arc<Self>) -> Result<Read, Fault> {
        let snapshot = contained(&self.place, || Ok(self.database()?.begin_read()?))?;
        Ok(Read::new(Arc::clone(self), snapshot))
    }
}

/// Closing a damaged database may panic as reading it may.
impl Drop for Shared {
    fn drop(&mut self) {
        let closed = contained(&self.place, || {
            drop(self.database.take());
            Ok(())
        });
        if let Err(fault) = closed {
            tracing::warn!(%fault, "the database was not closed cleanly");
        }
    }
}

/// The store of a cell. There is one; whoever holds it is the writer.
pub struct Store {
    shared: Arc<Shared>,
    entropy: Box<dyn Entropy>,
    created: Timestamp,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("place", &self.shared.place).finish_non_exhaustive()
    }
}

/// Takes snapshots, from any thread.
#[derive(Debug, Clone)]
pub struct Reader(Arc<Shared>);

impl Reader {
    /// All that is committed now.
    pub fn snapshot(&self) -> Result<Read, Fault> {
        self.0.snapshot()
    }
}

impl Store {
    /// Creates a database where there is none.
    pub fn create(place: &Place, terms: Terms, now: Timestamp) -> Result<Self, Unusable> {
        let database = match place {
            Place::File(path) => {
                let file = private::create_file(path)?;
                private::sync_parent(path)?;
                start(place, file_backend(file), terms.cache_bytes)?
            }
            Place::Simulated(disk) => start(place, Ok(MemoryBackend(disk.clone())), terms.cache_bytes)?,
        };
        let mut store = Self::assemble(place, database, terms.key, terms.entropy);
        store.created = now;
        let mut write = store.write()?;
        write.put(&IDENTITY, &(), &Identity { cell: terms.cell, vault: terms.vault, created: now })?;
        write.set_format(terms.format.version);
        write.commit()?;
        Ok(store)
    }

    /// Opens the database that is there.
    pub fn open(place: &Place, terms: Terms) -> Result<Self, Unusable> {
        let database = match place {
            Place::File(path) => {
                let file = private::open_file(path)?;
                let length = file.metadata().map_err(|error| Unusable::io(path, &error))?.len();
                not_empty(place, length)?;
                start(place, file_backend(file), terms.cache_bytes)?
            }
            Place::Simulated(disk) => {
                not_empty(place, disk.len())?;
                start(place, Ok(MemoryBackend(disk.clone())), terms.cache_bytes)?
            }
        };
        let path = place.path();
        let found = format_of(path, &database)?;
        let steps = steps(path, found, terms.format)?;
        let mut store = Self::assemble(place, database, terms.key, terms.entropy);
        store.created = store.check(path, &terms.cell, terms.vault)?;
        for (step, migration) in (found + 1..).zip(steps) {
            let mut write = store.write()?;
            migration(&mut write)?;
            write.set_format(step);
            write.commit()?;
        }
        Ok(store)
    }

    fn assemble(place: &Place, database: Database, key: Secret, entropy: Box<dyn Entropy>) -> Self {
        let place = place.path().display().to_string();
        let shared =
            Shared { place, database: Some(database), sealer: Sealer::new(key), stopped: AtomicBool::new(false) };
        Self { shared: Arc::new(shared), entropy, created: Timestamp(0) }
    }

    /// Whose database it is.
    fn check(&self, path: &Path, cell: &CellId, vault: Digest) -> Result<Timestamp, Unusable> {
        let identity = match self.shared.snapshot()?.get(&IDENTITY, &()) {
            Ok(Some(identity)) => identity,
            Ok(None) | Err(Fault::Corrupt { .. }) => return Err(Unusable::WrongRootKey { path: path.to_owned() }),
            Err(fault) => return Err(fault.into()),
        };
        if identity.cell != *cell {
            let (found, configured) = (identity.cell.to_string(), cell.to_string());
            return Err(Unusable::OtherCell { path: path.to_owned(), found, configured });
        }
        if identity.vault != vault {
            return Err(Unusable::OtherVault { path: path.to_owned() });
        }
        Ok(identity.created)
    }

    /// When the database was created.
    #[must_use]
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// Begins changes on top of all that is committed.
    pub fn write(&mut self) -> Result<Write<'_>, Fault> {
        if self.shared.stopped.load(Ordering::Acquire) {
            return Err(Fault::Stopped { place: self.shared.place.clone() });
        }
        let base = self.shared.snapshot()?;
        Ok(Write::new(self, base))
    }

    /// All that is committed now.
    pub fn read(&self) -> Result<Read, Fault> {
        self.shared.snapshot()
    }

    /// How many rows were opened and sealed so far, by the writer and by readers: what a step costs on any machine.
    #[must_use]
    pub fn rows_touched(&self) -> u64 {
        self.shared.sealer.touched()
    }

    /// For readers on other threads.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.shared))
    }

    pub(super) fn parts(&mut self) -> (&Shared, &mut dyn Entropy) {
        (&self.shared, self.entropy.as_mut())
    }
}

fn file_backend(file: std::fs::File) -> Result<FileBackend, DatabaseError> {
    FileBackend::new(file)
}

/// Starts redb; an unclean end is repaired on the way.
fn start<B: StorageBackend>(
    place: &Place,
    backend: Result<B, DatabaseError>,
    cache_bytes: usize,
) -> Result<Database, Unusable> {
    let path = place.path().to_owned();
    let name = path.display().to_string();
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    let started = contained(&name, || {
        Ok(backend.and_then(|backend| {
            builder.set_check_integrity_on_open((1..=CHECKED).contains(&backend.len()?));
            builder.create_with_backend(backend)
        }))
    })?;
    started.map_err(|error| refused(path, error))
}

/// Why redb does not start.
fn refused(path: PathBuf, error: DatabaseError) -> Unusable {
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
        return Unusable::InUse { path, pid: None };
    }
    if let DatabaseError::Storage(StorageError::Io(error)) = &error
        && error.kind() == std::io::ErrorKind::InvalidData
    {
        return Unusable::NotOurs { path, expected: "a redb database" };
    }
    Unusable::Fault(fault(&path.display().to_string(), error.into()))
}

fn not_empty(place: &Place, length: u64) -> Result<(), Unusable> {
    let empty = || Unusable::NotOurs { path: place.path().to_owned(), expected: "a redb database" };
    if length == 0 { Err(empty()) } else { Ok(()) }
}

fn format_of(path: &Path, database: &Database) -> Result<u32, Unusable> {
    let not_ours = || Unusable::NotOurs { path: path.to_owned(), expected: "a database of asp-cell" };
    let read = contained(&path.display().to_string(), || {
        let table = match database.begin_read()?.open_table(META) {
            Ok(table) => table,
            Err(redb::TableError::Storage(error)) => return Err(error.into()),
            Err(_) => return Ok(None),
        };
        Ok(table.get(FORMAT_KEY)?.map(|format| format.value()))
    });
    read?.filter(|format| *format > 0).ok_or_else(not_ours)
}

/// The migrations that lead from the format that was found to this build's.
fn steps(path: &Path, found: u32, format: Format) -> Result<&'static [Migration], Unusable> {
    if found > format.version {
        return Err(Unusable::Newer { path: path.to_owned(), found, known: format.version });
    }
    let behind = (format.version - found) as usize;
    let oldest = format.version.saturating_sub(u32::try_from(format.migrations.len()).unwrap_or(u32::MAX)).max(1);
    let start = format.migrations.len().checked_sub(behind);
    let steps = start.and_then(|start| format.migrations.get(start..));
    steps.ok_or_else(|| Unusable::Older { path: path.to_owned(), found, oldest })
}
