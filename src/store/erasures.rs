//! The erasure ledger: what was erased, in a file of its own beside the database, so that a restored backup can be made
//! to forget it again.
//!
//! One line an entry, appended and synced before the erasure is acknowledged: base64url of the entry, sealed under a
//! key derived from the root key with its index and the digest of all before it. A copy shows nothing, and a line that
//! was dropped, changed or moved is noticed. Operators copy it off the machine as often as they like.
//! Source: docs/spec/federation.md section 4 "Backups".

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::crypto::digest::{Digest, base64url, from_base64url};
use crate::crypto::entropy::{Entropy, draw};
use crate::crypto::seal;
use crate::crypto::secret::Secret;
use crate::disk::{Fault, Unusable, private};

const PLACE: &[u8] = b"asp-cell erasures\0";

/// How far a ledger goes: the number of its entries, and the digest over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// Entries.
    pub count: u64,
    /// SHA-256 of the digest before and the last line; zero for none.
    pub digest: Digest,
}

/// The open ledger.
pub struct Erasures {
    path: PathBuf,
    file: File,
    key: Secret,
    head: Head,
    entropy: Box<dyn Entropy>,
}

impl std::fmt::Debug for Erasures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Erasures").field("path", &self.path).field("head", &self.head).finish_non_exhaustive()
    }
}

/// What a ledger says.
struct Told {
    head: Head,
    entries: Vec<Zeroizing<Vec<u8>>>,
    heads: Vec<Head>,
    /// Bytes of whole lines: what follows is a line that a crash cut short.
    whole: u64,
}

impl Erasures {
    /// Opens the ledger, or begins one; a line that a crash cut short is dropped: its erasure was not acknowledged.
    pub fn open(path: &Path, key: Secret, entropy: Box<dyn Entropy>) -> Result<Self, Unusable> {
        let failed = |error| Unusable::io(path, &error);
        let mut file = if path.exists() {
            private::open_file(path)?
        } else {
            let file = private::create_file(path)?;
            private::sync_parent(path)?;
            file
        };
        let told = read(path, &mut file, &key)?;
        file.set_len(told.whole).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, key, head: told.head, entropy })
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How far it goes.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// The entries after the first `count`.
    pub fn after(&mut self, count: u64) -> Result<Vec<Zeroizing<Vec<u8>>>, Fault> {
        let told = read(&self.path, &mut self.file, &self.key)?;
        let end = self.file.seek(SeekFrom::End(0));
        end.map_err(|error| Fault::io(self.path.display().to_string(), &error))?;
        Ok(told.entries.into_iter().skip(usize::try_from(count).unwrap_or(usize::MAX)).collect())
    }

    /// Appends entries; durable when it returns.
    pub fn append(&mut self, entries: &[Zeroizing<Vec<u8>>]) -> Result<(), Fault> {
        let mut text = String::new();
        for entry in entries {
            let sealed = seal::seal(&self.key, &draw(self.entropy.as_mut()), &place(&self.head), entry);
            let line = base64url(&sealed);
            self.head = next(&self.head, &line);
            text.push_str(&line);
            text.push('\n');
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| Fault::io(self.path.display().to_string(), &error))
    }
}

/// Checks a copy of a ledger: it must be of this key, whole, and go on from `from`.
pub fn check(path: &Path, key: &Secret, from: &Head) -> Result<Head, Unusable> {
    let named = |error| Unusable::given(path, &error, "a copy of the cell's erasures.log, or --nothing-erased instead");
    let mut file = File::open(path).map_err(named)?;
    if file.metadata().is_ok_and(|found| found.is_dir()) {
        return Err(named(std::io::ErrorKind::IsADirectory.into()));
    }
    let told = read(path, &mut file, key)?;
    let index = usize::try_from(from.count).unwrap_or(usize::MAX);
    if told.heads.get(index) != Some(from) {
        let (path, backup) = (path.to_owned(), from.count);
        return Err(Unusable::OlderErasures { path, found: told.head.count, backup });
    }
    Ok(told.head)
}

fn read(path: &Path, file: &mut File, key: &Secret) -> Result<Told, Fault> {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
    read.map_err(|error| Fault::io(path.display().to_string(), &error))?;
    let mut told = Told { head: Head::default(), entries: Vec::new(), heads: vec![Head::default()], whole: 0 };
    for line in text.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { break };
        let sealed = from_base64url(line).and_then(|sealed| seal::open(key, &place(&told.head), &sealed).ok());
        let reason = format!("line {}: not of this cell's root key, changed, or out of its place", told.head.count + 1);
        let place = path.display().to_string();
        told.entries.push(sealed.ok_or(Fault::Damaged { place, reason })?);
        told.head = next(&told.head, line);
        told.heads.push(told.head);
        told.whole += line.len() as u64 + 1;
    }
    Ok(told)
}

fn next(head: &Head, line: &str) -> Head {
    Head { count: head.count + 1, digest: Digest::of(&[head.digest.bytes(), line.as_bytes()]) }
}

fn place(head: &Head) -> [&[u8]; 2] {
    // The digest stands for all before it, so for the index too.
    [PLACE, head.digest.bytes()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::entropy::Seeded;

    fn open(path: &Path) -> Result<Erasures, Unusable> {
        Erasures::open(path, Secret::take(&mut [7; 32]), Box::new(Seeded::new(3)))
    }

    fn entry(byte: u8) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(vec![byte; 20])
    }

    #[test]
    fn what_was_appended_is_there_and_a_torn_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("erasures.log");
        let mut ledger = open(&path).unwrap();
        ledger.append(&[entry(1), entry(2)]).unwrap();
        let early = ledger.head();
        ledger.append(&[entry(3)]).unwrap();
        drop(ledger);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let mut ledger = open(&path).unwrap();
        assert_eq!((ledger.head(), ledger.after(1).unwrap()), (early, vec![entry(2)]));
        ledger.append(&[entry(4)]).unwrap();
        assert_eq!(open(&path).unwrap().after(0).unwrap(), [entry(1), entry(2), entry(4)]);
    }

    #[test]
    fn a_line_dropped_changed_or_moved_is_noticed_and_an_older_copy_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("erasures.log");
        let mut ledger = open(&path).unwrap();
        ledger.append(&[entry(1), entry(2), entry(3)]).unwrap();
        let head = ledger.head();
        let lines: Vec<String> = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        let key = Secret::take(&mut [7; 32]);
        for wrong in [[1, 2], [0, 2], [1, 0]] {
            std::fs::write(&path, wrong.map(|n: usize| format!("{}\n", lines[n])).concat()).unwrap();
            assert!(matches!(open(&path), Err(Unusable::Fault(Fault::Damaged { .. }))), "{wrong:?}");
        }
        std::fs::write(&path, format!("{}\n", lines[0])).unwrap();
        assert!(matches!(check(&path, &key, &head), Err(Unusable::OlderErasures { found: 1, backup: 3, .. })));
        assert_eq!(check(&path, &key, &Head::default()).unwrap().count, 1);
    }
}
