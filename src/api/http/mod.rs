//! HTTP for agents: from a request's bytes to a call of the engine, and from its answer to bytes.
//!
//! | file | what |
//! |---|---|
//! | `routes` | the table of routes, and the one way every request goes through |
//! | `call`, `reply` | a request as its handler sees it; an answer and a problem document as they leave |
//! | `media`, `body`, `query` | negotiation, bodies, query strings |
//! | `proof`, `nonce`, `rate`, `cors` | who calls, and whether it may now |
//! | `open`, `registry`, `sessions`, `messages`, `letter`, `stream` | the handlers |
//! | `serve`, `door` | the listener: HTTP/1.1 and HTTP/2, TLS, drain; how many connections at once |
//!
//! It decides nothing about sessions: what a message may do is the engine's to say.

mod beside;
mod body;
mod call;
mod cors;
mod door;
mod letter;
mod media;
mod messages;
mod nonce;
mod open;
mod proof;
mod query;
mod rate;
mod registry;
mod reply;
mod routes;
mod serve;
mod sessions;
mod settings;
mod stream;

pub use routes::{router, table};
pub use serve::{Tls, serve};
pub use settings::Settings;
