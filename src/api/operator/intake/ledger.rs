//! `ledger`: money in and out, and what is there.

use super::{field, optional};
use crate::api::operator::contract::{
    LedgerDepositRequest, LedgerReconcileRequest, LedgerSettleRequest, LedgerShowRequest, LedgerWithdrawRequest,
};
use crate::engine::Operation;
use crate::protocol::refusal::Refusal;

impl TryFrom<LedgerDepositRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: LedgerDepositRequest) -> Result<Self, Refusal> {
        let LedgerDepositRequest { org, amount, currency, reference } = request;
        Ok(Self::LedgerDeposit { org: field("/org", &org)?, amount, currency, reference })
    }
}

impl TryFrom<LedgerWithdrawRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: LedgerWithdrawRequest) -> Result<Self, Refusal> {
        let LedgerWithdrawRequest { org, amount, currency, reference } = request;
        Ok(Self::LedgerWithdraw { org: field("/org", &org)?, amount, currency, reference })
    }
}

impl TryFrom<LedgerSettleRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: LedgerSettleRequest) -> Result<Self, Refusal> {
        let LedgerSettleRequest { peer, org, amount, currency, reference } = request;
        let (peer, org) = (field("/peer", &peer)?, field("/org", &org)?);
        Ok(Self::LedgerSettle { peer, org, amount, currency, reference })
    }
}

impl TryFrom<LedgerReconcileRequest> for Operation {
    type Error = Refusal;
    fn try_from(LedgerReconcileRequest {}: LedgerReconcileRequest) -> Result<Self, Refusal> {
        Ok(Self::LedgerReconcile)
    }
}

impl TryFrom<LedgerShowRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: LedgerShowRequest) -> Result<Self, Refusal> {
        Ok(Self::LedgerShow { org: optional("/org", request.org.as_deref())? })
    }
}
