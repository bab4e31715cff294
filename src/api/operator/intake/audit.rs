//! `audit`: the log of what changed rights or data.

use crate::api::operator::contract::{AuditExportRequest, AuditProveRequest, AuditVerifyRequest};
use crate::engine::Operation;
use crate::protocol::refusal::Refusal;

impl TryFrom<AuditVerifyRequest> for Operation {
    type Error = Refusal;
    fn try_from(AuditVerifyRequest {}: AuditVerifyRequest) -> Result<Self, Refusal> {
        Ok(Self::AuditVerify)
    }
}

impl TryFrom<AuditProveRequest> for Operation {
    type Error = Refusal;
    fn try_from(AuditProveRequest { index }: AuditProveRequest) -> Result<Self, Refusal> {
        Ok(Self::AuditProve { index })
    }
}

impl TryFrom<AuditExportRequest> for Operation {
    type Error = Refusal;
    fn try_from(AuditExportRequest {}: AuditExportRequest) -> Result<Self, Refusal> {
        Ok(Self::AuditExport)
    }
}
