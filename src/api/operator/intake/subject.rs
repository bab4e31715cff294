//! `subject`: what a data subject may ask for.

use super::field;
use crate::api::operator::contract::{SubjectExportRequest, SubjectWhereRequest};
use crate::engine::Operation;
use crate::protocol::refusal::Refusal;

impl TryFrom<SubjectExportRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: SubjectExportRequest) -> Result<Self, Refusal> {
        Ok(Self::SubjectExport { org: field("/org", &request.org)?, subject: field("/subject", &request.subject)? })
    }
}

impl TryFrom<SubjectWhereRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: SubjectWhereRequest) -> Result<Self, Refusal> {
        Ok(Self::SubjectWhere { org: field("/org", &request.org)?, subject: field("/subject", &request.subject)? })
    }
}
