//! The store: sealed rows in tables, committed together or not at all. The only module that names redb.
//!
//! redb does not verify what it reads (of 400 flipped bits 183 came back as wrong values without an error), so every
//! value is sealed with its table and key as associated data: what was changed, moved or torn does not open and is a
//! [`Fault::Corrupt`], never another value. A commit is durable when it returns: two phases, quick repair.
//! Source: docs/spec/federation.md section 4.
//!
//! | file | what |
//! |---|---|
//! | `key` | key encodings that keep their order as bytes |
//! | `table` | [`Table`]: a name, a key type, a row type and the row's version |
//! | `view` | [`View`]: what can be asked of stored rows, committed or not yet |
//! | `read` | [`Read`]: a snapshot, shared by readers |
//! | `write` | [`Write`]: changes collected, then committed at once |
//! | `database` | [`Store`]: opened for one writer, with every reason to refuse |
//! | `sealer` | rows to sealed bytes and back |
//! | `backend` | redb on a simulated disk |
//! | `redb_fault` | redb's errors and panics as faults |
//! | [`backup`], `archive` | everything but the keys in one file, and back |
//! | [`erasures`] | what was erased, beside the database |
//! | `directory` | [`DataDir`]: database, vault and keys of a cell, created and opened together |
//!
//! Knows nothing of what the rows mean; the engine owns the list of its tables.

mod archive;
pub mod backend;
pub mod backup;
mod database;
pub mod directory;
pub mod erasures;
mod key;
mod read;
mod redb_fault;
mod sealer;
mod table;
mod view;
mod write;

pub use database::{Format, Migration, Place, Reader, Store, Terms};
pub use directory::{DataDir, Layout, Opened};
pub use key::{Key, StartsWith};
pub use read::Read;
pub use table::Table;
pub use view::{Order, View};
pub use write::Write;

pub use crate::disk::{Fault, Unusable};
