//! Files and directories that only their owner may read.
//!
//! Keys, the vault and the database are created 0600 in directories of 0700, and are not opened when they are wider:
//! whoever loosened them should know that a secret may have been read.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::fault::Unusable;

const FILE: u32 = 0o600;
const DIRECTORY: u32 = 0o700;

/// Creates a directory of mode 0700 and what leads to it; one that exists already must be as private.
pub fn create_dir(path: &Path) -> Result<(), Unusable> {
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY).create(path);
    made.map_err(|error| Unusable::io(path, &error))?;
    check_dir(path)
}

/// Creates the directory that `path` will be in, of mode 0700 if there is none.
pub fn create_parent(path: &Path) -> Result<(), Unusable> {
    let made = path.parent().map(|parent| DirBuilder::new().recursive(true).mode(DIRECTORY).create(parent));
    made.unwrap_or(Ok(())).map_err(|error| Unusable::io(path, &error))
}

/// Creates an empty file of mode 0600 for reading and writing; one that exists already is refused.
pub fn create_file(path: &Path) -> Result<File, Unusable> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE).open(path);
    file.map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists {
            return Unusable::AlreadyInitialised { path: path.to_owned() };
        }
        Unusable::io(path, &error)
    })
}

/// Creates a file of mode 0600 with `bytes` in it, durable when this returns.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Unusable> {
    let mut file = create_file(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|error| Unusable::io(path, &error))?;
    sync_parent(path)
}

/// As [`write_new`], for a file whose being there says that something is complete: it comes whole or not at all.
pub fn place_new(path: &Path, bytes: &[u8]) -> Result<(), Unusable> {
    if path.exists() {
        return Err(Unusable::AlreadyInitialised { path: path.to_owned() });
    }
    let part = path.with_added_extension("part");
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Unusable::io(&part, &error)),
        Ok(()) | Err(_) => {}
    }
    write_new(&part, bytes)?;
    std::fs::rename(&part, path).map_err(|error| Unusable::io(path, &error))?;
    sync_parent(path)
}

/// Opens a private file for reading and writing, after its mode was checked.
pub fn open_file(path: &Path) -> Result<File, Unusable> {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    let file = opened.map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            return Unusable::Gone { path: path.to_owned() };
        }
        Unusable::io(path, &error)
    })?;
    let metadata = file.metadata().map_err(|error| Unusable::io(path, &error))?;
    judge(path, &metadata.permissions(), FILE)?;
    Ok(file)
}

/// Reads a private file whole, after its mode was checked; the bytes are wiped when dropped.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    let mut bytes = Zeroizing::new(Vec::new());
    open_file(path)?.read_to_end(&mut bytes).map_err(|error| Unusable::io(path, &error))?;
    Ok(bytes)
}

/// Refuses a directory that others may enter.
pub fn check_dir(path: &Path) -> Result<(), Unusable> {
    let metadata = path.metadata().map_err(|error| Unusable::io(path, &error))?;
    judge(path, &metadata.permissions(), DIRECTORY)
}

/// Makes the entry of `path` in its directory durable.
pub fn sync_parent(path: &Path) -> Result<(), Unusable> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Unusable::io(parent, &error))
}

fn judge(path: &Path, permissions: &Permissions, wanted: u32) -> Result<(), Unusable> {
    let mode = permissions.mode() & 0o777;
    if mode | DIRECTORY == DIRECTORY {
        return Ok(());
    }
    Err(Unusable::OpenMode { path: path.to_owned(), mode, wanted })
}
