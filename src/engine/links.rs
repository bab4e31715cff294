//! What the engine asks of the links to its peers, whoever keeps them.

use super::operation::Anchor;
use crate::protocol::ids::CellId;
use crate::protocol::time::Timestamp;

/// A link as `peer list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The peer.
    pub cell: CellId,
    /// `connected`, `connecting`, `down` or `refused`.
    pub state: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// Why it is down or refused.
    pub reason: Option<String>,
}

/// A peer as an operator added it at run time.
#[derive(Debug, Clone, PartialEq)]
pub struct AddedPeer {
    /// The peer.
    pub cell: CellId,
    /// Host or IP and UDP port.
    pub address: String,
    /// As in its hello.
    pub region: String,
    /// As in its hello.
    pub zone: String,
    /// What pins it.
    pub anchor: Anchor,
}

/// The links to peers.
pub trait Links: Send + Sync + 'static {
    /// All of them.
    fn list(&self) -> Vec<Link>;
    /// The peers added at run time are now these; links to others of that kind end.
    fn set_added(&self, peers: Vec<AddedPeer>);
    /// Closes the link now, before this returns: nothing more goes over it. It comes back by itself.
    fn cut(&self, cell: &CellId);
    /// Tries a link at once.
    fn retry(&self, cell: &CellId);
}
