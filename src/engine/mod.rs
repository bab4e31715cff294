//! The engine: where a decision meets the disk.
//!
//! [`Handle`] is what `api`, `peering` and `node` know of it: requests go in, answers come out after the commit.

pub mod clock;
pub mod handle;
pub mod operation;
pub mod request;

pub use handle::Handle;
pub use operation::Operation;
