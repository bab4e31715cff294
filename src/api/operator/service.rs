//! The `CellService`: each rpc is read into an [`Operation`], carried out, and answered with a JSON document.

use std::sync::Arc;

use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

use super::Operator;
use super::contract::cell_service_server::{CellService, CellServiceServer};
use super::contract::{self as asp, Document};
use super::status::status_of;
use super::token::Token;
use crate::engine::Operation;
use crate::protocol::refusal::Refusal;

/// The service over whoever carries out the verbs.
#[derive(Debug)]
pub struct Service<O> {
    operator: Arc<O>,
}

impl<O: Operator> Service<O> {
    /// The service behind its token, ready for a router.
    pub(super) fn guarded(operator: Arc<O>, token: Token) -> InterceptedService<CellServiceServer<Self>, Token> {
        CellServiceServer::with_interceptor(Self { operator }, token)
    }

    async fn carry_out(&self, operation: Result<Operation, Refusal>) -> Result<Response<Document>, Status> {
        let operation = operation.map_err(|refusal| status_of(&refusal))?;
        let answer = self.operator.operate(operation).await.map_err(|refusal| status_of(&refusal))?;
        Ok(Response::new(Document { json: answer.to_string() }))
    }
}

macro_rules! verbs {
    ($($rpc:ident $request:ident;)*) => {
        #[tonic::async_trait]
        impl<O: Operator> CellService for Service<O> {
            $(async fn $rpc(&self, call: Request<asp::$request>) -> Result<Response<Document>, Status> {
                self.carry_out(call.into_inner().try_into()).await
            })*
        }
    };
}

verbs! {
    org_add OrgAddRequest;
    org_list OrgListRequest;
    org_key OrgKeyRequest;
    org_policy OrgPolicyRequest;
    peer_add PeerAddRequest;
    peer_remove PeerRemoveRequest;
    peer_retry PeerRetryRequest;
    peer_forward PeerForwardRequest;
    peer_list PeerListRequest;
    consent_offer ConsentOfferRequest;
    consent_counter ConsentCounterRequest;
    consent_accept ConsentAcceptRequest;
    consent_sign ConsentSignRequest;
    consent_revoke ConsentRevokeRequest;
    consent_list ConsentListRequest;
    consent_show ConsentShowRequest;
    session_list SessionListRequest;
    session_show SessionShowRequest;
    session_export SessionExportRequest;
    session_seal SessionSealRequest;
    session_resolve SessionResolveRequest;
    erase EraseRequest;
    erase_status EraseStatusRequest;
    erase_await EraseAwaitRequest;
    keys_rotate_epoch KeysRotateEpochRequest;
    erase_approve EraseApproveRequest;
    hold_add HoldAddRequest;
    hold_release HoldReleaseRequest;
    hold_list HoldListRequest;
    dlq_list DlqListRequest;
    dlq_replay DlqReplayRequest;
    dlq_purge DlqPurgeRequest;
    dispute_list DisputeListRequest;
    dispute_show DisputeShowRequest;
    dispute_pack DisputePackRequest;
    dispute_resolve DisputeResolveRequest;
    escrow_list EscrowListRequest;
    escrow_show EscrowShowRequest;
    escrow_resolve EscrowResolveRequest;
    ledger_deposit LedgerDepositRequest;
    ledger_withdraw LedgerWithdrawRequest;
    ledger_show LedgerShowRequest;
    trust_show TrustShowRequest;
    trust_assign TrustAssignRequest;
    trust_attest TrustAttestRequest;
    org_verify OrgVerifyRequest;
    ledger_settle LedgerSettleRequest;
    ledger_reconcile LedgerReconcileRequest;
    consent_receipt ConsentReceiptRequest;
    subject_export SubjectExportRequest;
    subject_where SubjectWhereRequest;
    residency_prove ResidencyProveRequest;
    audit_verify AuditVerifyRequest;
    audit_prove AuditProveRequest;
    audit_export AuditExportRequest;
    backup BackupRequest;
}
