//! The links to peers as the engine sees them: those of the configuration, and those that operators add at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use tokio::runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::settings;
use crate::disk::Unusable;
use crate::engine::links::{AddedPeer, Link, Links};
use crate::engine::operation;
use crate::peering::{Anchor, BadAnchor, Exchange, Peer, PeerState, PeerStatus, Peering};
use crate::protocol::ids::CellId;
use crate::protocol::time::Timestamp;

/// A trust anchor of the configuration that is none.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// Its file cannot be read.
    #[error(transparent)]
    File(#[from] Unusable),
    /// It holds something else.
    #[error("peers: {cell}: {why}")]
    Bad {
        /// The peer.
        cell: CellId,
        /// What is wrong.
        why: BadAnchor,
    },
}

/// The peers of the configuration, with their anchors read.
pub fn configured(peers: &[settings::Peer]) -> Result<Vec<Peer>, AnchorError> {
    peers.iter().map(configured_peer).collect()
}

fn configured_peer(peer: &settings::Peer) -> Result<Peer, AnchorError> {
    let anchor = match &peer.anchor {
        settings::Anchor::Ca(file) => {
            Anchor::ca(&std::fs::read_to_string(file).map_err(|error| Unusable::io(file, &error))?)
        }
        settings::Anchor::Spki(pin) => Anchor::spki(pin),
    };
    let bad = |why| AnchorError::Bad { cell: peer.cell.clone(), why };
    Ok(Peer {
        cell: peer.cell.clone(),
        address: peer.address.clone(),
        region: peer.region.clone(),
        zone: peer.zone.clone(),
        anchor: anchor.map_err(bad)?,
    })
}

/// The links of a cell whose federation is on.
///
/// Holds its peering weakly: the engine holds this, and the peering holds the engine.
pub struct Linked<E> {
    peering: Weak<Peering<E>>,
    added: watch::Sender<Vec<AddedPeer>>,
    runtime: runtime::Handle,
}

impl<E: Exchange> Linked<E> {
    /// Starts the task that keeps the peering's peers as they were last set, until `stop`.
    pub fn start(peering: &Arc<Peering<E>>, stop: CancellationToken) -> Self {
        let (added, wanted) = watch::channel(Vec::new());
        tokio::spawn(reconcile(Arc::downgrade(peering), wanted, stop));
        Self { peering: Arc::downgrade(peering), added, runtime: runtime::Handle::current() }
    }
}

impl<E: Exchange> Links for Linked<E> {
    fn list(&self) -> Vec<Link> {
        let statuses = self.peering.upgrade().map(|peering| peering.list()).unwrap_or_default();
        let link = |status: PeerStatus| Link {
            cell: status.cell,
            state: name(status.state),
            since: status.since,
            reason: status.reason,
        };
        statuses.into_iter().map(link).collect()
    }

    fn set_added(&self, peers: Vec<AddedPeer>) {
        self.added.send_replace(peers);
    }

    fn cut(&self, cell: &CellId) {
        if let Some(peering) = self.peering.upgrade() {
            peering.cut(cell);
        }
    }

    fn retry(&self, cell: &CellId) {
        let (peering, cell) = (Weak::clone(&self.peering), cell.clone());
        self.runtime.spawn(async move {
            if let Some(peering) = peering.upgrade() {
                peering.retry(&cell).await;
            }
        });
    }
}

const fn name(state: PeerState) -> &'static str {
    match state {
        PeerState::Connected => "connected",
        PeerState::Connecting => "connecting",
        PeerState::Down => "down",
        PeerState::Refused => "refused",
    }
}

/// How many links stand in each state; none is said too.
pub fn by_state(statuses: &[PeerStatus]) -> [(&'static str, f64); 4] {
    use PeerState::{Connected, Connecting, Down, Refused};
    [Connected, Connecting, Down, Refused].map(|state| {
        let links = statuses.iter().filter(|status| status.state == state).count();
        (name(state), f64::from(u32::try_from(links).unwrap_or(u32::MAX)))
    })
}

/// Adds and removes peers one after the other, so that the last word of an operator is what stands.
async fn reconcile<E: Exchange>(
    peering: Weak<Peering<E>>,
    mut wanted: watch::Receiver<Vec<AddedPeer>>,
    stop: CancellationToken,
) {
    let mut present = BTreeSet::new();
    while stop.run_until_cancelled(wanted.changed()).await.is_some_and(|changed| changed.is_ok()) {
        let peers = wanted.borrow_and_update().clone();
        let Some(peering) = peering.upgrade() else { return };
        let named: BTreeSet<CellId> = peers.iter().map(|peer| peer.cell.clone()).collect();
        for gone in present.difference(&named) {
            peering.remove(gone).await;
        }
        for peer in peers {
            match added_peer(&peer) {
                Ok(peer) => peering.add(peer).await,
                Err(why) => tracing::warn!(peer = %peer.cell, %why, "the peer's trust anchor cannot be used"),
            }
        }
        present = named;
    }
}

fn added_peer(peer: &AddedPeer) -> Result<Peer, BadAnchor> {
    let anchor = match &peer.anchor {
        operation::Anchor::Ca(pem) => Anchor::ca(pem)?,
        operation::Anchor::Spki(pin) => Anchor::spki(pin)?,
    };
    Ok(Peer {
        cell: peer.cell.clone(),
        address: peer.address.clone(),
        region: peer.region.clone(),
        zone: peer.zone.clone(),
        anchor,
    })
}

/// The links of a cell that runs alone: every peer is down, and says why.
pub struct Alone {
    configured: Vec<CellId>,
    added: watch::Sender<Vec<AddedPeer>>,
    since: Timestamp,
    reason: String,
}

impl Alone {
    /// For the peers of the configuration.
    pub fn new(configured: &[settings::Peer], since: Timestamp, reason: String) -> Self {
        let configured = configured.iter().map(|peer| peer.cell.clone()).collect();
        Self { configured, added: watch::Sender::default(), since, reason }
    }
}

impl Links for Alone {
    fn list(&self) -> Vec<Link> {
        let added = self.added.borrow();
        let cells = self.configured.iter().chain(added.iter().map(|peer| &peer.cell));
        let link = |cell: &CellId| {
            let reason = Some(self.reason.clone());
            (cell.clone(), Link { cell: cell.clone(), state: "down", since: self.since, reason })
        };
        cells.map(link).collect::<BTreeMap<_, _>>().into_values().collect()
    }

    fn set_added(&self, peers: Vec<AddedPeer>) {
        self.added.send_replace(peers);
    }

    fn cut(&self, _: &CellId) {}

    fn retry(&self, _: &CellId) {}
}
