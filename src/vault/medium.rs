//! Where slots are written: a file, or a simulated disk.
//!
//! Positioned reads and writes, and a sync; nothing that would move, rename or cut a file that holds live secrets.

use std::fmt::Debug;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::disk::{SimulatedDisk, Unusable, private};

/// Bytes at positions, written in place.
pub trait Medium: Debug + Send + Sync {
    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Reads from `offset` on.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes within the length.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Adds `more` bytes of real zeros at the end, never a hole, so that a later write finds its place taken.
    fn grow(&self, more: u64) -> io::Result<()>;
    /// Makes all writes so far durable.
    fn sync(&self) -> io::Result<()>;
    /// Reads what the device holds rather than what is kept of it in memory, as far as that can be asked for.
    fn read_back(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

/// A vault or key file of this process alone.
#[derive(Debug)]
pub struct FileMedium(File);

impl FileMedium {
    /// Creates the file, 0600, and takes it for this process.
    pub fn create(path: &Path) -> Result<Self, Unusable> {
        let file = private::create_file(path)?;
        private::sync_parent(path)?;
        Self::take(file, path)
    }

    /// Opens the file and takes it for this process.
    pub fn open(path: &Path) -> Result<Self, Unusable> {
        Self::take(private::open_file(path)?, path)
    }

    fn take(file: File, path: &Path) -> Result<Self, Unusable> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Unusable::InUse { path: path.to_owned(), pid: None }),
            Err(TryLockError::Error(error)) => Err(Unusable::io(path, &error)),
        }
    }
}

impl Medium for FileMedium {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn grow(&self, more: u64) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(more).map_err(|_| io::ErrorKind::FileTooLarge)?];
        self.0.write_all_at(&zeros, self.length()?)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn read_back(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let length = std::num::NonZeroU64::new(out.len() as u64);
        rustix::fs::fadvise(&self.0, offset, length, rustix::fs::Advice::DontNeed)?;
        self.read_at(offset, out)
    }
}

impl Medium for SimulatedDisk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read(offset, out)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(offset, bytes)
    }

    fn grow(&self, more: u64) -> io::Result<()> {
        self.set_len(self.len().saturating_add(more))
    }

    fn sync(&self) -> io::Result<()> {
        Self::sync(self)
    }

    fn read_back(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read(offset, out)
    }
}
