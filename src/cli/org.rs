//! `org`: organisations at home in the cell.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::answer::Answer;
use super::failure::Failure;
use super::running::{Cell, answer, document, text_of};
use crate::api::operator::contract::org_verify_request as verify;
use crate::api::operator::contract::{
    OrgAddRequest, OrgKeyRequest, OrgListRequest, OrgPolicyRequest, OrgVerifyRequest,
};
use crate::api::operator::contract::{org_key_request as key, org_policy_request as policy};

/// Organisations.
#[derive(Debug, Subcommand)]
pub enum Org {
    /// Make an organisation at home here; its enrolment key is printed once.
    Add {
        /// DNS name it controls.
        org: String,
    },
    /// The organisations at home here.
    List,
    /// Its consent key: shown, replaced, or handed in by the organisation.
    Key(Key),
    /// The zones that its data may enter: shown or changed.
    Policy(Policy),
    /// Verify its name, which raises the identity level of its agents.
    Verify(Verify),
}

/// How a name is verified.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("how").required(true).args(["dns", "scim"]))]
pub struct Verify {
    org: String,
    /// The TXT record of `_asp.ORG` is the thumbprint of the cell's signing key: identity level 75.
    #[arg(long)]
    dns: bool,
    /// The enterprise's SCIM service vouches for it, as you have seen: identity level 100.
    #[arg(long, value_name = "ISSUER", requires = "evidence")]
    scim: Option<String>,
    /// What you have seen; its digest goes into the audit log.
    #[arg(long, value_name = "FILE", requires = "scim")]
    evidence: Option<PathBuf>,
}

/// What to do with a consent key.
#[derive(Debug, Args)]
pub struct Key {
    org: String,
    /// Show it; also what happens without any flag.
    #[arg(long, conflicts_with_all = ["rotate", "public"])]
    show: bool,
    /// Make a new one.
    #[arg(long, conflicts_with = "public")]
    rotate: bool,
    /// The organisation's own public key, JWK or PEM; it keeps the private one and signs off line.
    #[arg(long = "public-key", value_name = "FILE")]
    public: Option<PathBuf>,
}

/// What to do with a residency policy.
#[derive(Debug, Args)]
pub struct Policy {
    org: String,
    /// A zone that its data may enter.
    #[arg(long, value_name = "ZONE", requires = "basis", conflicts_with = "deny_zone")]
    allow_zone: Option<String>,
    /// The basis on which it may.
    #[arg(long, value_name = "TEXT", requires = "allow_zone")]
    basis: Option<String>,
    /// A zone that its data may not enter any more.
    #[arg(long, value_name = "ZONE")]
    deny_zone: Option<String>,
}

impl Org {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self {
            Self::Add { org } => document(cell.org_add(OrgAddRequest { org }).await).map(added),
            Self::List => answer(cell.org_list(OrgListRequest {}).await),
            Self::Key(verb) => answer(cell.org_key(verb.request()?).await),
            Self::Policy(verb) => answer(cell.org_policy(verb.request()).await),
            Self::Verify(verb) => answer(cell.org_verify(verb.request()?).await),
        }
    }
}

fn added(document: serde_json::Value) -> Answer {
    let text = super::outline::outline(&document);
    Answer::new(document).told_as(format!("{text}\nThe enrolment key is not shown again; agents register with it."))
}

impl Key {
    fn request(self) -> Result<OrgKeyRequest, Failure> {
        let change = match self.public {
            Some(file) => Some(key::Change::PublicKey(text_of(&file)?)),
            None if self.rotate => Some(key::Change::Rotate(key::Rotate {})),
            None => None,
        };
        Ok(OrgKeyRequest { org: self.org, change })
    }
}

impl Verify {
    fn request(self) -> Result<OrgVerifyRequest, Failure> {
        let how = match (self.scim, self.evidence) {
            (Some(issuer), Some(file)) => {
                let evidence = std::fs::read(&file).map_err(|error| Failure::file(&file, &error))?;
                verify::How::Scim(verify::Scim { issuer, evidence })
            }
            (_, _) => verify::How::Dns(verify::Dns {}),
        };
        Ok(OrgVerifyRequest { org: self.org, how: Some(how) })
    }
}

impl Policy {
    fn request(self) -> OrgPolicyRequest {
        let basis = self.basis.unwrap_or_default();
        let allowed = self.allow_zone.map(|zone| policy::Change::Allow(policy::Allow { zone, basis }));
        OrgPolicyRequest { org: self.org, change: allowed.or(self.deny_zone.map(policy::Change::Deny)) }
    }
}
