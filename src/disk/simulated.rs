//! A disk in memory that loses power, fails, fills up and flips bits on demand.
//!
//! What was written and not synced may be lost at a power cut, each write for itself, whole or in sectors; changes of
//! length survive in the order they were made, as on a journalling file system. A disk after a cut is a new disk:
//! whoever still holds the old one cannot touch it.
//! Source: docs/spec/federation.md section 6 ("properties of the simulation tests").

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::crypto::entropy::Seeded;

/// What a device writes whole or not at all.
const SECTOR: usize = 512;

/// A disk in memory; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

impl std::fmt::Debug for SimulatedDisk {
    /// Its length, not its bytes: redb prints its backend whenever it opens one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimulatedDisk({} bytes)", self.len())
    }
}

#[derive(Debug, Default)]
struct State {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What a power cut leaves for sure.
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    locked: bool,
    lying: bool,
    failure: Option<Failure>,
    changes: u64,
    bytes: u64,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    after: u64,
    kind: io::ErrorKind,
}

impl State {
    /// Counts a change; fails it, unapplied, if its time has come.
    fn change(&mut self) -> io::Result<()> {
        if let Some(failure) = self.failure
            && self.changes >= failure.after
        {
            return Err(io::Error::from(failure.kind));
        }
        self.changes += 1;
        Ok(())
    }
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk on which `image` is durable.
    #[must_use]
    pub fn from_image(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { seen: image.clone(), durable: image, ..State::default() })))
    }

    /// All bytes as a reader sees them.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.state().seen.clone()
    }

    /// The number of changes (writes, changes of length, syncs) so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// The number of bytes written so far.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.state().bytes
    }

    /// Bytes from `offset` on.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let start = position(offset)?;
        let stored = start.checked_add(out.len()).and_then(|end| state.seen.get(start..end));
        out.copy_from_slice(stored.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// Writes within the disk's length; beyond it is an error.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let offset = position(offset)?;
        if offset.saturating_add(bytes.len()) > state.seen.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.change()?;
        state.bytes += bytes.len() as u64;
        put(&mut state.seen, offset, bytes);
        state.unsynced.push(Change::Write { offset, bytes: bytes.to_vec() });
        Ok(())
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.state().seen.len() as u64
    }

    /// Whether nothing was ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Grows with zeros, or cuts off.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let length = position(length)?;
        state.seen.resize(length, 0);
        state.unsynced.push(Change::Length(length));
        Ok(())
    }

    /// Makes all writes so far durable (unless the disk lies).
    pub fn sync(&self) -> io::Result<()> {
        let mut guard = self.state();
        guard.change()?;
        let state = &mut *guard;
        if !state.lying {
            for change in state.unsynced.drain(..) {
                match change {
                    Change::Write { offset, bytes } => put(&mut state.durable, offset, &bytes),
                    Change::Length(length) => state.durable.resize(length, 0),
                }
            }
        }
        Ok(())
    }

    /// Takes the only lock; `false` if it is taken.
    #[must_use]
    pub fn lock(&self) -> bool {
        !std::mem::replace(&mut self.state().locked, true)
    }

    /// Gives the lock back.
    pub fn unlock(&self) {
        self.state().locked = false;
    }

    /// From now on a sync reports success and does nothing.
    pub fn lie_about_syncs(&self) {
        self.state().lying = true;
    }

    /// After `changes` more changes each further one fails with `kind` and changes nothing.
    pub fn fail_after(&self, changes: u64, kind: io::ErrorKind) {
        let mut state = self.state();
        state.failure = Some(Failure { after: state.changes.saturating_add(changes), kind });
    }

    /// Ends a failure.
    pub fn heal(&self) {
        self.state().failure = None;
    }

    /// Flips one bit, counted from the start, where a reader sees it and for good.
    pub fn flip_bit(&self, bit: u64) {
        let mut state = self.state();
        let (Ok(byte), mask) = (position(bit / 8), 1 << (bit % 8)) else { return };
        if let Some(byte) = state.seen.get_mut(byte) {
            *byte ^= mask;
        }
        if let Some(byte) = state.durable.get_mut(byte) {
            *byte ^= mask;
        }
    }

    /// The disk as it is found after a power cut at this moment.
    #[must_use]
    pub fn power_cut(&self, luck: &mut Seeded) -> Self {
        let state = self.state();
        let lengths: Vec<usize> = state.unsynced.iter().filter_map(Change::length).collect();
        let survived = luck.below(lengths.len() as u64 + 1);
        let mut image = state.durable.clone();
        let mut ends = lengths.iter().take(usize::try_from(survived).unwrap_or(usize::MAX));
        for change in &state.unsynced {
            match change {
                Change::Write { offset, bytes } => write_some(&mut image, *offset, bytes, luck),
                Change::Length(_) => {
                    if let Some(end) = ends.next() {
                        image.resize(*end, 0);
                    }
                }
            }
        }
        Self::from_image(image)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    const fn length(&self) -> Option<usize> {
        match self {
            Self::Write { .. } => None,
            Self::Length(length) => Some(*length),
        }
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// Writes what lies within `image`; what lies beyond its end was never given a place on the device.
fn put(image: &mut [u8], offset: usize, bytes: &[u8]) {
    let room = image.len().saturating_sub(offset).min(bytes.len());
    if let (Some(to), Some(from)) = (image.get_mut(offset..offset.saturating_add(room)), bytes.get(..room)) {
        to.copy_from_slice(from);
    }
}

/// A write that no sync covered: kept, lost, or torn at the borders of sectors.
fn write_some(image: &mut [u8], offset: usize, bytes: &[u8], luck: &mut Seeded) {
    match luck.below(3) {
        0 => {}
        1 => put(image, offset, bytes),
        _ => {
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                if luck.below(2) == 1 {
                    put(image, offset.saturating_add(number.saturating_mul(SECTOR)), sector);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_synced_survives_and_what_is_not_may_be_lost() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..200 {
            let disk = SimulatedDisk::new();
            disk.set_len(2048).unwrap();
            disk.write(0, &[1; 512]).unwrap();
            disk.sync().unwrap();
            disk.write(512, &[2; 512]).unwrap();
            let after = disk.power_cut(&mut Seeded::new(seed)).image();
            assert_eq!((after.len(), &after[..512]), (2048, &[1; 512][..]));
            if after[512] == 2 { kept += 1 } else { lost += 1 }
        }
        assert!(kept > 50 && lost > 50, "{kept} kept, {lost} lost");
    }

    #[test]
    fn a_lying_disk_loses_what_it_said_was_durable() {
        let disk = SimulatedDisk::new();
        disk.lie_about_syncs();
        disk.set_len(512).unwrap();
        disk.write(0, &[1; 512]).unwrap();
        disk.sync().unwrap();
        assert!((0..50).any(|seed| disk.power_cut(&mut Seeded::new(seed)).image() != disk.image()));
    }

    #[test]
    fn a_failing_change_changes_nothing() {
        let disk = SimulatedDisk::from_image(vec![0; 4]);
        disk.fail_after(1, io::ErrorKind::StorageFull);
        disk.write(0, &[1]).unwrap();
        assert_eq!(disk.write(1, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.image(), [1, 0, 0, 0]);
        disk.heal();
        disk.sync().unwrap();
    }
}
