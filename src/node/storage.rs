//! A cell's storage as the rest of `node` asks for it.

use crate::engine::start::FORMAT;
use crate::protocol::ids::CellId;
use crate::store::{DataDir, Layout};
use crate::vault::MediaPolicy;

/// Database pages kept in memory. Sessions at work are kept by the engine; this serves reads of older ones.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The storage of `cell` at `layout`.
#[must_use]
pub fn data_dir(layout: Layout, cell: CellId, media: MediaPolicy) -> DataDir {
    DataDir { layout, cell, media, cache_bytes: CACHE_BYTES, format: FORMAT }
}
