//! `escrow`: money held, and how the operators would end what its session does not.

use super::{field, spoken};
use crate::api::operator::contract::{EscrowListRequest, EscrowResolveRequest, EscrowShowRequest};
use crate::engine::Operation;
use crate::protocol::refusal::Refusal;

impl TryFrom<EscrowListRequest> for Operation {
    type Error = Refusal;
    fn try_from(EscrowListRequest {}: EscrowListRequest) -> Result<Self, Refusal> {
        Ok(Self::EscrowList)
    }
}

impl TryFrom<EscrowShowRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: EscrowShowRequest) -> Result<Self, Refusal> {
        let EscrowShowRequest { session, commitment } = request;
        Ok(Self::EscrowShow { session: field("/session", &session)?, commitment: field("/commitment", &commitment)? })
    }
}

impl TryFrom<EscrowResolveRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: EscrowResolveRequest) -> Result<Self, Refusal> {
        Ok(Self::EscrowResolve {
            session: field("/session", &request.session)?,
            commitment: field("/commitment", &request.commitment)?,
            escrow: field("/escrow", &request.escrow)?,
            payee_amount: request.payee_amount,
            reason: spoken("/reason", request.reason, "why, for the audit log and the other cell's operator")?,
        })
    }
}
