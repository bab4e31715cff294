//! What the outside world does to stored data: faults while running, and what forbids a start.
//!
//! A refusal is caused by a message and changes nothing; a fault is caused by a disk, and after it nobody knows what
//! is stored: the handle that met it takes no more writes, and the process is started again.
//! Source: docs/spec/federation.md section 6, promise 7.

use std::io;
use std::path::{Path, PathBuf};

/// The outside world failed while the cell was running.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Reading, writing or syncing failed; whether a write is stored is not known.
    #[error("{place}: {reason}; what was being written may or may not be stored: restart the cell")]
    Io {
        /// The file.
        place: String,
        /// What the operating system said.
        reason: String,
    },
    /// The device is full.
    #[error("{place}: no space left on the device; free some space, then restart the cell")]
    Full {
        /// The file.
        place: String,
    },
    /// Stored bytes are not what was written.
    #[error("{table}: what is stored under {key} is damaged; restore it from a backup or a peer's copy")]
    Corrupt {
        /// The table, or `vault`.
        table: String,
        /// The row's key in hexadecimal, or the slot.
        key: String,
    },
    /// A file as a whole is not what was written.
    #[error("{place}: the file is damaged ({reason}); restore it from a backup or a peer's copy")]
    Damaged {
        /// The file.
        place: String,
        /// What does not fit.
        reason: String,
    },
    /// An earlier fault left it unknown what is stored; nothing is written until a restart.
    #[error("{place}: nothing more is written after an earlier fault; restart the cell")]
    Stopped {
        /// The file.
        place: String,
    },
}

impl Fault {
    /// The fault that an operating system's error at `place` is.
    #[must_use]
    pub fn io(place: impl Into<String>, error: &io::Error) -> Self {
        let place = place.into();
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::Full { place };
        }
        Self::Io { place, reason: error.to_string() }
    }
}

/// Why a cell must not start on what it found; each names the path and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Another process has it open.
    #[error(
        "{path}: in use by another process{}; stop it, or give this cell a data directory of its own",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The locked file.
        path: PathBuf,
        /// The process, if it could be told.
        pid: Option<u32>,
    },
    /// Nothing has been created here yet.
    #[error("{path}: there is no cell here; create one with `asp-cell init`, or correct [cell] data_dir")]
    NotInitialised {
        /// The data directory.
        path: PathBuf,
    },
    /// Something that a new cell would overwrite is already here.
    #[error("{path}: already exists; start the cell that is here, or choose another directory for a new one")]
    AlreadyInitialised {
        /// The file in the way.
        path: PathBuf,
    },
    /// One of the files that belong together is gone.
    #[error(
        "{path}: missing, but {beside} exists; put it back from where it was moved or from a backup taken together with it, nothing is created in its place"
    )]
    Missing {
        /// What is gone.
        path: PathBuf,
        /// What shows that it was there.
        beside: PathBuf,
    },
    /// A file that belongs to the cell is not there.
    #[error("{path}: there is no such file; put it back from where it was moved or from a backup")]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer build.
    #[error("{path}: has format {found}, this build reads up to {known}; run a newer asp-cell")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this build knows.
        known: u32,
    },
    /// Written by a build so old that this one has no way forward from it.
    #[error(
        "{path}: has format {found}, this build migrates from {oldest} on; start it once with an older asp-cell first"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The oldest format this build migrates.
        oldest: u32,
    },
    /// Others than the owner may read or write it.
    #[error("{path}: mode {mode:03o} lets others in; run `chmod {wanted:o} {path}`")]
    OpenMode {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they must be.
        wanted: u32,
    },
    /// It belongs to another cell.
    #[error("{path}: belongs to cell {found}, the configuration says {configured}; correct [cell] id or data_dir")]
    OtherCell {
        /// The database.
        path: PathBuf,
        /// The cell it was created for.
        found: String,
        /// The cell that was to be started.
        configured: String,
    },
    /// Database and vault were not created together.
    #[error("{path}: was created with another vault; correct [vault] path, or restore both from the same backup")]
    OtherVault {
        /// The database.
        path: PathBuf,
    },
    /// The root key is not the one that the database was written under.
    #[error("{path}: was written under another root key; put this cell's root.key back into [keys] path")]
    WrongRootKey {
        /// The database.
        path: PathBuf,
    },
    /// None of the epoch keys opens the vault.
    #[error("{path}: no slot opens under the epoch keys; put this cell's epoch.key back into [keys] path")]
    WrongEpochKey {
        /// The vault.
        path: PathBuf,
    },
    /// The token that keeps the keys cannot be used.
    #[error("{module}: {why}; correct [keys] in cell.toml, or bring the token back")]
    Token {
        /// The library of `[keys] module`.
        module: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The second copy of the vault is another vault's.
    #[error(
        "{path}: is no copy of {vault}, but of another vault; correct [vault] mirror, or overwrite and remove it: then it is made again"
    )]
    OtherMirror {
        /// The second copy.
        path: PathBuf,
        /// The first.
        vault: PathBuf,
    },
    /// A path that somebody named, and that cannot be what it was named for.
    #[error("{path}: {reason}; expected {expected}")]
    Given {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The bytes are no file of this kind.
    #[error("{path}: is not {expected}, or its first bytes are damaged; restore it from a backup")]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A backup that does not open.
    #[error(
        "{path}: does not open from chunk {chunk} on: it is damaged or cut short, or was made under another root key; \
         use another copy, and put this cell's own root.key into the keys directory"
    )]
    UnreadableBackup {
        /// The backup.
        path: PathBuf,
        /// The first chunk that does not open, from 0.
        chunk: u64,
    },
    /// A backup whose epoch is over.
    #[error(
        "{path}: its secrets are sealed under the key of epoch {epoch}, which is not in epoch.key: a backup opens \
         until the epoch it was taken in has ended, and nothing after that, by design; use a newer backup, or put the \
         newest copy of epoch.key into the keys directory"
    )]
    EpochOver {
        /// The backup.
        path: PathBuf,
        /// Its epoch; 0 if it holds no vault.
        epoch: u64,
    },
    /// An erasure ledger that ends before what it is to be used with.
    #[error(
        "{path}: restore_behind: this erasure ledger has {found} entries and does not go on from the {backup} that are \
         known already; use the newest copy of erasures.log, or what was erased since would come back"
    )]
    OlderErasures {
        /// The ledger.
        path: PathBuf,
        /// Its entries.
        found: u64,
        /// The entries that must be in it.
        backup: u64,
    },
    /// Overwriting in place would not destroy what stood there.
    #[error(
        "{path}: lies on {kind}, where overwriting is not known to destroy ({why}); \
         move it to ext4 with data=ordered, or set media = \"untrusted\" to get erasure certificates at epoch end only"
    )]
    UntrustedMedium {
        /// The vault.
        path: PathBuf,
        /// The file system.
        kind: String,
        /// What is wrong with it.
        why: String,
    },
    /// The disk failed on the way.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Unusable {
    /// A path that somebody named cannot be opened, listed or written: whoever named it is to name another. What only a
    /// failing disk says stays a fault.
    #[must_use]
    pub fn given(path: &Path, error: &io::Error, expected: &'static str) -> Self {
        let theirs = matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::InvalidFilename
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::InvalidData
        );
        if theirs {
            return Self::Given { path: path.to_owned(), reason: error.to_string(), expected };
        }
        Self::io(path, error)
    }

    /// The disk failed at `path`.
    #[must_use]
    pub fn io(path: &Path, error: &io::Error) -> Self {
        Self::Fault(Fault::io(path.display().to_string(), error))
    }
}
