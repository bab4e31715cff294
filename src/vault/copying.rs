//! The vault's part of a backup: its slots as they are, sealed under the epoch key that is never in it.
//!
//! A copy opens as long as the key of its epoch is kept, and nothing after that: by design.
//! Source: docs/spec/federation.md section 4 "Backups".

use std::collections::BTreeSet;
use std::path::Path;

use super::medium::{FileMedium, Medium as _};
use super::slot::SLOT;
use super::slots::Vault;
use super::table::{HEADER, header, offset};
use crate::crypto::digest::Digest;
use crate::disk::{Fault, Unusable};

/// Slots read under one hold of the lock.
const STEP: usize = 256;

impl Vault {
    /// The epoch whose key seals what is written now, and the number of slots.
    #[must_use]
    pub fn extent(&self) -> (u64, u64) {
        let table = self.table();
        (table.keys.last().map_or(0, |key| key.epoch), table.slots)
    }

    /// Gives every slot in use, as it stands in the file, to `each`, until it refuses: live ones, and the evidence of
    /// those destroyed, so that the copy shows which write was the last. What is created meanwhile may be
    /// missing; `false`: an epoch ended meanwhile, so that some of what was given may be dead already.
    pub fn copy<E>(&self, mut each: impl FnMut(u64, &[u8; SLOT]) -> Result<(), E>) -> Result<Result<bool, E>, Fault> {
        let (begun, one) = {
            let table = self.table();
            (table.keys.last().map_or(0, |key| key.epoch), table.keys.len() == 1)
        };
        let tags: BTreeSet<_> = {
            let table = self.table();
            table.live.keys().chain(table.destroyed.keys()).copied().collect()
        };
        let tags: Vec<_> = tags.into_iter().collect();
        for step in tags.chunks(STEP) {
            let mut slots = Vec::with_capacity(STEP);
            {
                let table = self.table();
                let of = |tag| [table.live.get(tag), table.destroyed.get(tag)].into_iter().flatten();
                for slot in step.iter().flat_map(of) {
                    slots.push((*slot, self.bytes(*slot)?));
                }
            }
            for (slot, bytes) in &slots {
                if let Err(refused) = each(*slot, bytes) {
                    return Ok(Err(refused));
                }
            }
        }
        Ok(Ok(one && self.extent().0 == begun))
    }
}

/// A vault file that is being put together from slots as they were copied.
#[derive(Debug)]
pub struct Rebuilt {
    medium: FileMedium,
    slots: u64,
}

impl Rebuilt {
    /// An empty vault of this identity and length where there is no file.
    pub fn begin(path: &Path, identity: Digest, slots: u64) -> Result<Self, Unusable> {
        let medium = FileMedium::create(path)?;
        let made = medium.grow(HEADER).and_then(|()| medium.write_at(0, &header(identity))).and_then(|()| {
            let mut left = slots;
            while left > 0 {
                let step = left.min(1024);
                medium.grow(step * SLOT as u64)?;
                left -= step;
            }
            Ok(())
        });
        made.map_err(|error| Unusable::io(path, &error))?;
        Ok(Self { medium, slots })
    }

    /// Writes a slot in its place; `false`: it has none here.
    pub fn put(&self, path: &Path, slot: u64, bytes: &[u8]) -> Result<bool, Unusable> {
        if slot >= self.slots || bytes.len() != SLOT {
            return Ok(false);
        }
        self.medium.write_at(offset(slot), bytes).map_err(|error| Unusable::io(path, &error))?;
        Ok(true)
    }

    /// Makes it durable.
    pub fn finish(self, path: &Path) -> Result<(), Unusable> {
        self.medium.sync().map_err(|error| Unusable::io(path, &error))
    }
}
