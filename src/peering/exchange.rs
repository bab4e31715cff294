//! What a link needs of the engine, and nothing more: where frames come from, where they go, who says hello.
//!
//! The engine implements [`Exchange`]; tests put a queue in memory behind it. Frames are opaque here: their order and
//! their being applied once rest on numbers alone. Source: docs/spec/federation.md section 3.

use std::future::Future;

use crate::protocol::ids::CellId;
use crate::protocol::refusal::Refusal;
use crate::protocol::time::Timestamp;
use crate::wire::link::Hello;

/// A frame of a peer's outbox, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its number in the outbox of this peer, from 1; numbers rise, and may leave gaps.
    pub number: u64,
    /// The frame, at most [`crate::wire::link::MAX_DATA`] bytes.
    pub bytes: Vec<u8>,
}

/// The engine as a link drives it.
///
/// For one peer the calls come from one link at a time: [`up`](Self::up), then any of the others, then
/// [`down`](Self::down). A future may be dropped before it is done; what it did is then settled by the hello of the
/// next link, as after a lost answer.
pub trait Exchange: Send + Sync + 'static {
    /// The engine's clock, the only one.
    fn now(&self) -> Timestamp;

    /// What this cell says of itself to `peer`; `expects` is what it durably has of that peer's outbox. Asked for each
    /// connection, so also while another one's link is up.
    fn hello(&self, peer: &CellId) -> impl Future<Output = Hello> + Send;

    /// The link to `peer` is up: both said hello, and the peer's id, region, zone, version and clock are in order.
    ///
    /// # Errors
    /// Refuses the link, such as when the peer expects numbers of our outbox that were never sent.
    fn up(&self, peer: &CellId, hello: &Hello) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// The link is gone; called once for every [`up`](Self::up) that agreed.
    fn down(&self, peer: &CellId);

    /// The frames to send after the number `after`, in order, together at most `max_bytes`; none: nothing to send
    /// now, or the next one is longer than that. The link may leave the last ones for the next call.
    fn outbound(&self, peer: &CellId, after: u64, max_bytes: usize) -> impl Future<Output = Vec<Outgoing>> + Send;

    /// Applies frames that came from `peer`, in order; durable when it returns, with the last number applied.
    ///
    /// Numbers at or below the last one applied have been seen before: they are passed over and count as applied.
    ///
    /// # Errors
    /// Ends the link. A retryable refusal is tried again soon, any other shows as `refused` in `peer list`.
    fn inbound(&self, peer: &CellId, frames: Vec<(u64, Vec<u8>)>) -> impl Future<Output = Result<u64, Refusal>> + Send;

    /// What goes to `peer` before its outbox, at most [`crate::wire::link::MAX_URGENT`] at once: key and frame. As
    /// long as there is any, [`outbound`](Self::outbound) has nothing.
    fn urgent(&self, peer: &CellId) -> Vec<([u8; 16], Vec<u8>)>;

    /// The peer has taken the urgent frame of this key; must not be lost.
    fn urgent_taken(&self, peer: &CellId, key: [u8; 16]) -> impl Future<Output = ()> + Send;

    /// Takes an urgent frame of `peer`; it holds when this returns.
    ///
    /// # Errors
    /// Ends the link.
    fn take_urgent(&self, peer: &CellId, bytes: Vec<u8>) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Everything up to `upto` is durable at the peer; it need not be kept for it any longer.
    fn acked(&self, peer: &CellId, upto: u64);

    /// Resolves when there may be something to send to `peer`.
    ///
    /// Nothing may fall between: what was queued after the last [`outbound`](Self::outbound) answered resolves the
    /// next call at once.
    fn woken(&self, peer: &CellId) -> impl Future<Output = ()> + Send;
}
