//! The vault: one secret per scope, in a file whose slots are overwritten in place.
//!
//! What is sealed under a scope's secret is gone when the secret is gone. The database cannot forget (it is
//! copy-on-write: after a committed delete every copy still stood in its file), so scope secrets lie here, in
//! preallocated slots of 512 bytes that are overwritten and synced, never renamed, truncated or unlinked.
//! Slots are sealed under an epoch key that lies elsewhere and is destroyed at the end of its epoch, so that a flash
//! copy or a stolen backup of this file dies with it. Source: docs/spec/federation.md section 4.
//!
//! | file | what |
//! |---|---|
//! | `scope` | [`Scope`]s and the keyed [`Tag`]s that stand for them wherever a name must not |
//! | `slot` | the 512 bytes of a slot |
//! | `slots` | [`Vault`]: create, read, destroy |
//! | `table` | which slot holds what, read at start |
//! | `rotation` | the end of an epoch |
//! | [`copying`] | live slots as they are, into a backup and back |
//! | `cache` | opened secrets, a bounded number of them |
//! | `medium` | where slots are written: a file, or a simulated disk |
//! | `mirror` | two copies of the file as one |
//! | `media` | whether overwriting a file really overwrites it |
//! | `keys` | root key, epoch keys |
//! | `wrapping`, `pkcs11` | what wraps those keys: a token, or nothing |
//! | `entropy` | the operating system's randomness |
//!
//! Knows nothing of sessions' contents, of the database and of who may erase what.

mod cache;
pub mod copying;
pub mod entropy;
pub mod keys;
pub mod media;
pub mod medium;
pub mod mirror;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod rotation;
pub mod scope;
mod slot;
mod slots;
mod table;
pub mod wrapping;

pub use keys::{EpochKeys, RootKey};
pub use media::{Media, MediaPolicy};
pub use medium::Medium;
pub use scope::{Scope, Tag, TagKey};
pub use slots::{Destroyed, Vault};
