//! `dispute`: what the cells cannot decide, and what their operators say.

use super::{field, optional, spoken};
use crate::api::operator::contract::{
    DisputeListRequest, DisputePackRequest, DisputeResolveRequest, DisputeShowRequest,
};
use crate::engine::Operation;
use crate::protocol::refusal::Refusal;

impl TryFrom<DisputeListRequest> for Operation {
    type Error = Refusal;
    fn try_from(DisputeListRequest {}: DisputeListRequest) -> Result<Self, Refusal> {
        Ok(Self::DisputeList)
    }
}

impl TryFrom<DisputeShowRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: DisputeShowRequest) -> Result<Self, Refusal> {
        Ok(Self::DisputeShow { dispute: field("/dispute", &request.dispute)? })
    }
}

impl TryFrom<DisputePackRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: DisputePackRequest) -> Result<Self, Refusal> {
        Ok(Self::DisputePack { dispute: field("/dispute", &request.dispute)? })
    }
}

impl TryFrom<DisputeResolveRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: DisputeResolveRequest) -> Result<Self, Refusal> {
        Ok(Self::DisputeResolve {
            dispute: field("/dispute", &request.dispute)?,
            outcome: field("/outcome", &request.outcome)?,
            severity: request.severity,
            escrow: optional("/escrow", request.escrow.as_deref())?,
            payee_amount: request.payee_amount,
            reason: spoken("/reason", request.reason, "why, for the audit log")?,
        })
    }
}
