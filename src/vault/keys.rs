//! The keys that lie outside: the root key, from which the database's keys are derived, and the epoch keys, under which
//! the vault's slots are sealed.
//!
//! Both are files of mode 0600 in the keys directory, which is never part of a backup; with a [`Wrapper`] they hold what it
//! wrapped. [`EpochKeys`] is the seam behind which another key service can stand instead. Source: docs/spec/federation.md section 4 "Gone means gone".

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::medium::{FileMedium, Medium};
use super::scope::TagKey;
use super::wrapping::Wrapper;
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
    pub fn create(path: &Path, wrapper: Option<&dyn Wrapper>, entropy: &mut dyn Entropy) -> Result<Self, Unusable> {
        let secret = Secret::draw(entropy);
        let mut line = match wrapper {
            None => Zeroizing::new(base64url(secret.expose())),
            Some(wrapper) => {
                let wrapped = wrapper.wrap(ROOT, &secret).map_err(|error| Unusable::io(path, &error))?;
                Zeroizing::new(format!("{WRAPPED}{}", base64url(&wrapped)))
            }
        };
        line.push('\n');
        private::write_new(path, line.as_bytes())?;
        Ok(Self(secret))
    }

    /// Reads the key's file.
    pub fn read(path: &Path, wrapper: Option<&dyn Wrapper>) -> Result<Self, Unusable> {
        let line = private::read(path)?;
        if let Some(wrapper) = wrapper {
            return Self::unwrap(path, &line, wrapper);
        }
        let decoded = std::str::from_utf8(&line).ok().and_then(|text| from_base64url(text.trim_end()));
        let bytes = decoded.and_then(|bytes| <[u8; 32]>::try_from(Zeroizing::new(bytes).as_slice()).ok());
        let expected = "a root key of 32 bytes in base64url";
        let mut bytes = bytes.ok_or_else(|| Unusable::NotOurs { path: path.to_owned(), expected })?;
        Ok(Self(Secret::take(&mut bytes)))
    }

    fn unwrap(path: &Path, line: &[u8], wrapper: &dyn Wrapper) -> Result<Self, Unusable> {
        let text = std::str::from_utf8(line).ok().and_then(|text| text.trim_end().strip_prefix(WRAPPED));
        let expected = "a root key that a token wrapped";
        let not_ours = || Unusable::NotOurs { path: path.to_owned(), expected };
        let wrapped = text.and_then(from_base64url).ok_or_else(not_ours)?;
        let opened = wrapper.unwrap(ROOT, &wrapped).map_err(|error| Unusable::io(path, &error))?;
        opened.map(Self).ok_or_else(not_ours)
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

    /// The key by which outside witnesses know this cell's log.
    #[must_use]
    pub fn note_key(&self) -> Secret {
        derive(&[&self.0], &[b"asp-cell note key"])
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

/// Begins the line of a root key that is wrapped.
const WRAPPED: &str = "wrapped:";
/// How the key is called that wraps it.
const ROOT: &str = "root";

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
/// A place is `epochkey ‖ epoch ‖ key ‖ SHA-256` of what stands before, with a wrapper `wrapdkey ‖ epoch ‖ length ‖
/// wrapped key ‖ SHA-256`; anything else is an empty place. One whose wrapping key is gone is destroyed.
#[derive(Debug)]
pub struct KeyFile<M> {
    medium: M,
    wrapper: Option<Arc<dyn Wrapper>>,
}

/// Bytes of a place; two of them never share a page of the device.
const PLACE: usize = 4096;
const PLACES: [u64; 2] = [0, 4096];
const MAGIC: &[u8; 8] = b"epochkey";
const WRAPPED_MAGIC: &[u8; 8] = b"wrapdkey";

impl KeyFile<FileMedium> {
    /// Creates the file with the key of epoch 1.
    pub fn create(path: &Path, wrapper: Option<Arc<dyn Wrapper>>, entropy: &mut dyn Entropy) -> Result<Self, Unusable> {
        let made = Self { medium: FileMedium::create(path)?, wrapper }.filled(entropy);
        made.map_err(|error| Unusable::io(path, &error))
    }

    /// Opens the file; one without a key in it is refused.
    pub fn open(path: &Path, wrapper: Option<Arc<dyn Wrapper>>) -> Result<Self, Unusable> {
        let file = Self { medium: FileMedium::open(path)?, wrapper };
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
        Self { medium, wrapper: None }.filled(entropy)
    }

    fn filled(self, entropy: &mut dyn Entropy) -> io::Result<Self> {
        self.medium.grow(PLACES.len() as u64 * PLACE as u64)?;
        self.add(&EpochKey { epoch: 1, key: Secret::draw(entropy) })?;
        Ok(self)
    }

    /// As [`Self::open_on`], with keys that `wrapper` wraps.
    pub const fn wrapped_on(medium: M, wrapper: Arc<dyn Wrapper>) -> Self {
        Self { medium, wrapper: Some(wrapper) }
    }

    /// Reads keys from a medium that has them.
    pub const fn open_on(medium: M) -> Self {
        Self { medium, wrapper: None }
    }

    fn place(&self, offset: u64) -> io::Result<Option<Kept>> {
        let mut bytes = Zeroizing::new([0; PLACE]);
        // What the device holds: after a failed sync memory may show zeros where a key still lies.
        match self.medium.read_back(offset, bytes.as_mut_slice()) {
            Ok(()) => Ok(decode(bytes.as_slice(), self.wrapper.is_some())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<M: Medium> EpochKeys for KeyFile<M> {
    fn keys(&self) -> io::Result<Vec<EpochKey>> {
        let mut keys = Vec::new();
        for offset in PLACES {
            let Some(Kept { epoch, bytes }) = self.place(offset)? else { continue };
            let key = match &self.wrapper {
                Some(wrapper) => wrapper.unwrap(&name(epoch), &bytes)?,
                None => bytes.as_slice().try_into().ok().map(|mut key: [u8; 32]| Secret::take(&mut key)),
            };
            keys.extend(key.map(|key| EpochKey { epoch, key }));
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
        let bytes = match &self.wrapper {
            Some(wrapper) => Zeroizing::new(wrapper.wrap(&name(key.epoch), &key.key)?),
            None => Zeroizing::new(key.key.expose().to_vec()),
        };
        self.medium.write_at(room, &encode(&Kept { epoch: key.epoch, bytes }, self.wrapper.is_some())?)?;
        self.medium.sync()
    }

    fn destroy(&self, epoch: u64) -> io::Result<()> {
        // First where it cannot come back from; what is left in the file opens nothing any more.
        if let Some(wrapper) = &self.wrapper {
            wrapper.destroy(&name(epoch))?;
        }
        for offset in PLACES {
            if self.place(offset)?.is_some_and(|kept| kept.epoch == epoch) {
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

/// What stands in a place: the key, or what a wrapper made of it.
struct Kept {
    epoch: u64,
    bytes: Zeroizing<Vec<u8>>,
}

/// How the key is called that wraps the key of an epoch.
fn name(epoch: u64) -> String {
    format!("epoch {epoch}")
}

fn encode(kept: &Kept, wrapped: bool) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(PLACE));
    let length = u16::try_from(kept.bytes.len()).map_err(io::Error::other)?.to_be_bytes();
    let (magic, length) = if wrapped { (WRAPPED_MAGIC, length.as_slice()) } else { (MAGIC, [].as_slice()) };
    for piece in [magic.as_slice(), &kept.epoch.to_be_bytes(), length, &kept.bytes] {
        bytes.extend_from_slice(piece);
    }
    let digest = Digest::of_secret(&bytes);
    bytes.extend_from_slice(digest.bytes());
    if bytes.len() > PLACE { Err(io::Error::other("a wrapped key is too long for its place")) } else { Ok(bytes) }
}

fn decode(bytes: &[u8], wrapped: bool) -> Option<Kept> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    let (length, size) = if wrapped {
        rest.split_first_chunk::<2>().map(|(n, _)| (n.as_slice(), usize::from(u16::from_be_bytes(*n))))?
    } else {
        ([].as_slice(), 32)
    };
    let (key, rest) = rest.get(length.len()..)?.split_at_checked(size)?;
    let before = bytes.get(..bytes.len() - rest.len())?;
    let right = magic == if wrapped { WRAPPED_MAGIC } else { MAGIC }
        && rest.first_chunk::<32>()? == Digest::of_secret(before).bytes();
    right.then(|| Kept { epoch: u64::from_be_bytes(*epoch), bytes: Zeroizing::new(key.to_vec()) })
}
