//! `audit` and `backup`: the log of what changed rights or data; everything but the keys in one file.

use super::spoken;
use crate::api::operator::contract::{AuditExportRequest, AuditProveRequest, AuditVerifyRequest, BackupRequest};
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

impl TryFrom<BackupRequest> for Operation {
    type Error = Refusal;
    fn try_from(BackupRequest { file, config }: BackupRequest) -> Result<Self, Refusal> {
        let file = spoken("/file", file, "an absolute path on the cell's machine")?.into();
        Ok(Self::Backup { file, config: spoken("/config", config, "the text of cell.toml")? })
    }
}
