//! The vault itself: secrets created, read and destroyed.
//!
//! A secret is created in a free slot and never changed; destroying it overwrites its slot in place, syncs and reads it
//! back. The file is a header page and slots; which scope lies where is learned by reading all of it at start, so no
//! database is needed to find a slot. Readers share it with the one writer.
//! Source: docs/spec/federation.md section 4 "Gone means gone".

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::cache::Cache;
use super::keys::{EpochKey, EpochKeys};
use super::medium::Medium;
use super::scope::Tag;
use super::slot::{self, Found, Header, SLOT, State};
use crate::crypto::digest::Digest;
use crate::crypto::entropy::{Entropy, draw};
use crate::crypto::secret::Secret;
use crate::disk::{Fault, Unusable};

/// Bytes before the first slot: magic, version, identity, SHA-256 of those, zeros. Written once.
const HEADER: u64 = 4096;
const MAGIC: &[u8; 16] = b"asp-cell vault\n\0";
const VERSION: u32 = 1;
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
pub struct Vault(Arc<Inner>);

struct Inner {
    path: PathBuf,
    identity: Digest,
    medium: Box<dyn Medium>,
    keys: Vec<EpochKey>,
    table: RwLock<Table>,
    entropy: Mutex<Box<dyn Entropy>>,
    cache: Mutex<Cache>,
    unsynced: AtomicBool,
    stopped: AtomicBool,
}

/// Which slot holds what.
#[derive(Default)]
struct Table {
    live: HashMap<Tag, u64>,
    destroyed: HashMap<Tag, u64>,
    /// Never used first, then in the order in which they were destroyed: evidence stays as long as it can.
    free: VecDeque<u64>,
    damaged: BTreeSet<u64>,
    slots: u64,
    generation: u64,
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
        let keys = keys.keys().map_err(failed)?;
        let vault = Self::assemble(path, identity, medium, keys, Table::default(), entropy);
        vault.put(ANCHOR)?;
        vault.sync()?;
        Ok(vault)
    }

    /// Opens a vault and reads all its slots.
    pub fn open(
        path: &Path,
        medium: Box<dyn Medium>,
        keys: &dyn EpochKeys,
        entropy: Box<dyn Entropy>,
    ) -> Result<Self, Unusable> {
        let identity = read_header(path, medium.as_ref())?;
        let keys = keys.keys().map_err(|error| Unusable::io(path, &error))?;
        let table = Table::read(medium.as_ref(), &keys).map_err(|error| Unusable::io(path, &error))?;
        if table.live.is_empty() {
            return Err(Unusable::WrongEpochKey { path: path.to_owned() });
        }
        Ok(Self::assemble(path, identity, medium, keys, table, entropy))
    }

    fn assemble(
        path: &Path,
        identity: Digest,
        medium: Box<dyn Medium>,
        keys: Vec<EpochKey>,
        table: Table,
        entropy: Box<dyn Entropy>,
    ) -> Self {
        Self(Arc::new(Inner {
            path: path.to_owned(),
            identity,
            medium,
            keys,
            table: RwLock::new(table),
            entropy: Mutex::new(entropy),
            cache: Mutex::default(),
            unsynced: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
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
            return self.read_secret(tag, *slot);
        }
        let secret = Secret::draw(self.entropy().as_mut());
        let slot = self.free_slot(&mut table)?;
        self.write_slot(&mut table, slot, State::Live, tag, &secret)?;
        table.destroyed.retain(|_, destroyed| *destroyed != slot);
        table.live.insert(tag, slot);
        self.cache().put(tag, secret.clone());
        Ok(secret)
    }

    /// Makes all secrets created so far durable; without new ones it does nothing.
    pub fn sync(&self) -> Result<(), Fault> {
        if !self.0.unsynced.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.writable()?;
        self.io(self.0.medium.sync())
    }

    /// The secret of a scope; `None` if it never had one or it was destroyed.
    pub fn secret(&self, tag: Tag) -> Result<Option<Secret>, Fault> {
        let table = self.table();
        table.live.get(&tag).map(|slot| self.read_secret(tag, *slot)).transpose()
    }

    /// Destroys the secret of a scope: overwritten in place, synced, read back.
    ///
    /// Done twice, or again after a crash, it answers as it did the first time, until the slot is used again; `None` if
    /// there is neither a secret nor evidence of one. Damaged slots are overwritten on the way: one of them may be what
    /// a crash left of this very call.
    pub fn destroy(&self, tag: Tag) -> Result<Option<Destroyed>, Fault> {
        let mut table = self.writing()?;
        self.scrub(&mut table)?;
        let Some(slot) = table.live.get(&tag).copied() else {
            return table.destroyed.get(&tag).map(|slot| self.evidence(*slot)).transpose();
        };
        self.cache().remove(&tag);
        let before = Digest::of(&[&self.bytes(slot)?]);
        let mut inside = *before.bytes();
        let written = self.write_slot(&mut table, slot, State::Destroyed, tag, &Secret::take(&mut inside))?;
        self.io(self.0.medium.sync())?;
        self.confirm(slot, &written)?;
        table.live.remove(&tag);
        table.destroyed.insert(tag, slot);
        table.free.push_back(slot);
        Ok(Some(Destroyed { slot, before, after: Digest::of(&[&written]) }))
    }

    /// The number of live secrets.
    pub fn len(&self) -> usize {
        self.table().live.len().saturating_sub(1)
    }

    /// Whether there is no live secret.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tags of all live secrets.
    pub fn tags(&self) -> Vec<Tag> {
        self.table().live.keys().copied().filter(|tag| *tag != ANCHOR).collect()
    }

    /// Slots that are neither free nor readable: what they held is lost, and somebody should be told.
    pub fn damaged(&self) -> usize {
        self.table().damaged.len()
    }

    /// A free slot; the file grows if there is none.
    fn free_slot(&self, table: &mut Table) -> Result<u64, Fault> {
        if table.free.is_empty() {
            self.io(self.0.medium.grow(SEGMENT * SLOT as u64))?;
            table.free.extend(table.slots..table.slots + SEGMENT);
            table.slots += SEGMENT;
        }
        table.free.pop_front().ok_or_else(|| corrupt(table.slots))
    }

    fn write_slot(
        &self,
        table: &mut Table,
        slot: u64,
        state: State,
        tag: Tag,
        inside: &Secret,
    ) -> Result<[u8; SLOT], Fault> {
        let current = self.0.keys.last().ok_or_else(|| corrupt(slot))?;
        table.generation += 1;
        let header = Header { state, epoch: current.epoch, generation: table.generation, tag };
        let bytes = slot::write(slot, &header, &current.key, inside, self.entropy().as_mut());
        self.io(self.0.medium.write_at(offset(slot), &bytes))?;
        self.0.unsynced.store(true, Ordering::Release);
        Ok(bytes)
    }

    /// Overwrites damaged slots with zeros, which makes them free.
    fn scrub(&self, table: &mut Table) -> Result<(), Fault> {
        let damaged = std::mem::take(&mut table.damaged);
        for slot in &damaged {
            self.io(self.0.medium.write_at(offset(*slot), &[0; SLOT]))?;
        }
        if !damaged.is_empty() {
            self.io(self.0.medium.sync())?;
        }
        table.free.extend(damaged);
        Ok(())
    }

    fn read_secret(&self, tag: Tag, slot: u64) -> Result<Secret, Fault> {
        if let Some(secret) = self.cache().get(&tag) {
            return Ok(secret);
        }
        match slot::read(slot, &self.bytes(slot)?, |epoch| key_of(&self.0.keys, epoch)) {
            Found::Written(header, secret) if header.state == State::Live && header.tag == tag => {
                self.cache().put(tag, secret.clone());
                Ok(secret)
            }
            Found::Written(..) | Found::Fresh | Found::Damaged => Err(corrupt(slot)),
        }
    }

    /// What a destroyed slot tells of its destruction.
    fn evidence(&self, slot: u64) -> Result<Destroyed, Fault> {
        let bytes = self.bytes(slot)?;
        match slot::read(slot, &bytes, |epoch| key_of(&self.0.keys, epoch)) {
            Found::Written(header, before) if header.state == State::Destroyed => {
                Ok(Destroyed { slot, before: Digest(*before.expose()), after: Digest::of(&[&bytes]) })
            }
            Found::Written(..) | Found::Fresh | Found::Damaged => Err(corrupt(slot)),
        }
    }

    fn confirm(&self, slot: u64, written: &[u8; SLOT]) -> Result<(), Fault> {
        let mut found = [0; SLOT];
        self.io(self.0.medium.read_back(offset(slot), &mut found))?;
        if found == *written { Ok(()) } else { self.io(Err(io::Error::other("an overwritten slot did not read back"))) }
    }

    fn bytes(&self, slot: u64) -> Result<[u8; SLOT], Fault> {
        let mut bytes = [0; SLOT];
        match self.0.medium.read_at(offset(slot), &mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(self.fault(&error)),
        }
    }

    fn fault(&self, error: &io::Error) -> Fault {
        Fault::io(self.0.path.display().to_string(), error)
    }

    /// A failed write or sync leaves it unknown what is stored: nothing more is written.
    fn io<T>(&self, result: io::Result<T>) -> Result<T, Fault> {
        result.map_err(|error| {
            self.0.stopped.store(true, Ordering::Release);
            self.fault(&error)
        })
    }

    fn writable(&self) -> Result<(), Fault> {
        if self.0.stopped.load(Ordering::Acquire) {
            return Err(Fault::Stopped { place: self.0.path.display().to_string() });
        }
        Ok(())
    }

    fn writing(&self) -> Result<RwLockWriteGuard<'_, Table>, Fault> {
        self.writable()?;
        Ok(self.0.table.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.0.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn entropy(&self) -> MutexGuard<'_, Box<dyn Entropy>> {
        self.0.entropy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Reads every slot once. Secrets are opened to be checked and wiped at once.
    fn read(medium: &dyn Medium, keys: &[EpochKey]) -> io::Result<Self> {
        let slots = medium.length()?.saturating_sub(HEADER) / SLOT as u64;
        let mut table = Self { slots, ..Self::default() };
        let mut used_before = BTreeMap::new();
        let mut newest: HashMap<Tag, u64> = HashMap::new();
        let mut bytes = [0; SLOT];
        for number in 0..table.slots {
            medium.read_at(offset(number), &mut bytes)?;
            match slot::read(number, &bytes, |epoch| key_of(keys, epoch)) {
                Found::Fresh => table.free.push_back(number),
                Found::Damaged => drop(table.damaged.insert(number)),
                Found::Written(header, _) => {
                    table.generation = table.generation.max(header.generation);
                    match header.state {
                        State::Live => drop(table.live.insert(header.tag, number)),
                        State::Destroyed => {
                            used_before.insert(header.generation, number);
                            let seen = newest.entry(header.tag).or_default();
                            if header.generation >= *seen {
                                *seen = header.generation;
                                table.destroyed.insert(header.tag, number);
                            }
                        }
                    }
                }
            }
        }
        table.free.extend(used_before.into_values());
        Ok(table)
    }
}

fn header(identity: Digest) -> Vec<u8> {
    let fields = [MAGIC.as_slice(), &VERSION.to_be_bytes(), identity.bytes()].concat();
    let digest = Digest::of(&[&fields]);
    [fields.as_slice(), digest.bytes()].concat()
}

fn read_header(path: &Path, medium: &dyn Medium) -> Result<Digest, Unusable> {
    let not_ours = || Unusable::NotOurs { path: path.to_owned(), expected: "a vault" };
    let mut found = [0; 84];
    medium.read_at(0, &mut found).map_err(|_| not_ours())?;
    let (magic, rest) = found.split_first_chunk::<16>().ok_or_else(not_ours)?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(not_ours)?;
    let (identity, _) = rest.split_first_chunk::<32>().ok_or_else(not_ours)?;
    let (version, identity) = (u32::from_be_bytes(*version), Digest(*identity));
    if magic == MAGIC && version > VERSION {
        return Err(Unusable::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    if found == *header(identity) { Ok(identity) } else { Err(not_ours()) }
}

fn key_of(keys: &[EpochKey], epoch: u64) -> Option<&Secret> {
    keys.iter().find(|key| key.epoch == epoch).map(|key| &key.key)
}

const fn offset(slot: u64) -> u64 {
    HEADER + slot * SLOT as u64
}

fn corrupt(slot: u64) -> Fault {
    Fault::Corrupt { table: "vault".into(), key: format!("slot {slot}") }
}
