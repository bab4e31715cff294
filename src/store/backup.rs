//! A backup: one file of everything a cell has but its keys, and the way back from it.
//!
//! `magic ‖ version ‖ length ‖ header ‖ chunks`. The header is in the clear; each chunk is sealed under a key derived
//! from the root key, with the header, its number and whether it is the last as associated data: a file that is cut,
//! changed, reordered or another cell's does not open. In the chunks lie the configuration, the database's rows as they
//! are stored and the vault's live slots as they are: sealed under the epoch key, which is not in it. Taken from a
//! snapshot, while the cell runs; neither side holds more than a chunk in memory.
//! Source: docs/spec/federation.md section 4 "Backups".

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive;
use super::directory::Layout;
use super::erasures::{self, Head};
use super::read::Read;
use crate::crypto::digest::Digest;
use crate::crypto::entropy::draw;
use crate::crypto::seal;
use crate::crypto::secret::Secret;
use crate::disk::{Fault, Unusable, private};
use crate::protocol::ids::CellId;
use crate::protocol::time::Timestamp;
use crate::vault::copying::Rebuilt;
use crate::vault::entropy::OsEntropy;
use crate::vault::keys::{EpochKeys as _, KeyFile};
use crate::vault::wrapping::{self, Token};
use crate::vault::{RootKey, Vault};

const MAGIC: &[u8; 16] = b"asp-cell backup\n";
/// The format of backups that this build writes.
pub const VERSION: u32 = 1;
/// Plain bytes after which a chunk is sealed.
const CHUNK: usize = 256 << 10;
/// The longest chunk that is read: a chunk and the longest row.
const LONGEST: u32 = 32 << 20;
/// The longest header.
const HEADER: u32 = 4096;
/// Copies of the vault that may be cut short by the end of an epoch.
const TRIES: u32 = 5;
/// Marks a directory into which a restore was begun and not finished.
const UNFINISHED: &str = "restore.unfinished";

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Whose it is.
    pub cell: CellId,
    /// When the snapshot was taken.
    pub at: Timestamp,
    /// The format of its database.
    pub format: u32,
    /// The identity of its vault.
    pub vault: Digest,
    /// How far the erasure ledger went.
    pub erasures: Head,
}

/// What lies in the chunks.
#[derive(Debug, Serialize, Deserialize)]
enum Item {
    /// `cell.toml`.
    Config(String),
    /// The erasure ledger as far as the snapshot knows of it.
    Erasures(String),
    /// A row of the database, sealed.
    Row(String, #[serde(with = "bytes")] Vec<u8>, #[serde(with = "bytes")] Vec<u8>),
    /// The vault begins, of this epoch and number of slots; what was given of it before is void.
    Vault(u64, u64),
    /// A slot, sealed.
    Slot(u64, #[serde(with = "bytes")] Vec<u8>),
}

/// What was backed up or restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Rows of the database.
    pub rows: u64,
    /// Slots of the vault in use.
    pub slots: u64,
    /// Length of the file, in bytes.
    pub bytes: u64,
}

/// What a backup is taken of.
#[derive(Debug)]
pub struct Sources<'s> {
    /// The text of `cell.toml`.
    pub config: &'s str,
    /// A snapshot of the database.
    pub rows: &'s Read,
    /// The vault.
    pub vault: &'s Vault,
    /// The erasure ledger's file.
    pub erasures: Option<&'s Path>,
}

/// Writes a backup to `file`, which must not exist: 0600, complete or not there.
pub fn write(file: &Path, key: &Secret, header: &Header, of: &Sources<'_>) -> Result<Extent, Unusable> {
    if file.exists() {
        return Err(Unusable::AlreadyInitialised { path: file.to_owned() });
    }
    writable(parent(file), file, "a new file in a directory that exists and that the cell may write to")?;
    let part = with_suffix(file, ".part");
    // What a crash left of an earlier one.
    drop(fs::remove_file(&part));
    let written = write_part(&part, key, header, of).and_then(|extent| {
        let renamed = rustix::fs::renameat_with(
            rustix::fs::CWD,
            &part,
            rustix::fs::CWD,
            file,
            rustix::fs::RenameFlags::NOREPLACE,
        );
        renamed.map_err(|error| Unusable::io(file, &error.into()))?;
        private::sync_parent(file)?;
        Ok(extent)
    });
    if written.is_err() {
        drop(fs::remove_file(&part));
    }
    written
}

fn parent(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether files may be made in `directory`; `named` is the path that somebody gave.
fn writable(directory: &Path, named: &Path, expected: &'static str) -> Result<(), Unusable> {
    let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    let may = rustix::fs::access(directory, wanted).map_err(std::io::Error::from);
    let is = may
        .and_then(|()| fs::metadata(directory))
        .and_then(|found| if found.is_dir() { Ok(()) } else { Err(std::io::ErrorKind::NotADirectory.into()) });
    is.map_err(|error| Unusable::given(named, &error, expected))
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn write_part(part: &Path, key: &Secret, header: &Header, of: &Sources<'_>) -> Result<Extent, Unusable> {
    let Sources { config, rows, vault, erasures } = of;
    let mut out = Sealing::begin(part, key, header)?;
    let mut extent = Extent::default();
    out.put(&Item::Config((*config).to_owned()))?;
    if let Some(path) = erasures {
        let text = fs::read_to_string(path).map_err(|error| Unusable::io(path, &error))?;
        let known = usize::try_from(header.erasures.count).unwrap_or(usize::MAX);
        out.put(&Item::Erasures(text.split_inclusive('\n').take(known).collect()))?;
    }
    rows.every_row(|table, row, value| {
        extent.rows += 1;
        out.put(&Item::Row(table.to_owned(), row.to_vec(), value.to_vec()))
    })??;
    // After the rows' snapshot: every secret that they need was durable before them.
    for _ in 0..TRIES {
        let (epoch, slots) = vault.extent();
        extent.slots = 0;
        out.put(&Item::Vault(epoch, slots))?;
        let whole = vault.copy(|slot, bytes| {
            extent.slots += 1;
            // One that was added since belongs to no row of the snapshot.
            if slot < slots { out.put(&Item::Slot(slot, bytes.to_vec())) } else { Ok(()) }
        })??;
        if whole {
            extent.bytes = out.finish()?;
            return Ok(extent);
        }
    }
    let reason = "epochs of the vault kept ending while it was copied; try again".to_owned();
    Err(Unusable::Fault(Fault::Io { place: part.display().to_string(), reason }))
}

/// A backup that is being written.
struct Sealing<'k> {
    path: PathBuf,
    file: BufWriter<File>,
    key: &'k Secret,
    header: Digest,
    plain: Vec<u8>,
    number: u64,
    bytes: u64,
}

impl<'k> Sealing<'k> {
    fn begin(path: &Path, key: &'k Secret, header: &Header) -> Result<Self, Unusable> {
        let encoded = postcard::to_allocvec(header).unwrap_or_default();
        let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
        let head = [MAGIC.as_slice(), &VERSION.to_be_bytes(), &length.to_be_bytes(), &encoded].concat();
        let mut sealing = Self {
            path: path.to_owned(),
            file: BufWriter::new(private::create_file(path)?),
            key,
            header: Digest::of(&[&head]),
            plain: Vec::new(),
            number: 0,
            bytes: 0,
        };
        sealing.write(&head)?;
        Ok(sealing)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Unusable> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| Unusable::io(&self.path, &error))
    }

    fn put(&mut self, item: &Item) -> Result<(), Unusable> {
        let plain = postcard::to_extend(item, std::mem::take(&mut self.plain));
        let failed = |_| Unusable::Fault(Fault::Corrupt { table: "backup".into(), key: "item".into() });
        self.plain = plain.map_err(failed)?;
        if self.plain.len() < CHUNK { Ok(()) } else { self.seal(false) }
    }

    fn seal(&mut self, last: bool) -> Result<(), Unusable> {
        let plain = std::mem::take(&mut self.plain);
        let number = self.number.to_be_bytes();
        let place = place(&self.header, &number, last);
        let sealed = seal::seal(self.key, &draw(&mut OsEntropy), &place, &plain);
        self.number += 1;
        self.write(&u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_be_bytes())?;
        self.write(&sealed)
    }

    fn finish(mut self) -> Result<u64, Unusable> {
        self.seal(true)?;
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|error| Unusable::io(&self.path, &error))?;
        Ok(self.bytes)
    }
}

fn place<'p>(header: &'p Digest, number: &'p [u8; 8], last: bool) -> [&'p [u8]; 4] {
    [b"asp-cell backup chunk\0", header.bytes(), number, if last { b"last" } else { b"more" }]
}

/// A backup that is being read.
struct Reading {
    path: PathBuf,
    file: BufReader<File>,
    header: Digest,
    number: u64,
    ended: bool,
}

impl Reading {
    fn open(path: &Path) -> Result<(Self, Header), Unusable> {
        let not_ours = || Unusable::NotOurs { path: path.to_owned(), expected: "a backup of asp-cell" };
        let opened = File::open(path);
        let opened = opened.map_err(|error| Unusable::given(path, &error, "a file that `asp-cell backup` wrote"))?;
        let mut file = BufReader::new(opened);
        let mut fixed = [0; 24];
        file.read_exact(&mut fixed).map_err(|_| not_ours())?;
        let (magic, rest) = fixed.split_first_chunk::<16>().ok_or_else(not_ours)?;
        let (version, length) = rest.split_first_chunk::<4>().ok_or_else(not_ours)?;
        let version = u32::from_be_bytes(*version);
        let length = u32::from_be_bytes(length.try_into().map_err(|_| not_ours())?);
        if magic != MAGIC || length > HEADER {
            return Err(not_ours());
        }
        if version > VERSION {
            return Err(Unusable::Newer { path: path.to_owned(), found: version, known: VERSION });
        }
        let mut encoded = vec![0; length as usize];
        file.read_exact(&mut encoded).map_err(|_| not_ours())?;
        let header: Header = postcard::from_bytes(&encoded).map_err(|_| not_ours())?;
        let digest = Digest::of(&[&fixed, &encoded]);
        Ok((Self { path: path.to_owned(), file, header: digest, number: 0, ended: false }, header))
    }

    fn damaged(&self) -> Unusable {
        Unusable::UnreadableBackup { path: self.path.clone(), chunk: self.number }
    }

    /// The items of the next chunk; `None` after the last.
    fn next(&mut self, key: &Secret) -> Result<Option<Vec<Item>>, Unusable> {
        let mut length = [0; 4];
        if self.ended {
            return match self.file.read(&mut length) {
                Ok(0) => Ok(None),
                Ok(_) | Err(_) => Err(self.damaged()),
            };
        }
        self.file.read_exact(&mut length).map_err(|_| self.damaged())?;
        let length = u32::from_be_bytes(length);
        if length > LONGEST {
            return Err(self.damaged());
        }
        let mut sealed = vec![0; length as usize];
        self.file.read_exact(&mut sealed).map_err(|_| self.damaged())?;
        let number = self.number.to_be_bytes();
        let open = |last| seal::open(key, &place(&self.header, &number, last), &sealed);
        let mut plain = open(false);
        if plain.is_err() {
            plain = open(true);
            self.ended = true;
        }
        let plain = plain.map_err(|_| self.damaged())?;
        let mut items = Vec::new();
        let mut rest = plain.as_slice();
        while !rest.is_empty() {
            let (item, after) = postcard::take_from_bytes(rest).map_err(|_| self.damaged())?;
            items.push(item);
            rest = after;
        }
        self.number += 1;
        Ok(Some(items))
    }
}

/// Where what was erased after the backup is known from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// A copy of the cell's erasure ledger.
    Ledger(PathBuf),
    /// The operator says that nothing was erased.
    Nothing,
}

/// What a restore made.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What the backup says of itself.
    pub header: Header,
    /// What was restored.
    pub extent: Extent,
    /// How far the erasure ledger goes that the cell will follow when it starts.
    pub erasures: Head,
}

/// Restores a backup into `dir`, where the cell's keys must lie and no cell: database, vault, erasure ledger, then
/// `cell.toml`. Cut short, it may be begun again.
///
/// `wrapped_by` is the token that wraps those keys, if one does; `token` becomes the operators' token; `known` is the newest database format this build reads.
pub fn restore(
    file: &Path,
    dir: &Path,
    since: &Since,
    wrapped_by: Option<&Token>,
    token: &[u8],
    known: u32,
) -> Result<Restored, Unusable> {
    let layout = Layout { token: wrapped_by.cloned(), ..Layout::under(dir) };
    let (mut backup, header) = Reading::open(file)?;
    if header.format > known {
        return Err(Unusable::Newer { path: file.to_owned(), found: header.format, known });
    }
    let mark = dir.join(UNFINISHED);
    vacant(dir, &layout, &mark)?;
    let keys = "this cell's keys directory, copied there before (its mode 0700, that of its files 0600)";
    fs::read_dir(&layout.keys).map_err(|error| Unusable::given(&layout.keys, &error, keys))?;
    private::check_dir(&layout.keys)?;
    writable(dir, dir, "a directory that may be written to")?;
    let wrapper = wrapping::open(layout.token.as_ref(), header.cell.as_str())?;
    let root = RootKey::read(&layout.root_key(), wrapper.as_deref())?;
    let epochs = KeyFile::open(&layout.epoch_key(), wrapper)?;
    let epochs = epochs.keys().map_err(|error| Unusable::io(&layout.epoch_key(), &error))?;
    let erasures = match since {
        Since::Ledger(path) => erasures::check(path, &root.erasure_key(), &header.erasures)?,
        Since::Nothing => header.erasures,
    };
    // All of it is read before anything is written: a bad file changes nothing.
    let mut epoch = None;
    while let Some(items) = backup.next(&root.backup_key())? {
        for item in items {
            if let Item::Vault(of, _) = item {
                epoch = Some(of);
            }
        }
    }
    let Some(epoch) = epoch.filter(|epoch| epochs.iter().any(|key| key.epoch == *epoch)) else {
        return Err(Unusable::EpochOver { path: file.to_owned(), epoch: epoch.unwrap_or_default() });
    };
    if !mark.exists() {
        private::write_new(&mark, format!("{epoch}\n").as_bytes())?;
    }
    for directory in [&layout.data, &layout.run()] {
        private::create_dir(directory)?;
    }
    let (extent, config, ledger) = rebuild(file, &layout, &root, &header)?;
    let ledger = match since {
        Since::Ledger(path) => fs::read_to_string(path).map_err(|error| Unusable::io(path, &error))?,
        Since::Nothing => ledger,
    };
    private::write_new(&layout.erasures(), ledger.as_bytes())?;
    private::write_new(&layout.data.join("operator.token"), token)?;
    private::place_new(&dir.join("cell.toml"), config.as_bytes())?;
    fs::remove_file(&mark).map_err(|error| Unusable::io(&mark, &error))?;
    private::sync_parent(&mark)?;
    Ok(Restored { header, extent, erasures })
}

/// Refuses a directory with a cell; what an unfinished restore left is removed.
fn vacant(dir: &Path, layout: &Layout, mark: &Path) -> Result<(), Unusable> {
    let config = dir.join("cell.toml");
    if mark.exists() && !config.exists() {
        let removed = [fs::remove_dir_all(&layout.data), fs::remove_file(&layout.vault)];
        for (removed, path) in removed.into_iter().zip([&layout.data, &layout.vault]) {
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Unusable::io(path, &error)),
                Ok(()) | Err(_) => {}
            }
        }
    }
    match [config, layout.data.clone(), layout.vault.clone()].into_iter().find(|path| path.exists()) {
        Some(path) => Err(Unusable::AlreadyInitialised { path }),
        None => Ok(()),
    }
}

fn rebuild(
    file: &Path,
    layout: &Layout,
    root: &RootKey,
    header: &Header,
) -> Result<(Extent, String, String), Unusable> {
    let (mut backup, _) = Reading::open(file)?;
    let mut database = archive::Rebuilt::begin(&layout.database())?;
    let (mut vault, mut extent) = (None, Extent::default());
    let (mut config, mut erasures) = (String::new(), String::new());
    while let Some(items) = backup.next(&root.backup_key())? {
        for item in items {
            match item {
                Item::Config(text) => config = text,
                Item::Erasures(text) => erasures = text,
                Item::Row(table, key, value) => {
                    extent.rows += 1;
                    database.put(table, key, value)?;
                }
                Item::Vault(_, slots) => {
                    if vault.take().is_some() {
                        fs::remove_file(&layout.vault).map_err(|error| Unusable::io(&layout.vault, &error))?;
                    }
                    extent.slots = 0;
                    vault = Some(Rebuilt::begin(&layout.vault, header.vault, slots)?);
                }
                Item::Slot(slot, bytes) => {
                    let placed = vault.as_ref().map(|vault: &Rebuilt| vault.put(&layout.vault, slot, &bytes));
                    if !placed.transpose()?.unwrap_or(false) {
                        return Err(backup.damaged());
                    }
                    extent.slots += 1;
                }
            }
        }
    }
    database.finish(header.format)?;
    vault.ok_or_else(|| backup.damaged())?.finish(&layout.vault)?;
    extent.bytes = fs::metadata(file).map_err(|error| Unusable::io(file, &error))?.len();
    Ok((extent, config, erasures))
}

/// Byte strings as such, not as sequences of numbers.
mod bytes {
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }
}
