//! Database, vault and keys of a cell: created together, opened together or not at all.
//!
//! | path | what |
//! |---|---|
//! | `data/cell.redb` | the database |
//! | `data/erasures.log` | what was erased: copy it off the machine often |
//! | `data/lock` | held by the running process, whose pid stands in it |
//! | `data/run/` | what exists only while the cell runs |
//! | `vault` | slots of the scope secrets |
//! | `keys/root.key`, `keys/epoch.key` | never part of a backup |
//!
//! Source: docs/spec/details.md S22.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database::{Format, Place, Store, Terms};
use super::erasures::Erasures;
use crate::crypto::secret::Secret;
use crate::disk::{Unusable, private};
use crate::protocol::ids::CellId;
use crate::protocol::time::Timestamp;
use crate::vault::entropy::OsEntropy;
use crate::vault::keys::KeyFile;
use crate::vault::medium::FileMedium;
use crate::vault::mirror::{Mended, Mirrored};
use crate::vault::wrapping::{self, Token};
use crate::vault::{Media, MediaPolicy, Medium, RootKey, TagKey, Vault, media};

/// How often, and after what pause, a lock is tried again.
const PATIENCE: u32 = 10;
const PAUSE: Duration = Duration::from_millis(25);

/// Where the parts lie: `[cell] data_dir`, `[vault] path` and `[keys] path`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The data directory.
    pub data: PathBuf,
    /// The vault file.
    pub vault: PathBuf,
    /// Its second copy: `[vault] mirror`.
    pub mirror: Option<PathBuf>,
    /// The keys directory.
    pub keys: PathBuf,
    /// The token that wraps what stands there; absent: the files hold the keys themselves.
    pub token: Option<Token>,
}

impl Layout {
    /// `data`, `vault` and `keys` in one directory.
    #[must_use]
    pub fn under(directory: &Path) -> Self {
        Self {
            data: directory.join("data"),
            vault: directory.join("vault"),
            mirror: None,
            keys: directory.join("keys"),
            token: None,
        }
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join("cell.redb")
    }

    /// Where `listeners.json` stands while the cell runs.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.data.join("run")
    }

    /// The erasure ledger.
    #[must_use]
    pub fn erasures(&self) -> PathBuf {
        self.data.join("erasures.log")
    }

    fn lock(&self) -> PathBuf {
        self.data.join("lock")
    }

    pub(super) fn root_key(&self) -> PathBuf {
        self.keys.join("root.key")
    }

    pub(super) fn epoch_key(&self) -> PathBuf {
        self.keys.join("epoch.key")
    }
}

/// What the configuration says of a cell's storage.
#[derive(Debug, Clone)]
pub struct DataDir {
    /// Where the parts lie.
    pub layout: Layout,
    /// The cell.
    pub cell: CellId,
    /// `[vault] media`.
    pub media: MediaPolicy,
    /// Bytes of the database kept in memory.
    pub cache_bytes: usize,
    /// The database format of this build.
    pub format: Format,
}

/// All of a cell's storage, held by this process alone.
#[derive(Debug)]
pub struct Opened {
    /// The database.
    pub store: Store,
    /// The vault.
    pub vault: Vault,
    /// The vault's epoch keys, for [`Vault::rotate`].
    pub epochs: KeyFile<FileMedium>,
    /// What makes tags of names.
    pub tags: TagKey,
    /// What the vault lies on.
    pub media: Media,
    /// What an operator should know of how the vault's copies were found.
    pub mended: Mended,
    /// What was erased.
    pub erasures: Erasures,
    /// What seals backups.
    pub backup_key: Secret,
    /// The seed of the key by which outside witnesses know the cell's log.
    pub note_key: Secret,
    /// Held until this is dropped.
    pub lock: Lock,
}

/// The data directory is this process's.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl DataDir {
    /// Creates keys, vault and database where there are none.
    pub fn create(&self, now: Timestamp) -> Result<(), Unusable> {
        let layout = &self.layout;
        self.check_media()?;
        let parts = [layout.database(), layout.vault.clone(), layout.root_key(), layout.epoch_key()];
        for path in parts.into_iter().chain(layout.mirror.clone()) {
            if path.exists() {
                return Err(Unusable::AlreadyInitialised { path });
            }
        }
        for directory in [&layout.data, &layout.keys, &layout.run()] {
            private::create_dir(directory)?;
        }
        private::create_parent(&layout.vault)?;
        let _lock = self.take()?;
        let wrapper = wrapping::open(layout.token.as_ref(), self.cell.as_str())?;
        let root = RootKey::create(&layout.root_key(), wrapper.as_deref(), &mut OsEntropy)?;
        let epochs = KeyFile::create(&layout.epoch_key(), wrapper, &mut OsEntropy)?;
        let medium: Box<dyn Medium> = match &layout.mirror {
            None => Box::new(FileMedium::create(&layout.vault)?),
            Some(mirror) => Box::new(Mirrored::create(&layout.vault, mirror)?),
        };
        let vault = Vault::create(&layout.vault, medium, &epochs, Box::new(OsEntropy))?;
        Store::create(&Place::File(layout.database()), self.terms(&root, &vault), now)?;
        private::sync_parent(&layout.run())
    }

    /// Opens all of it, or says what is wrong.
    ///
    /// A process that is just ending, or a fork on its way to exec, holds locks for a moment: that is waited for.
    pub fn open(&self) -> Result<Opened, Unusable> {
        for _ in 0..PATIENCE {
            match self.open_once() {
                Err(Unusable::InUse { .. }) => std::thread::sleep(PAUSE),
                opened => return opened,
            }
        }
        self.open_once()
    }

    fn open_once(&self) -> Result<Opened, Unusable> {
        let layout = &self.layout;
        self.check_parts()?;
        for directory in [&layout.data, &layout.keys] {
            private::check_dir(directory)?;
        }
        private::create_dir(&layout.run())?;
        let lock = self.take()?;
        let media = self.check_media()?;
        let wrapper = wrapping::open(layout.token.as_ref(), self.cell.as_str())?;
        let root = RootKey::read(&layout.root_key(), wrapper.as_deref())?;
        let epochs = KeyFile::open(&layout.epoch_key(), wrapper)?;
        let (medium, mended): (Box<dyn Medium>, Mended) = match &layout.mirror {
            None => (Box::new(FileMedium::open(&layout.vault)?), Mended::default()),
            Some(mirror) => {
                let (both, mended) = Mirrored::open(&layout.vault, mirror, &epochs)?;
                (Box::new(both), mended)
            }
        };
        let vault = Vault::open(&layout.vault, medium, &epochs, Box::new(OsEntropy))?;
        let store = Store::open(&Place::File(layout.database()), self.terms(&root, &vault))?;
        let erasures = Erasures::open(&layout.erasures(), root.erasure_key(), Box::new(OsEntropy))?;
        let (backup_key, note_key) = (root.backup_key(), root.note_key());
        Ok(Opened { store, vault, epochs, tags: root.tag_key(), media, mended, erasures, backup_key, note_key, lock })
    }

    /// Everything that is overwritten to destroy must lie where that destroys: both copies of the vault, the epoch keys.
    fn check_media(&self) -> Result<Media, Unusable> {
        let layout = &self.layout;
        let media = media::check(&layout.vault, self.media)?;
        for path in layout.mirror.iter().chain([&layout.epoch_key()]) {
            media::check(path, self.media)?;
        }
        Ok(media)
    }

    /// The parts belong together: one without the others is a loss, not a beginning.
    fn check_parts(&self) -> Result<(), Unusable> {
        let layout = &self.layout;
        // One copy of the vault is enough: the other is made from it.
        let copy = layout.mirror.as_ref().filter(|mirror| mirror.exists()).unwrap_or(&layout.vault);
        let vault = if layout.vault.exists() { &layout.vault } else { copy };
        let parts = [layout.database(), vault.clone(), layout.root_key(), layout.epoch_key()];
        let Some(beside) = parts.iter().find(|part| part.exists()).cloned() else {
            return Err(Unusable::NotInitialised { path: layout.data.clone() });
        };
        parts.into_iter().find(|part| !part.exists()).map_or(Ok(()), |path| Err(Unusable::Missing { path, beside }))
    }

    fn terms(&self, root: &RootKey, vault: &Vault) -> Terms {
        Terms {
            key: root.store_key(),
            cell: self.cell.clone(),
            vault: vault.identity(),
            format: self.format,
            cache_bytes: self.cache_bytes,
            entropy: Box::new(OsEntropy),
        }
    }

    /// Takes the data directory for this process, or names the one that has it.
    fn take(&self) -> Result<Lock, Unusable> {
        let path = self.layout.lock();
        let failed = |error| Unusable::io(&path, &error);
        let mut file = if path.exists() { private::open_file(&path)? } else { private::create_file(&path)? };
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).map_err(failed)?;
                file.rewind().map_err(failed)?;
                writeln!(file, "{}", std::process::id()).map_err(failed)?;
                Ok(Lock { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text).map_err(failed)?;
                Err(Unusable::InUse { path: self.layout.data.clone(), pid: text.trim().parse().ok() })
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
