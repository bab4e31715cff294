//! The vault's files while the cell runs: whether each still stands where it was opened.
//!
//! A file that was moved or whose device was unmounted takes writes as before, and is not there at the next start: that
//! must be known at once, while the other copy is whole. A copy that cannot be written stops the cell by itself.
//! Source: docs/spec/details.md S22 (`[vault] mirror`), S23.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::store::Layout;
use crate::vault::mirror::Mended;

/// Device and number of a file, if there is one.
type Place = Option<(u64, u64)>;

/// The files, as they were opened.
#[derive(Debug, Clone)]
pub struct Copies {
    files: Arc<Vec<(PathBuf, Place)>>,
    gone: Arc<AtomicUsize>,
}

impl Copies {
    /// The copies that just have been opened.
    pub fn of(layout: &Layout) -> Self {
        let paths = [&layout.vault].into_iter().chain(&layout.mirror);
        let files = paths.map(|path| (path.clone(), place(path))).collect();
        Self { files: Arc::new(files), gone: Arc::default() }
    }

    /// What to say if a copy does not stand where it was opened.
    pub fn gone(&self) -> Option<String> {
        let gone: Vec<String> = self.missing().map(|path| path.display().to_string()).collect();
        (!gone.is_empty()).then(|| {
            format!(
                "the vault's file {} is gone from its place; put it back, or restart with the other copy",
                gone.join(" and ")
            )
        })
    }

    /// Tells when a copy goes, and when it is back.
    pub fn look(&self) {
        let gone = self.missing().count();
        metrics::gauge!("asp_vault_copies").set(f64::from(u32::try_from(self.files.len() - gone).unwrap_or(0)));
        if self.gone.swap(gone, Ordering::Relaxed) == gone {
            return;
        }
        if let Some(alarm) = self.gone() {
            metrics::counter!("asp_alarms_total").increment(1);
            tracing::error!(alarm, "alarm");
        } else {
            tracing::info!("all copies of the vault are in their places again");
        }
    }

    fn missing(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|(path, opened)| place(path) != *opened).map(|(path, _)| path.as_path())
    }
}

fn place(path: &Path) -> Place {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Tells what a start did to the copies, and that two copies on one device are lost together.
pub fn told(layout: &Layout, mended: &Mended) {
    for done in &mended.0 {
        metrics::counter!("asp_alarms_total").increment(1);
        tracing::warn!(done, "alarm: the copies of the vault were not equal");
    }
    let device = |path: &Path| fs::metadata(path).ok().map(|file| file.dev());
    if let Some(mirror) = layout.mirror.as_ref().filter(|mirror| device(mirror) == device(&layout.vault)) {
        let mirror = mirror.display();
        tracing::warn!(%mirror, "[vault] mirror is on the same device as [vault] path: they can be lost together");
    }
}
