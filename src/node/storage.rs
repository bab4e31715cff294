//! A cell's storage as the rest of `node` asks for it.

use crate::protocol::ids::CellId;
use crate::store::{DataDir, Format, Layout};
use crate::vault::MediaPolicy;

/// Database pages kept in memory. Sessions at work are kept by the engine; this serves reads of older ones.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// The format of the database: the tables of the engine.
const FORMAT: Format = Format { version: 1, migrations: &[] };

/// The storage of `cell` at `layout`.
#[must_use]
pub fn data_dir(layout: Layout, cell: CellId, media: MediaPolicy) -> DataDir {
    DataDir { layout, cell, media, cache_bytes: CACHE_BYTES, format: FORMAT }
}
