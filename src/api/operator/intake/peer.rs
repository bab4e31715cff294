//! `peer` and `dlq`: other cells, and what they refused for good.

use super::{field, optional, spoken};
use crate::api::operator::contract::peer_add_request as add;
use crate::api::operator::contract::{
    DlqListRequest, DlqPurgeRequest, DlqReplayRequest, PeerAddRequest, PeerListRequest, PeerRemoveRequest,
    PeerRetryRequest,
};
use crate::engine::Operation;
use crate::engine::operation::Anchor;
use crate::protocol::refusal::Refusal;

impl TryFrom<PeerAddRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: PeerAddRequest) -> Result<Self, Refusal> {
        let anchor = match request.anchor {
            Some(add::Anchor::Ca(pem)) => Anchor::Ca(spoken("/ca", pem, "the CA certificate in PEM")?),
            Some(add::Anchor::Spki(pin)) => Anchor::Spki(spoken("/spki", pin, "base64url SHA-256, 43 characters")?),
            None => return Err(Refusal::invalid("", "a trust anchor: ca or spki")),
        };
        let capped = request.trust_cap.is_none_or(|cap| (0.0..=99.9).contains(&cap));
        if !capped {
            return Err(Refusal::invalid("/trustCap", "a score from 0 to 99.9"));
        }
        Ok(Self::PeerAdd {
            cell: field("/cell", &request.cell)?,
            address: spoken("/address", request.address, "host:port, the peer's UDP address")?,
            region: spoken("/region", request.region, "the peer's region, as in its hello")?,
            zone: spoken("/zone", request.zone, "the legal zone of the peer's region, as in its hello")?,
            anchor,
            trust_cap: request.trust_cap,
        })
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
