//! A second live copy of the vault, on another device: losing both is losing everything that slots seal.
//!
//! A write counts when both copies have it, a destroyed slot when both read back overwritten. A copy that fails stops the
//! vault: a secret destroyed in one copy alone would not be gone. At start the copies are compared. The one that has the
//! last write rules as a whole, for each by itself is what a crash may leave of one file; the other is overwritten in
//! place where it differs, its newest slot last, so that a crash on the way leaves it older. So nothing that was destroyed
//! comes back from a copy that stood aside. Source: docs/spec/federation.md section 4, docs/spec/details.md S22.

use std::io;
use std::path::{Path, PathBuf};

use super::keys::{EpochKey, EpochKeys};
use super::medium::{FileMedium, Medium};
use super::slot::{self, Found, SLOT};
use super::table::{HEADER, offset, read_header};
use crate::disk::{Unusable, private};

/// Two copies as one medium.
#[derive(Debug)]
pub struct Mirrored<M> {
    copies: [(PathBuf, M); 2],
}

/// What a start did to make the copies equal; told to the operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mended(pub Vec<String>);

impl Mirrored<FileMedium> {
    /// Creates both files.
    pub fn create(vault: &Path, mirror: &Path) -> Result<Self, Unusable> {
        private::create_parent(mirror)?;
        let copies = [(vault.to_owned(), FileMedium::create(vault)?), (mirror.to_owned(), FileMedium::create(mirror)?)];
        Ok(Self { copies })
    }

    /// Opens both files and makes them equal; one that is missing is made from the other.
    pub fn open(vault: &Path, mirror: &Path, keys: &dyn EpochKeys) -> Result<(Self, Mended), Unusable> {
        let open = |path: &Path| {
            let medium = if path.exists() { FileMedium::open(path) } else { created(path) };
            medium.map(|medium| (path.to_owned(), medium))
        };
        Self { copies: [open(vault)?, open(mirror)?] }.mended(keys)
    }
}

fn created(path: &Path) -> Result<FileMedium, Unusable> {
    private::create_parent(path)?;
    FileMedium::create(path)
}

impl<M: Medium> Mirrored<M> {
    /// Two media that hold copies of one vault, made equal.
    pub fn of(copies: [(PathBuf, M); 2], keys: &dyn EpochKeys) -> Result<(Self, Mended), Unusable> {
        Self { copies }.mended(keys)
    }

    fn mended(self, keys: &dyn EpochKeys) -> Result<(Self, Mended), Unusable> {
        let [one, other] = &self.copies;
        let keys = keys.keys().map_err(|error| Unusable::io(&one.0, &error))?;
        let (left, right) = (Copy::read(one, &keys)?, Copy::read(other, &keys)?);
        let mut mended = Mended::default();
        let (from, to) = match (&left.identity, &right.identity) {
            (None, None) => return Err(Unusable::NotOurs { path: one.0.clone(), expected: "a vault" }),
            (None, Some(_)) => ((other, &right), one),
            (Some(left), Some(right)) if left != right => {
                return Err(Unusable::OtherMirror { path: other.0.clone(), vault: one.0.clone() });
            }
            (Some(_), Some(_)) if right.newest > left.newest => ((other, &right), one),
            (Some(_), Some(_) | None) => ((one, &left), other),
        };
        let same_age = left.newest == right.newest;
        let changed = copy(from.0, to, from.1, &keys, same_age).map_err(|error| Unusable::io(&to.0, &error))?;
        if changed > 0 {
            let (to, from) = (to.0.display(), from.0.0.display());
            mended
                .0
                .push(format!("{to}: {changed} slots or pages were made equal to {from}, which has the last write"));
        }
        Ok((self, mended))
    }

    /// Does it to both; an error names the copy.
    fn both(&self, act: impl Fn(&M) -> io::Result<()>) -> io::Result<()> {
        for (path, medium) in &self.copies {
            act(medium).map_err(|error| {
                io::Error::new(error.kind(), format!("the copy of the vault {} failed: {error}", path.display()))
            })?;
        }
        Ok(())
    }
}

/// What a copy turns out to be.
struct Copy {
    /// `None`: empty, or not finished when it was made.
    identity: Option<crate::crypto::digest::Digest>,
    /// The last write in it, and its slot.
    newest: (u64, u64),
}

impl Copy {
    fn read<M: Medium>((path, medium): &(PathBuf, M), keys: &[EpochKey]) -> Result<Self, Unusable> {
        let failed = |error: io::Error| Unusable::io(path, &error);
        let length = medium.length().map_err(failed)?;
        let mut first = vec![0; usize::try_from(HEADER.min(length)).unwrap_or_default()];
        medium.read_at(0, &mut first).map_err(failed)?;
        if first.iter().all(|byte| *byte == 0) {
            return Ok(Self { identity: None, newest: (0, 0) });
        }
        let identity = Some(read_header(path, medium)?);
        let mut newest = (0, 0);
        for number in 0..slots(length) {
            let mut bytes = [0; SLOT];
            medium.read_at(offset(number), &mut bytes).map_err(failed)?;
            if let Found::Written(header, _) = slot::read(number, &bytes, keys) {
                newest = newest.max((header.generation, number));
            }
        }
        Ok(Self { identity, newest })
    }
}

/// Overwrites `to` where it differs from `from`, the newest slot and then the header last; how many places changed.
///
/// A slot of `from` that cannot be read is taken from `to` if both have the same last write, for then `to` missed none.
fn copy<M: Medium>(
    (_, from): &(PathBuf, M),
    (_, to): &(PathBuf, M),
    what: &Copy,
    keys: &[EpochKey],
    same_age: bool,
) -> io::Result<u64> {
    let length = from.length()?;
    if to.length()? < length {
        to.grow(length - to.length()?)?;
    }
    let mut changed = 0;
    let mut write = |medium: &M, at: u64, bytes: &[u8]| {
        changed += 1;
        medium.write_at(at, bytes)
    };
    for number in (0..slots(to.length()?)).filter(|number| *number != what.newest.1) {
        let (mut theirs, mut ours) = ([0; SLOT], [0; SLOT]);
        if number < slots(length) {
            from.read_at(offset(number), &mut theirs)?;
        }
        to.read_at(offset(number), &mut ours)?;
        if ours == theirs {
            continue;
        }
        let unreadable = |bytes| matches!(slot::read(number, bytes, keys), Found::Damaged(_) | Found::Foreign);
        if same_age && number < slots(length) && unreadable(&theirs) && !unreadable(&ours) {
            write(from, offset(number), &ours)?;
        } else {
            write(to, offset(number), &theirs)?;
        }
    }
    from.sync()?;
    to.sync()?;
    for (at, size) in [(offset(what.newest.1), SLOT), (0, usize::try_from(HEADER).unwrap_or_default())] {
        let (mut theirs, mut ours) = (vec![0; size], vec![0; size]);
        from.read_at(at, &mut theirs)?;
        to.read_at(at, &mut ours)?;
        if ours != theirs {
            write(to, at, &theirs)?;
            to.sync()?;
        }
    }
    Ok(changed)
}

fn slots(length: u64) -> u64 {
    length.saturating_sub(HEADER) / SLOT as u64
}

impl<M: Medium> Medium for Mirrored<M> {
    fn length(&self) -> io::Result<u64> {
        self.copies[0].1.length()
    }

    /// What either copy can give: a secret that one device cannot read is not lost.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let [(_, one), (_, other)] = &self.copies;
        one.read_at(offset, out).or_else(|_| other.read_at(offset, out))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.both(|medium| medium.write_at(offset, bytes))
    }

    fn grow(&self, more: u64) -> io::Result<()> {
        let end = self.length()?.saturating_add(more);
        self.both(|medium| medium.grow(end.saturating_sub(medium.length()?)))
    }

    fn sync(&self) -> io::Result<()> {
        self.both(Medium::sync)
    }

    fn read_back(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let [(_, one), (path, other)] = &self.copies;
        one.read_back(offset, out)?;
        let mut theirs = vec![0; out.len()];
        other.read_back(offset, &mut theirs)?;
        if theirs == *out {
            return Ok(());
        }
        Err(io::Error::other(format!("the copy of the vault {} does not hold what was written", path.display())))
    }
}
