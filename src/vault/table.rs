//! Which slot holds what, learned by reading the whole file at start.
//!
//! The file is a header page and then slots. Knows nothing of who asks for a secret.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::Path;

use super::keys::EpochKey;
use super::medium::Medium;
use super::scope::Tag;
use super::slot::{self, Found, Header, SLOT, State};
use crate::crypto::digest::Digest;
use crate::disk::Unusable;

/// Bytes before the first slot: magic, version, identity, SHA-256 of those, zeros. Written once.
pub const HEADER: u64 = 4096;
const MAGIC: &[u8; 16] = b"asp-cell vault\n\0";
const VERSION: u32 = 1;
/// Bytes read at once at start.
const CHUNK: usize = 1024 * SLOT;

/// Which slot holds what.
#[derive(Debug, Default)]
pub struct Table {
    /// The keys that open slots; the last one seals what is written.
    pub keys: Vec<EpochKey>,
    /// The slot of each scope's secret.
    pub live: HashMap<Tag, u64>,
    /// The slot of each scope's last destruction, while it is not used again.
    pub destroyed: HashMap<Tag, u64>,
    /// The scope of whose destruction a slot tells.
    pub evidence: HashMap<u64, Tag>,
    /// Never used first, then in the order in which they were destroyed: evidence stays as long as it can.
    pub free: VecDeque<u64>,
    /// Slots that do not open under the key they name, with the tag they show.
    pub damaged: BTreeMap<u64, Option<Tag>>,
    /// Slots whose secret was moved to another one and which a crash left standing.
    pub stale: Vec<u64>,
    /// Slots that name an epoch whose key is not here: never overwritten, the key may come back.
    pub foreign: u64,
    /// The number of slots.
    pub slots: u64,
    /// The largest generation so far.
    pub generation: u64,
}

impl Table {
    /// Reads every slot once. Secrets are opened to be checked, and wiped at once.
    pub fn read(medium: &dyn Medium, keys: Vec<EpochKey>) -> io::Result<Self> {
        let slots = medium.length()?.saturating_sub(HEADER) / SLOT as u64;
        let mut table = Self { keys, slots, ..Self::default() };
        let mut seen = Seen::default();
        let mut chunk = vec![0; CHUNK];
        let mut number = 0;
        while number < slots {
            let count = (slots - number).min((CHUNK / SLOT) as u64);
            let bytes = chunk.get_mut(..usize::try_from(count).unwrap_or(0) * SLOT).unwrap_or_default();
            medium.read_at(offset(number), bytes)?;
            for slot in bytes.as_chunks::<SLOT>().0 {
                table.take(number, slot, &mut seen);
                number += 1;
            }
        }
        table.free.extend(seen.destroyed.into_values());
        table.evidence = table.destroyed.iter().map(|(tag, slot)| (*slot, *tag)).collect();
        Ok(table)
    }

    fn take(&mut self, number: u64, bytes: &[u8; SLOT], seen: &mut Seen) {
        match slot::read(number, bytes, &self.keys) {
            Found::Fresh => self.free.push_back(number),
            Found::Foreign => self.foreign += 1,
            Found::Damaged(tag) => drop(self.damaged.insert(number, tag)),
            Found::Written(header, _) => self.written(number, &header, seen),
        }
    }

    fn written(&mut self, number: u64, header: &Header, seen: &mut Seen) {
        self.generation = self.generation.max(header.generation);
        let (newest, places) = match header.state {
            State::Live => (&mut seen.newest_live, &mut self.live),
            State::Destroyed => {
                seen.destroyed.insert(header.generation, number);
                (&mut seen.newest_destroyed, &mut self.destroyed)
            }
        };
        let newest = newest.entry(header.tag).or_default();
        let is_newer = header.generation > *newest;
        let older = if is_newer { places.insert(header.tag, number) } else { Some(number) };
        *newest = header.generation.max(*newest);
        if header.state == State::Live {
            self.stale.extend(older);
        }
    }

    /// Takes a free slot, which then tells of no destruction any more.
    pub fn take_free(&mut self) -> Option<u64> {
        let slot = self.free.pop_front()?;
        if let Some(tag) = self.evidence.remove(&slot) {
            self.destroyed.remove(&tag);
        }
        Some(slot)
    }

    /// Notes that `slot` held the secret of `tag` and may be used again.
    pub fn destroyed(&mut self, tag: Tag, slot: u64) {
        self.live.remove(&tag);
        if let Some(older) = self.destroyed.insert(tag, slot) {
            self.evidence.remove(&older);
        }
        self.evidence.insert(slot, tag);
        self.free.push_back(slot);
    }

    /// Whether a slot that shows this tag is damaged.
    pub fn is_damaged(&self, tag: Tag) -> bool {
        self.damaged.values().any(|damaged| *damaged == Some(tag))
    }
}

/// What has been read so far, to tell newer from older.
#[derive(Default)]
struct Seen {
    newest_live: HashMap<Tag, u64>,
    newest_destroyed: HashMap<Tag, u64>,
    destroyed: BTreeMap<u64, u64>,
}

/// Where slot `number` begins.
pub const fn offset(number: u64) -> u64 {
    HEADER + number * SLOT as u64
}

/// The first bytes of the vault called `identity`.
pub fn header(identity: Digest) -> Vec<u8> {
    let fields = [MAGIC.as_slice(), &VERSION.to_be_bytes(), identity.bytes()].concat();
    let digest = Digest::of(&[&fields]);
    [fields.as_slice(), digest.bytes()].concat()
}

/// Reads the identity of the vault on `medium`.
pub fn read_header(path: &Path, medium: &dyn Medium) -> Result<Digest, Unusable> {
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
