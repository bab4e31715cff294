//! The engine: where a decision meets the disk.
//!
//! | module | what |
//! |---|---|
//! | [`core`] | the writer's value: a batch of commands, one commit |
//! | [`start`], [`writer`], [`clock`] | from a data directory to a running writer thread |
//! | [`handle`], `carrying`, `backing` | what `api`, `peering` and `node` know of it |
//! | [`request`], [`operation`], [`command`], [`effects`] | what is asked, what is answered, what a commit sets in motion |
//! | `sending`, `placing`, `taking`, `homecoming`, `timing`, `asking`, `delegating`, `newcomers`, `meeting` | messages: from agents, into the log, from peers, by time and by operators |
//! | `beside`, `noted`, `disputes`, `disputed`, `undecided` | ratings and disputes, which stand beside the log; verdicts and decisions |
//! | `border`, `admitting`, `outbox`, `outgoing`, `inbound`, `receipts`, `stating`, `ledgers`, `stated`, `recrossing`, `audit`, `cosigning`, `proving`, `access`, `whereabouts`, `retention` | what may cross, what waits, frames built and checked, what each cell says and has |
//! | `booking`, `escrows`, `unlocking`, `clearing`, `orders`, `netting` | balances and postings; money locked, and moved when its escrow ends, by the session or by operators; between cells |
//! | `erasing`, `forgetting`, `rescoping`, `ordering`, `certifying`, `holds`, [`erasure`] | erasure: its steps, what it is about, what outlives it, peers' share, what is signed, what delays it, its rows |
//! | [`revoking`], `consents`, `reminding`, `registry`, `forgotten`, `again`, `operate` | the other verbs |
//! | `trust`, `reputation`, `endorsing`, `outcomes` | scores shown, signed and enforced; what is booked for them; how sessions ended |
//! | `view`, `search`, `transcript` | what is read |
//! | `scopes`, `tables`, `residents`, `bytes`, `shared`, `live`, `stop` | what they stand on |
//!
//! Knows nothing of sockets, HTTP or gRPC; of the disk only `store` and `vault`.

mod access;
mod admitting;
mod again;
mod asking;
mod audit;
mod backing;
mod beside;
mod booking;
mod border;
mod bytes;
mod carrying;
mod certifying;
mod clearing;
pub mod clock;
pub mod command;
mod consents;
pub mod core;
mod cosigning;
mod delegating;
mod disputed;
mod disputes;
pub mod effects;
mod endorsing;
mod epochs;
mod erasing;
pub mod erasure;
mod escrows;
mod evidence;
mod forgetting;
mod forgotten;
mod forwarding;
pub mod handle;
mod holds;
mod homecoming;
pub mod inbound;
mod ledgers;
pub mod links;
mod live;
mod meeting;
mod netting;
mod newcomers;
mod noted;
mod operate;
pub mod operation;
mod ordering;
mod orders;
mod outbox;
mod outcomes;
pub mod outgoing;
mod placing;
mod proving;
mod question;
mod receipts;
mod recrossing;
mod registry;
mod reminding;
mod reputation;
pub mod request;
mod rescoping;
mod residents;
mod retention;
pub mod revoking;
mod scopes;
mod sealing;
mod search;
mod sending;
pub mod shared;
pub mod start;
mod stated;
mod stating;
mod stop;
pub mod tables;
mod taking;
mod timing;
mod transcript;
mod trust;
mod undecided;
mod unlocking;
mod verified;
pub mod view;
mod whereabouts;
pub mod witnessing;
pub mod writer;

pub use core::Engine;
pub use handle::Handle;
pub use operate::inspect;
pub use operation::Operation;
