//! `trust` and `org verify`: what scores stand on.

use super::{field, spoken};
use crate::api::operator::contract::org_verify_request as verify;
use crate::api::operator::contract::trust_assign_request as assign;
use crate::api::operator::contract::{OrgVerifyRequest, TrustAssignRequest, TrustAttestRequest, TrustShowRequest};
use crate::crypto::digest::Digest;
use crate::engine::Operation;
use crate::engine::operation::{Assigned, Verified};
use crate::protocol::refusal::Refusal;

impl TryFrom<TrustShowRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: TrustShowRequest) -> Result<Self, Refusal> {
        Ok(Self::TrustShow { agent: field("/agent", &request.agent)? })
    }
}

impl TryFrom<TrustAttestRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: TrustAttestRequest) -> Result<Self, Refusal> {
        Ok(Self::TrustAttest { agent: field("/agent", &request.agent)? })
    }
}

impl TryFrom<TrustAssignRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: TrustAssignRequest) -> Result<Self, Refusal> {
        let assigned = match request.assigned {
            Some(assign::Assigned::Level(5)) => Assigned::Infrastructure(true),
            Some(assign::Assigned::Level(0)) => Assigned::Infrastructure(false),
            Some(assign::Assigned::Facts(text)) => Assigned::History(text),
            Some(assign::Assigned::Level(_)) => {
                return Err(Refusal::invalid("/level", "5, or 0 to take it back; other levels follow from the score"));
            }
            None => return Err(Refusal::invalid("", "a level or facts")),
        };
        Ok(Self::TrustAssign {
            agent: field("/agent", &request.agent)?,
            assigned,
            reason: spoken("/reason", request.reason, "why, for the audit log")?,
        })
    }
}

impl TryFrom<OrgVerifyRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: OrgVerifyRequest) -> Result<Self, Refusal> {
        let how = match request.how {
            // The records are looked up by who carries it out.
            Some(verify::How::Dns(verify::Dns {})) => Verified::Dns(Vec::new()),
            Some(verify::How::Scim(scim)) => {
                let issuer = spoken("/scim/issuer", scim.issuer, "who runs the SCIM service")?;
                Verified::Scim(issuer, Digest::of(&[&scim.evidence]))
            }
            None => return Err(Refusal::invalid("", "dns or scim")),
        };
        Ok(Self::OrgVerify { org: field("/org", &request.org)?, how })
    }
}
