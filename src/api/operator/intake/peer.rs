//! `peer` and `dlq`: other cells, and what they refused for good.

use super::{field, legal, optional, spoken};
use crate::api::operator::contract::peer_add_request as add;
use crate::api::operator::contract::{
    DlqListRequest, DlqPurgeRequest, DlqReplayRequest, PeerAddRequest, PeerForwardRequest, PeerListRequest,
    PeerRemoveRequest, PeerRetryRequest,
};
use crate::crypto::digest::Digest;
use crate::engine::Operation;
use crate::engine::operation::{Anchor, is_address};
use crate::protocol::certificate::Authorities;
use crate::protocol::refusal::Refusal;

impl TryFrom<PeerAddRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: PeerAddRequest) -> Result<Self, Refusal> {
        let anchor = anchor(request.anchor)?;
        let capped = request.trust_cap.is_none_or(|cap| (0.0..=99.9).contains(&cap));
        if !capped {
            return Err(Refusal::invalid("/trustCap", "a score from 0 to 99.9"));
        }
        Ok(Self::PeerAdd {
            cell: field("/cell", &request.cell)?,
            address: address(request.address)?,
            region: spoken("/region", request.region, "the peer's region, as in its hello")?,
            zone: legal("/zone", request.zone)?,
            anchor,
            trust_cap: request.trust_cap,
        })
    }
}

/// What `cell.toml` takes too.
fn address(text: String) -> Result<String, Refusal> {
    if is_address(&text) { Ok(text) } else { Err(Refusal::invalid("/address", "HOST:PORT, the peer's UDP address")) }
}

/// Read here already, so that an operator hears of a wrong file at once and not from a link that never comes up.
fn anchor(asked: Option<add::Anchor>) -> Result<Anchor, Refusal> {
    match asked {
        Some(add::Anchor::Ca(pem)) => match Authorities::from_pem(&pem) {
            Ok(_) => Ok(Anchor::Ca(pem)),
            Err(why) => Err(Refusal::invalid("/ca", super::expectation(&why.to_string()))),
        },
        Some(add::Anchor::Spki(pin)) => match Digest::parse(&pin) {
            Some(_) => Ok(Anchor::Spki(pin)),
            None => Err(Refusal::invalid("/spki", "base64url SHA-256, 43 characters")),
        },
        None => Err(Refusal::invalid("", "a trust anchor: ca or spki")),
    }
}

impl TryFrom<PeerRemoveRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: PeerRemoveRequest) -> Result<Self, Refusal> {
        Ok(Self::PeerRemove { cell: field("/cell", &request.cell)? })
    }
}

impl TryFrom<PeerRetryRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: PeerRetryRequest) -> Result<Self, Refusal> {
        Ok(Self::PeerRetry { cell: field("/cell", &request.cell)? })
    }
}

impl TryFrom<PeerForwardRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: PeerForwardRequest) -> Result<Self, Refusal> {
        let reason = spoken("/reason", request.reason, "why, for the audit log")?;
        Ok(Self::PeerForward { cell: field("/cell", &request.cell)?, reason })
    }
}

impl TryFrom<PeerListRequest> for Operation {
    type Error = Refusal;
    fn try_from(PeerListRequest {}: PeerListRequest) -> Result<Self, Refusal> {
        Ok(Self::PeerList)
    }
}

impl TryFrom<DlqListRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: DlqListRequest) -> Result<Self, Refusal> {
        Ok(Self::DlqList { peer: optional("/peer", request.peer.as_deref())? })
    }
}

impl TryFrom<DlqReplayRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: DlqReplayRequest) -> Result<Self, Refusal> {
        Ok(Self::DlqReplay { number: request.number })
    }
}

impl TryFrom<DlqPurgeRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: DlqPurgeRequest) -> Result<Self, Refusal> {
        Ok(Self::DlqPurge { number: request.number })
    }
}
