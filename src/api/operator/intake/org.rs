//! `org`: organisations, their consent keys, their residency policy.

use super::{field, legal, spoken};
use crate::api::operator::contract::{OrgAddRequest, OrgKeyRequest, OrgListRequest, OrgPolicyRequest};
use crate::api::operator::contract::{org_key_request as key, org_policy_request as policy};
use crate::engine::Operation;
use crate::protocol::refusal::Refusal;

impl TryFrom<OrgAddRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: OrgAddRequest) -> Result<Self, Refusal> {
        Ok(Self::OrgAdd { org: field("/org", &request.org)? })
    }
}

impl TryFrom<OrgListRequest> for Operation {
    type Error = Refusal;
    fn try_from(OrgListRequest {}: OrgListRequest) -> Result<Self, Refusal> {
        Ok(Self::OrgList)
    }
}

impl TryFrom<OrgKeyRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: OrgKeyRequest) -> Result<Self, Refusal> {
        let org = field("/org", &request.org)?;
        Ok(match request.change {
            None => Self::OrgKeyShow { org },
            Some(key::Change::Rotate(key::Rotate {})) => Self::OrgKeyRotate { org },
            Some(key::Change::PublicKey(key)) => Self::OrgKeyPublic { org, key },
        })
    }
}

impl TryFrom<OrgPolicyRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: OrgPolicyRequest) -> Result<Self, Refusal> {
        let org = field("/org", &request.org)?;
        Ok(match request.change {
            None => Self::OrgPolicyShow { org },
            Some(policy::Change::Allow(allow)) => Self::OrgPolicyAllow {
                org,
                zone: legal("/allow/zone", allow.zone)?,
                basis: spoken("/allow/basis", allow.basis, "the basis on which data may go there")?,
            },
            Some(policy::Change::Deny(denied)) => Self::OrgPolicyDeny { org, zone: legal("/deny", denied)? },
        })
    }
}
