//! For integration tests, ours and users': cells, agents that talk to them, and the weather between them.
//!
//! [`Topology`] says what there is to be and [`Federation`] is it, running; [`Agent`] talks to a cell as any client
//! does; [`relay`] stands for the network; [`search`] looks for bytes where they must not be. Nothing in a server
//! names this module.

pub mod agent;
pub mod beside;
mod cell;
mod consent;
pub mod document;
mod draft;
pub mod events;
mod failure;
mod federation;
mod founding;
pub mod proving;
pub mod relay;
pub mod search;
mod topology;

pub use agent::{Agent, Placed, Sent};
pub use cell::Cell;
pub use consent::ConsentSpec;
pub use draft::{Draft, Invitation, Reply};
pub use failure::{Failure, Problem};
pub use federation::Federation;
pub use topology::{Topology, history};
