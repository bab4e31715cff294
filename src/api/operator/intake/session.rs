//! `session`: looking at sessions, and ending escalations.

use super::{field, spoken};
use crate::api::operator::contract::session_resolve_request as resolve;
use crate::api::operator::contract::{
    SessionExportRequest, SessionListRequest, SessionResolveRequest, SessionSealRequest, SessionShowRequest,
};
use crate::engine::Operation;
use crate::engine::operation::Resolution;
use crate::protocol::refusal::Refusal;

impl TryFrom<SessionListRequest> for Operation {
    type Error = Refusal;
    fn try_from(SessionListRequest {}: SessionListRequest) -> Result<Self, Refusal> {
        Ok(Self::SessionList)
    }
}

impl TryFrom<SessionShowRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: SessionShowRequest) -> Result<Self, Refusal> {
        Ok(Self::SessionShow { session: field("/session", &request.session)? })
    }
}

impl TryFrom<SessionExportRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: SessionExportRequest) -> Result<Self, Refusal> {
        Ok(Self::SessionExport { session: field("/session", &request.session)? })
    }
}

impl TryFrom<SessionSealRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: SessionSealRequest) -> Result<Self, Refusal> {
        Ok(Self::SessionSeal { session: field("/session", &request.session)? })
    }
}

impl TryFrom<SessionResolveRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: SessionResolveRequest) -> Result<Self, Refusal> {
        let resolution = match request.resolution {
            Some(resolve::Resolution::Resume(resolve::Resume {})) => Resolution::Resume,
            Some(resolve::Resolution::Close(outcome)) => Resolution::Close(outcome),
            Some(resolve::Resolution::Request(resolve::Request {})) => Resolution::Request,
            None => return Err(Refusal::invalid("", "a resolution: resume, close or request")),
        };
        Ok(Self::SessionResolve {
            session: field("/session", &request.session)?,
            resolution,
            reason: spoken("/reason", request.reason, "why, for the audit log")?,
        })
    }
}
