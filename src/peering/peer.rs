//! A peer as an operator names it, how it stands, and the book in which handshakes look it up.
//!
//! Source: docs/spec/federation.md section 1, docs/spec/details.md S21 (`peer list`), S22 (`[[peers]]`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use serde::Serialize;

use crate::crypto::digest::Digest;
use crate::protocol::ids::CellId;
use crate::protocol::time::Timestamp;

/// A cell to keep a link with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its id: what its certificate must say.
    pub cell: CellId,
    /// `host:port` (UDP); a host name is looked up at each dial.
    pub address: String,
    /// Its region, as its hello must say.
    pub region: String,
    /// Its legal zone, as its hello must say.
    pub zone: String,
    /// What makes its certificate believed.
    pub anchor: Anchor,
}

/// What makes a peer's certificate believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// One of these CAs issued it.
    Ca(Vec<TrustAnchor<'static>>),
    /// SHA-256 of its `SubjectPublicKeyInfo`, whoever issued it.
    Spki(Digest),
}

/// An anchor that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnchor {
    /// Not PEM, or not a certificate.
    #[error("not a CA certificate in PEM: {0}")]
    Pem(String),
    /// PEM without a certificate.
    #[error("no certificate in it; expected the PEM of the CA that issues the peer's certificates")]
    Empty,
    /// Not a digest.
    #[error("expected the base64url SHA-256 (43 characters) of the certificate's SubjectPublicKeyInfo")]
    Spki,
}

impl Anchor {
    /// Reads the PEM text of one or more CA certificates.
    pub fn ca(pem: &str) -> Result<Self, BadAnchor> {
        let mut anchors = Vec::new();
        for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let cert = cert.map_err(|error| BadAnchor::Pem(error.to_string()))?;
            let anchor = webpki::anchor_from_trusted_cert(&cert).map_err(|error| BadAnchor::Pem(error.to_string()))?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() { Err(BadAnchor::Empty) } else { Ok(Self::Ca(anchors)) }
    }

    /// Reads a pin.
    pub fn spki(text: &str) -> Result<Self, BadAnchor> {
        Digest::parse(text).map(Self::Spki).ok_or(BadAnchor::Spki)
    }
}

/// How the link to a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Both said hello; frames flow.
    Connected,
    /// Being dialled for the first time since it was added, retried or lost.
    Connecting,
    /// Cannot be reached; dialled again for ever.
    Down,
    /// It refuses us or we refuse it; an operator must act.
    Refused,
}

/// A line of `peer list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// The peer.
    pub cell: CellId,
    /// How its link stands.
    pub state: PeerState,
    /// Since when it has stood so.
    pub since: Timestamp,
    /// Why it is not connected, as last heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The peers that may shake hands; changes hold from the next handshake on.
#[derive(Debug, Default)]
pub(super) struct Book(ArcSwap<BTreeMap<CellId, Arc<Peer>>>);

impl Book {
    pub(super) fn get(&self, cell: &CellId) -> Option<Arc<Peer>> {
        self.0.load().get(cell).cloned()
    }

    pub(super) fn insert(&self, peer: &Arc<Peer>) {
        self.0.rcu(|peers| {
            let mut peers = BTreeMap::clone(peers);
            peers.insert(peer.cell.clone(), Arc::clone(peer));
            peers
        });
    }

    pub(super) fn remove(&self, cell: &CellId) {
        self.0.rcu(|peers| {
            let mut peers = BTreeMap::clone(peers);
            peers.remove(cell);
            peers
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_that_is_none_says_what_would_be_one() {
        assert_eq!(Anchor::ca("").unwrap_err(), BadAnchor::Empty);
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(Anchor::ca(junk), Err(BadAnchor::Pem(_))));
        assert_eq!(Anchor::spki("abc").unwrap_err(), BadAnchor::Spki);
        let pin = Digest::of(&[b"key"]);
        assert_eq!(Anchor::spki(&pin.to_string()).unwrap(), Anchor::Spki(pin));
    }

    #[test]
    fn a_status_is_written_as_peer_list_shows_it() {
        let status = PeerStatus {
            cell: "us-east-1".parse().unwrap(),
            state: PeerState::Connected,
            since: Timestamp(0),
            reason: None,
        };
        let expected =
            serde_json::json!({"cell": "us-east-1", "state": "connected", "since": "1970-01-01T00:00:00.000Z"});
        assert_eq!(serde_json::to_value(&status).unwrap(), expected);
    }
}
