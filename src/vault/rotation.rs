//! The end of an epoch: all live secrets are sealed under a new key, then the old key is destroyed.
//!
//! Whatever a flash translation layer, a snapshot or a stolen backup still holds of destroyed slots dies with the old
//! key. Live secrets move to other slots, some at a time, so that no slot is ever the only copy while it is written;
//! each step may be cut short by a crash and is completed at the next start.
//! Source: docs/spec/federation.md section 4 (`[vault] epoch`).

use std::sync::PoisonError;

use super::keys::{EpochKey, EpochKeys};
use super::scope::Tag;
use super::slot::{SLOT, State};
use super::slots::Vault;
use super::table::Table;
use crate::crypto::secret::Secret;
use crate::disk::Fault;

/// Secrets moved under one hold of the lock: two syncs, a few milliseconds.
const STEP: usize = 256;
/// How faults call the place of the epoch keys.
const PLACE: &str = "the epoch keys";

impl Vault {
    /// Ends the epoch and answers its number; what was destroyed in it is now gone from every copy.
    ///
    /// Takes as long as moving all secrets takes and blocks its thread; others read and write meanwhile, each waiting
    /// for one step at most. When the keys' own place fails, the vault goes on under the keys it has, and calling
    /// again continues where this ended.
    pub fn rotate(&self, keys: &dyn EpochKeys) -> Result<u64, Fault> {
        let _ending = self.0.ending.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = match self.old_epochs()?.last() {
            Some(cut_short) => *cut_short,
            None => self.begin_rotation(keys)?,
        };
        self.complete_rotation(keys)?;
        Ok(ended)
    }

    /// Makes the next key the current one.
    fn begin_rotation(&self, keys: &dyn EpochKeys) -> Result<u64, Fault> {
        let mut table = self.writing()?;
        let ended = table.keys.last().map_or(0, |key| key.epoch);
        let next = EpochKey { epoch: ended + 1, key: Secret::draw(self.entropy().as_mut()) };
        keys.add(&next).map_err(|error| Fault::io(PLACE, &error))?;
        table.keys.push(next);
        Ok(ended)
    }

    /// Moves what older keys seal under the current one and destroys them; without older keys it does nothing.
    pub(super) fn complete_rotation(&self, keys: &dyn EpochKeys) -> Result<(), Fault> {
        let old = self.old_epochs()?;
        if old.is_empty() {
            return Ok(());
        }
        self.scrub(&mut *self.writing()?)?;
        let tags: Vec<Tag> = self.writing()?.live.keys().copied().collect();
        for step in tags.chunks(STEP) {
            self.move_live(&mut *self.writing()?, step)?;
        }
        let mut table = self.writing()?;
        self.move_evidence(&mut table)?;
        self.scrub(&mut table)?;
        self.sync_all()?;
        for epoch in old {
            keys.destroy(epoch).map_err(|error| Fault::io(PLACE, &error))?;
            table.keys.retain(|key| key.epoch != epoch);
        }
        Ok(())
    }

    fn old_epochs(&self) -> Result<Vec<u64>, Fault> {
        let table = self.writing()?;
        let current = table.keys.last().map_or(0, |key| key.epoch);
        Ok(table.keys.iter().map(|key| key.epoch).filter(|epoch| *epoch != current).collect())
    }

    /// Copies secrets into free slots, and when those are durable overwrites the slots where they were.
    fn move_live(&self, table: &mut Table, tags: &[Tag]) -> Result<(), Fault> {
        let current = table.keys.last().map_or(0, |key| key.epoch);
        let mut left = Vec::new();
        for tag in tags {
            let Some(slot) = table.live.get(tag).copied() else { continue };
            let Ok((header, secret)) = self.read_slot(table, slot, State::Live, *tag) else {
                table.live.remove(tag);
                table.damaged.insert(slot, Some(*tag));
                continue;
            };
            if header.epoch != current {
                let to = self.free_slot(table)?;
                self.write_slot(table, to, State::Live, *tag, &secret)?;
                left.push((*tag, slot, to));
            }
        }
        self.sync_all()?;
        for (tag, from, to) in left {
            table.live.insert(tag, to);
            self.write_bytes(from, &[0; SLOT])?;
            table.free.push_front(from);
        }
        Ok(())
    }

    /// Seals the evidence of destroyed slots under the current key, in place: a digest may be lost, a secret may not.
    fn move_evidence(&self, table: &mut Table) -> Result<(), Fault> {
        let current = table.keys.last().map_or(0, |key| key.epoch);
        let free: Vec<u64> = table.free.iter().copied().collect();
        for slot in free {
            let read = table.evidence.get(&slot).map(|tag| (*tag, self.read_slot(table, slot, State::Destroyed, *tag)));
            match read {
                Some((_, Ok((header, _)))) if header.epoch == current => {}
                Some((tag, Ok((_, before)))) => drop(self.write_slot(table, slot, State::Destroyed, tag, &before)?),
                Some((tag, Err(_))) => {
                    table.destroyed.remove(&tag);
                    table.evidence.remove(&slot);
                    self.write_bytes(slot, &[0; SLOT])?;
                }
                None => self.clear(slot)?,
            }
        }
        Ok(())
    }
}
