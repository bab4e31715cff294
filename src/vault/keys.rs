//! The keys that lie outside: the root key, from which the database's keys are derived, and the epoch keys, under which
//! the vault's slots are sealed.
//!
//! Both are files of mode 0600 in the keys directory, which is never part of a backup. [`EpochKeys`] is the seam behind
//! which a key service or a token can stand instead. Source: docs/spec/federation.md section 4 "Gone means gone".

use std::fmt::Debug;
use std::io;
use std::path::Path;

use zeroize::{Zeroize as _, Zeroizing};

use super::medium::{FileMedium, Medium};
use super::scope::TagKey;
use crate::crypto::digest::{Digest, base64url, from_base64url};
use crate::crypto::entropy::Entropy;
use crate::crypto::kdf::derive;
use crate::crypto::secret::Secret;
use crate::disk::{Unusable, private};

/// The key from which the database's keys are derived: 32 bytes, base64url on one line.
#[derive(Debug, Clone)]
pub struct RootKey(Secret);

impl RootKey {
    /// A root key that is not in a file: for simulations.
    #[must_use]
    pub const fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// Draws a key and writes its file.
    pub fn create(path: &Path, entropy: &mut dyn Entropy) -> Result<Self, Unusable> {
        let secret = Secret::draw(entropy);
        let mut line = Zeroizing::new(base64url(secret.expose()));
        line.push('\n');
        private::write_new(path, line.as_bytes())?;
        Ok(Self(secret))
    }

    /// Reads the key's file.
    pub fn read(path: &Path) -> Result<Self, Unusable> {
        let line = private::read(path)?;
        let decoded = std::str::from_utf8(&line).ok().and_then(|text| from_base64url(text.trim_end()));
        let bytes = decoded.and_then(|bytes| <[u8; 32]>::try_from(Zeroizing::new(bytes).as_slice()).ok());
        let expected = "a root key of 32 bytes in base64url";
        let mut bytes = bytes.ok_or_else(|| Unusable::NotOurs { path: path.to_owned(), expected })?;
        Ok(Self(Secret::take(&mut bytes)))
    }

    /// The key that seals the rows of the database.
    #[must_use]
    pub fn store_key(&self) -> Secret {
        derive(&[&self.0], &[b"asp-cell store key"])
    }

    /// The key that seals backups.
    #[must_use]
    pub fn backup_key(&self) -> Secret {
        derive(&[&self.0], &[b"asp-cell backup key"])
    }

    /// The key that seals the erasure ledger.
    #[must_use]
    pub fn erasure_key(&self) -> Secret {
        derive(&[&self.0], &[b"asp-cell erasure ledger key"])
    }

    /// The key that makes tags of names.
    #[must_use]
    pub fn tag_key(&self) -> TagKey {
        TagKey::new(derive(&[&self.0], &[b"asp-cell tag key"]))
    }
}

/// The key of one epoch.
#[derive(Debug, Clone)]
pub struct EpochKey {
    /// The epoch's number, counted from 1.
    pub epoch: u64,
    /// Its key.
    pub key: Secret,
}

/// Where epoch keys are kept and destroyed.
pub trait EpochKeys: Debug + Send + Sync {
    /// The keys that are not destroyed, oldest first: one, or two while an epoch is being ended.
    fn keys(&self) -> io::Result<Vec<EpochKey>>;
    /// Keeps one more key, durably; there is room for two. One of the same epoch that was never used is replaced.
    fn add(&self, key: &EpochKey) -> io::Result<()>;
    /// Destroys the key of an epoch: afterwards nobody has it. Destroying it twice is no error.
    fn destroy(&self, epoch: u64) -> io::Result<()>;
}

/// Epoch keys in a file of two places, each overwritten in place.
///
/// A place is `epochkey ‖ epoch ‖ key ‖ SHA-256` of what stands before; anything else is an empty place.
#[derive(Debug)]
pub struct KeyFile<M> {
    medium: M,
}

/// Bytes of a place; two of them never share a page of the device.
const PLACE: usize = 4096;
const PLACES: [u64; 2] = [0, 4096];
const MAGIC: &[u8; 8] = b"epochkey";

impl KeyFile<FileMedium> {
    /// Creates the file with the key of epoch 1.
    pub fn create(path: &Path, entropy: &mut dyn Entropy) -> Result<Self, Unusable> {
        let made = Self::create_on(FileMedium::create(path)?, entropy);
        made.map_err(|error| Unusable::io(path, &error))
    }

    /// Opens the file; one without a key in it is refused.
    pub fn open(path: &Path) -> Result<Self, Unusable> {
        let file = Self { medium: FileMedium::open(path)? };
        match file.keys() {
            Ok(keys) if keys.is_empty() => {
                Err(Unusable::NotOurs { path: path.to_owned(), expected: "a file of epoch keys" })
            }
            Ok(_) => Ok(file),
            Err(error) => Err(Unusable::io(path, &error)),
        }
    }
}

impl<M: Medium> KeyFile<M> {
    /// Puts the key of epoch 1 on an empty medium.
    pub fn create_on(medium: M, entropy: &mut dyn Entropy) -> io::Result<Self> {
        let file = Self { medium };
        file.medium.grow(PLACES.len() as u64 * PLACE as u64)?;
        file.add(&EpochKey { epoch: 1, key: Secret::draw(entropy) })?;
        Ok(file)
    }

    /// Reads keys from a medium that has them.
    pub const fn open_on(medium: M) -> Self {
        Self { medium }
    }

    fn place(&self, offset: u64) -> io::Result<Option<EpochKey>> {
        let mut bytes = Zeroizing::new([0; PLACE]);
        // What the device holds: after a failed sync memory may show zeros where a key still lies.
        match self.medium.read_back(offset, bytes.as_mut_slice()) {
            Ok(()) => Ok(decode(bytes.as_slice())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<M: Medium> EpochKeys for KeyFile<M> {
    fn keys(&self) -> io::Result<Vec<EpochKey>> {
        let mut keys = Vec::new();
        for offset in PLACES {
            keys.extend(self.place(offset)?);
        }
        keys.sort_by_key(|key| key.epoch);
        Ok(keys)
    }

    fn add(&self, key: &EpochKey) -> io::Result<()> {
        let mut room = None;
        for offset in PLACES {
            match self.place(offset)? {
                // What an addition that failed left behind was never used.
                Some(kept) if kept.epoch == key.epoch => room = Some(offset),
                None => room = room.or(Some(offset)),
                Some(_) => {}
            }
        }
        let room = room.ok_or_else(|| io::Error::other("both places of the epoch key file hold a key"))?;
        self.medium.write_at(room, &encode(key))?;
        self.medium.sync()
    }

    fn destroy(&self, epoch: u64) -> io::Result<()> {
        for offset in PLACES {
            if self.place(offset)?.is_some_and(|key| key.epoch == epoch) {
                self.medium.write_at(offset, &[0; PLACE])?;
                self.medium.sync()?;
                let mut left = [1; PLACE];
                self.medium.read_back(offset, &mut left)?;
                if left.iter().any(|byte| *byte != 0) {
                    return Err(io::Error::other("an overwritten epoch key did not read back as zeros"));
                }
            }
        }
        Ok(())
    }
}

fn encode(key: &EpochKey) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(PLACE));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&key.epoch.to_be_bytes());
    bytes.extend_from_slice(key.key.expose());
    let digest = Digest::of(&[&bytes]);
    bytes.extend_from_slice(digest.bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<EpochKey> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    let (key, rest) = rest.split_first_chunk::<32>()?;
    let right = magic == MAGIC && rest.first_chunk::<32>()? == Digest::of(&[magic, epoch, key]).bytes();
    let mut key = *key;
    let read = right.then(|| EpochKey { epoch: u64::from_be_bytes(*epoch), key: Secret::take(&mut key) });
    key.zeroize();
    read
}
