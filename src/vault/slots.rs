//! The vault itself: secrets created, read and destroyed.
//!
//! A secret is created in a free slot and never changed; destroying it overwrites its slot in place, syncs and reads it
//! back. No database is needed to find a slot. Readers share the vault with the one writer.
//! Source: docs/spec/federation.md section 4 "Gone means gone".

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::cache::Cache;
use super::keys::EpochKeys;
use super::medium::Medium;
use super::scope::Tag;
use super::slot::{self, Found, Header, SLOT, State};
use super::table::{HEADER, Table, header, offset, read_header};
use crate::crypto::digest::Digest;
use crate::crypto::entropy::{Entropy, draw};
use crate::crypto::secret::Secret;
use crate::disk::{Fault, Unusable};

/// Slots by which the file grows: half a MiB of zeros, so that growing is rare and short.
const SEGMENT: u64 = 1024;
/// The tag of the secret that every vault has: it tells a wrong epoch key from an empty vault.
const ANCHOR: Tag = Tag([0; 32]);

/// Evidence of a destroyed secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destroyed {
    /// The slot.
    pub slot: u64,
    /// SHA-256 of its sealed bytes before: it reveals nothing.
    pub before: Digest,
    /// SHA-256 of its bytes after, as read back.
    pub after: Digest,
}

/// The vault; clones are the same vault.
#[derive(Clone)]
pub struct Vault(pub(super) Arc<Inner>);

pub(super) struct Inner {
    path: PathBuf,
    identity: Digest,
    medium: Box<dyn Medium>,
    table: RwLock<Table>,
    entropy: Mutex<Box<dyn Entropy>>,
    cache: Mutex<Cache>,
    unsynced: AtomicBool,
    /// Held during a sync: who finds nothing left to sync has waited until it is durable.
    syncing: Mutex<()>,
    stopped: AtomicBool,
    /// Held while an epoch is being ended.
    pub(super) ending: Mutex<()>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Vault {
    /// Makes a vault on an empty medium; `path` is how errors call it.
    pub fn create(
        path: &Path,
        medium: Box<dyn Medium>,
        keys: &dyn EpochKeys,
        mut entropy: Box<dyn Entropy>,
    ) -> Result<Self, Unusable> {
        let failed = |error| Unusable::io(path, &error);
        let identity = Digest(draw(entropy.as_mut()));
        medium.grow(HEADER).map_err(failed)?;
        medium.write_at(0, &header(identity)).map_err(failed)?;
        let table = Table { keys: keys.keys().map_err(failed)?, ..Table::default() };
        let vault = Self::assemble(path, identity, medium, table, entropy);
        vault.put(ANCHOR)?;
        vault.sync()?;
        Ok(vault)
    }

    /// Opens a vault and reads all its slots. An end of an epoch that a crash cut short is completed.
    pub fn open(
        path: &Path,
        medium: Box<dyn Medium>,
        keys: &dyn EpochKeys,
        entropy: Box<dyn Entropy>,
    ) -> Result<Self, Unusable> {
        let identity = read_header(path, medium.as_ref())?;
        let read = keys.keys().and_then(|keys| Table::read(medium.as_ref(), keys));
        let table = read.map_err(|error| Unusable::io(path, &error))?;
        // One foreign slot may be a flipped bit; two are a key that is missing, and what they hold is not lost.
        if table.live.is_empty() || table.foreign > 1 {
            return Err(Unusable::WrongEpochKey { path: path.to_owned() });
        }
        let vault = Self::assemble(path, identity, medium, table, entropy);
        vault.complete_rotation(keys)?;
        Ok(vault)
    }

    fn assemble(
        path: &Path,
        identity: Digest,
        medium: Box<dyn Medium>,
        table: Table,
        entropy: Box<dyn Entropy>,
    ) -> Self {
        Self(Arc::new(Inner {
            path: path.to_owned(),
            identity,
            medium,
            table: RwLock::new(table),
            entropy: Mutex::new(entropy),
            cache: Mutex::default(),
            unsynced: AtomicBool::new(false),
            syncing: Mutex::default(),
            stopped: AtomicBool::new(false),
            ending: Mutex::default(),
        }))
    }

    /// What tells this vault from every other; the database remembers it.
    pub fn identity(&self) -> Digest {
        self.0.identity
    }

    /// The secret of a scope, created if there is none.
    ///
    /// A new one is durable after the next [`Self::sync`], which must return before anything sealed under it is
    /// committed. One that a crash left without use is found again here.
    pub fn put(&self, tag: Tag) -> Result<Secret, Fault> {
        let mut table = self.writing()?;
        if let Some(slot) = table.live.get(&tag) {
            return self.read_secret(&table, tag, *slot);
        }
        let secret = Secret::draw(self.entropy().as_mut());
        let slot = self.free_slot(&mut table)?;
        self.write_slot(&mut table, slot, State::Live, tag, &secret)?;
        table.live.insert(tag, slot);
        self.cache().put(tag, secret.clone());
        Ok(secret)
    }

    /// Makes all secrets created so far durable; without new ones it does nothing.
    pub fn sync(&self) -> Result<(), Fault> {
        let _syncing = self.0.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.writable()?;
        if self.0.unsynced.swap(false, Ordering::AcqRel) {
            self.io(self.0.medium.sync())?;
        }
        Ok(())
    }

    /// The secret of a scope; `None` if it never had one or it was destroyed.
    ///
    /// Whoever knows that neither is the case has found damage: a slot whose tag was damaged cannot be told from none.
    pub fn secret(&self, tag: Tag) -> Result<Option<Secret>, Fault> {
        // Destroying takes it out before anything else, and nothing puts it back while that goes on: readers of what
        // is known wait for nobody, not for the end of an epoch either.
        if let Some(secret) = self.cache().get(&tag) {
            return Ok(Some(secret));
        }
        let table = self.table();
        match table.live.get(&tag) {
            Some(slot) => self.read_secret(&table, tag, *slot).map(Some),
            None if table.is_damaged(tag) => Err(corrupt(&tag)),
            None => Ok(None),
        }
    }

    /// Destroys the secret of a scope: overwritten in place, synced, read back.
    ///
    /// Done twice, or again after a crash, it answers as it did the first time, until the slot is used again or the
    /// epoch ends; `None` if there is neither a secret nor evidence of one. Damaged slots are overwritten on the way: one of them may be what
    /// a crash left of this very call.
    pub fn destroy(&self, tag: Tag) -> Result<Option<Destroyed>, Fault> {
        let mut table = self.writing()?;
        self.scrub(&mut table)?;
        let Some(slot) = table.live.get(&tag).copied() else {
            return table.destroyed.get(&tag).map(|slot| self.evidence(&table, *slot)).transpose();
        };
        self.cache().remove(&tag);
        let before = Digest::of(&[&self.bytes(slot)?]);
        let mut inside = *before.bytes();
        let written = self.write_slot(&mut table, slot, State::Destroyed, tag, &Secret::take(&mut inside))?;
        self.sync_all()?;
        self.confirm(slot, &written)?;
        table.destroyed(tag, slot);
        Ok(Some(Destroyed { slot, before, after: Digest::of(&[&written]) }))
    }

    /// The number of live secrets.
    pub fn len(&self) -> usize {
        self.tags().len()
    }

    /// Whether there is no live secret.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tags of all live secrets.
    pub fn tags(&self) -> Vec<Tag> {
        self.table().live.keys().copied().filter(|tag| *tag != ANCHOR).collect()
    }

    /// The epoch whose key seals what is written now, counted from 1.
    pub fn epoch(&self) -> u64 {
        self.table().keys.last().map_or(0, |key| key.epoch)
    }

    /// The first epoch whose key is not destroyed: what was destroyed in an earlier one is gone from every copy.
    pub fn oldest_epoch(&self) -> u64 {
        self.table().keys.first().map_or(0, |key| key.epoch)
    }

    /// The order of the last write: a vault whose last write is older than another's is an older copy.
    pub fn generation(&self) -> u64 {
        self.table().generation
    }

    /// Whether an earlier fault left it unknown what is stored.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    /// Slots that cannot be read: what they held is lost, and somebody should be told.
    pub fn damaged(&self) -> u64 {
        let table = self.table();
        table.foreign + table.damaged.len() as u64
    }

    /// A free slot; the file grows if there is none.
    pub(super) fn free_slot(&self, table: &mut Table) -> Result<u64, Fault> {
        if table.free.is_empty() {
            self.io(self.0.medium.grow(SEGMENT * SLOT as u64))?;
            table.free.extend(table.slots..table.slots + SEGMENT);
            table.slots += SEGMENT;
        }
        table.take_free().ok_or_else(|| corrupt(&"a free slot"))
    }

    /// Writes a slot under the current key and answers what it wrote.
    pub(super) fn write_slot(
        &self,
        table: &mut Table,
        slot: u64,
        state: State,
        tag: Tag,
        inside: &Secret,
    ) -> Result<[u8; SLOT], Fault> {
        let current = table.keys.last().ok_or_else(|| corrupt(&"the epoch key"))?;
        table.generation += 1;
        let header = Header { state, epoch: current.epoch, generation: table.generation, tag };
        let bytes = slot::write(slot, &header, &current.key, inside, self.entropy().as_mut());
        self.write_bytes(slot, &bytes)?;
        Ok(bytes)
    }

    pub(super) fn write_bytes(&self, slot: u64, bytes: &[u8; SLOT]) -> Result<(), Fault> {
        self.0.unsynced.store(true, Ordering::Release);
        self.io(self.0.medium.write_at(offset(slot), bytes))
    }

    /// Overwrites a slot with zeros unless it holds zeros already.
    pub(super) fn clear(&self, slot: u64) -> Result<(), Fault> {
        let zeros = [0; SLOT];
        if self.bytes(slot)? == zeros { Ok(()) } else { self.write_bytes(slot, &zeros) }
    }

    /// Makes all writes so far durable.
    pub(super) fn sync_all(&self) -> Result<(), Fault> {
        let _syncing = self.0.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.writable()?;
        self.0.unsynced.store(false, Ordering::Release);
        self.io(self.0.medium.sync())
    }

    /// Overwrites with zeros, and so frees, what is damaged and what a crash left standing.
    pub(super) fn scrub(&self, table: &mut Table) -> Result<(), Fault> {
        let mut slots = std::mem::take(&mut table.stale);
        slots.extend(std::mem::take(&mut table.damaged).into_keys());
        for slot in &slots {
            self.write_bytes(*slot, &[0; SLOT])?;
        }
        if !slots.is_empty() {
            self.sync_all()?;
        }
        table.free.extend(slots);
        Ok(())
    }

    fn read_secret(&self, table: &Table, tag: Tag, slot: u64) -> Result<Secret, Fault> {
        if let Some(secret) = self.cache().get(&tag) {
            return Ok(secret);
        }
        let (_, secret) = self.read_slot(table, slot, State::Live, tag)?;
        self.cache().put(tag, secret.clone());
        Ok(secret)
    }

    /// What a destroyed slot tells of its destruction.
    fn evidence(&self, table: &Table, slot: u64) -> Result<Destroyed, Fault> {
        let bytes = self.bytes(slot)?;
        match slot::read(slot, &bytes, &table.keys) {
            Found::Written(header, before) if header.state == State::Destroyed => {
                Ok(Destroyed { slot, before: Digest(*before.expose()), after: Digest::of(&[&bytes]) })
            }
            Found::Written(..) | Found::Fresh | Found::Foreign | Found::Damaged(_) => Err(corrupt(&slot)),
        }
    }

    /// Reads a slot that must hold this.
    pub(super) fn read_slot(
        &self,
        table: &Table,
        slot: u64,
        state: State,
        tag: Tag,
    ) -> Result<(Header, Secret), Fault> {
        match slot::read(slot, &self.bytes(slot)?, &table.keys) {
            Found::Written(header, inside) if header.state == state && header.tag == tag => Ok((header, inside)),
            Found::Written(..) | Found::Fresh | Found::Foreign | Found::Damaged(_) => Err(corrupt(&tag)),
        }
    }

    fn confirm(&self, slot: u64, written: &[u8; SLOT]) -> Result<(), Fault> {
        let mut found = [0; SLOT];
        self.io(self.0.medium.read_back(offset(slot), &mut found))?;
        if found == *written { Ok(()) } else { self.io(Err(io::Error::other("an overwritten slot did not read back"))) }
    }

    pub(super) fn bytes(&self, slot: u64) -> Result<[u8; SLOT], Fault> {
        let mut bytes = [0; SLOT];
        match self.0.medium.read_at(offset(slot), &mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(Fault::io(self.place(), &error)),
        }
    }

    fn place(&self) -> String {
        self.0.path.display().to_string()
    }

    /// A failed write or sync leaves it unknown what is stored: nothing more is written.
    pub(super) fn io<T>(&self, result: io::Result<T>) -> Result<T, Fault> {
        result.map_err(|error| {
            self.0.stopped.store(true, Ordering::Release);
            Fault::io(self.place(), &error)
        })
    }

    fn writable(&self) -> Result<(), Fault> {
        if self.0.stopped.load(Ordering::Acquire) {
            return Err(Fault::Stopped { place: self.place() });
        }
        Ok(())
    }

    pub(super) fn writing(&self) -> Result<RwLockWriteGuard<'_, Table>, Fault> {
        self.writable()?;
        Ok(self.0.table.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.0.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn entropy(&self) -> MutexGuard<'_, Box<dyn Entropy>> {
        self.0.entropy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn corrupt(what: &dyn std::fmt::Display) -> Fault {
    Fault::Corrupt { table: "vault".into(), key: what.to_string() }
}
