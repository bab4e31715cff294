//! `consent`: what an organisation here and one elsewhere agree on.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::answer::Answer;
use super::failure::Failure;
use super::outline::{aligned, outline};
use super::running::{Cell, answer, document, text_of};
use crate::api::operator::contract::{
    ConsentAcceptRequest, ConsentCounterRequest, ConsentListRequest, ConsentOfferRequest, ConsentReceiptRequest,
    ConsentRevokeRequest, ConsentShowRequest, ConsentSignRequest, ConsentTerms,
};

/// Consents.
#[derive(Debug, Subcommand)]
pub enum Consent {
    /// Offer one to an organisation of another cell.
    Offer {
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        terms: Terms,
    },
    /// Answer an offer with other terms; what is not said stays as offered.
    Counter {
        /// The consent's id.
        id: String,
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        terms: Changes,
    },
    /// Accept the terms offered.
    Accept {
        /// The consent's id.
        id: String,
        #[command(flatten)]
        by: By,
    },
    /// Hand in a signature that the organisation made off line.
    Sign {
        /// The consent's id.
        id: String,
        #[command(flatten)]
        by: By,
        /// A compact JWS with detached payload over the canonical document.
        #[arg(long, value_name = "FILE")]
        signature: PathBuf,
    },
    /// End one, alone and at once.
    Revoke {
        /// The consent's id.
        id: String,
        #[command(flatten)]
        by: By,
        /// Why; the other organisation reads it.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// All consents of this cell's organisations.
    List,
    /// One consent.
    Show {
        /// The consent's id.
        id: String,
    },
    /// One consent as a receipt in the shape of ISO/IEC TS 27560.
    Receipt {
        /// The consent's id.
        id: String,
    },
}

/// Who acts.
#[derive(Debug, Args)]
pub struct By {
    /// The organisation of this cell that acts.
    #[arg(long)]
    org: String,
}

/// Which way data may flow, seen from `--org`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Directions {
    /// There and back.
    Both,
    /// To the other organisation.
    Out,
    /// From the other organisation.
    In,
}

/// All terms of an offer.
#[derive(Debug, Args)]
pub struct Terms {
    /// The organisation of another cell.
    #[arg(long, value_name = "ORG")]
    peer_org: String,
    /// card, metadata, content, personal, trust, dispute.
    #[arg(long, value_name = "CLASSES", value_delimiter = ',', required = true)]
    classes: Vec<String>,
    /// Globs over the purposes of sessions; '*' for all.
    #[arg(long, value_name = "GLOBS", value_delimiter = ',', required = true)]
    purposes: Vec<String>,
    /// Which way data may flow.
    #[arg(long)]
    directions: Directions,
    /// The end, exclusive: RFC 3339.
    #[arg(long, value_name = "TIME")]
    not_after: String,
    /// The beginning; now if not said.
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Globs over agent ids; all agents if not said.
    #[arg(long, value_name = "GLOBS", value_delimiter = ',')]
    agents: Vec<String>,
    /// Basis of a transfer to another zone.
    #[arg(long, value_name = "TEXT")]
    basis: Option<String>,
    /// Longest keeping of what was received, such as P365D.
    #[arg(long, value_name = "DURATION")]
    retention: Option<String>,
}

/// The terms of a counter-offer that differ from the offer's.
#[derive(Debug, Args)]
pub struct Changes {
    /// The other organisation; it is the offer's.
    #[arg(long, value_name = "ORG", hide = true)]
    peer_org: Option<String>,
    /// card, metadata, content, personal, trust, dispute.
    #[arg(long, value_name = "CLASSES", value_delimiter = ',')]
    classes: Option<Vec<String>>,
    /// Globs over the purposes of sessions.
    #[arg(long, value_name = "GLOBS", value_delimiter = ',')]
    purposes: Option<Vec<String>>,
    /// Which way data may flow.
    #[arg(long)]
    directions: Option<Directions>,
    /// The end, exclusive: RFC 3339.
    #[arg(long, value_name = "TIME")]
    not_after: Option<String>,
    /// The beginning.
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Globs over agent ids.
    #[arg(long, value_name = "GLOBS", value_delimiter = ',')]
    agents: Option<Vec<String>>,
    /// Basis of a transfer to another zone.
    #[arg(long, value_name = "TEXT")]
    basis: Option<String>,
    /// Longest keeping of what was received.
    #[arg(long, value_name = "DURATION")]
    retention: Option<String>,
}

impl Consent {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self {
            Self::Offer { by, terms } => {
                answer(cell.consent_offer(ConsentOfferRequest { org: by.org, terms: Some(terms.request()) }).await)
            }
            Self::Counter { id, by, terms } => {
                let offered = document(cell.consent_show(ConsentShowRequest { consent: id.clone() }).await)?;
                let terms = Some(terms.over(&offered, &by.org));
                answer(cell.consent_counter(ConsentCounterRequest { consent: id, org: by.org, terms }).await)
            }
            Self::Accept { id, by } => {
                answer(cell.consent_accept(ConsentAcceptRequest { consent: id, org: by.org }).await)
            }
            Self::Sign { id, by, signature } => {
                let signature = text_of(&signature)?.trim().to_owned();
                answer(cell.consent_sign(ConsentSignRequest { consent: id, org: by.org, signature }).await)
            }
            Self::Revoke { id, by, reason } => {
                let request = ConsentRevokeRequest { consent: id, org: by.org, reason };
                let consent = document(cell.consent_revoke(request).await)?;
                let told = told(&consent);
                Ok(Answer::new(consent).told_as(told))
            }
            Self::List => {
                let consents = document(cell.consent_list(ConsentListRequest {}).await)?;
                let lines = lines(&consents);
                Ok(Answer::new(consents).told_as(lines))
            }
            Self::Receipt { id } => answer(cell.consent_receipt(ConsentReceiptRequest { consent: id }).await),
            Self::Show { id } => {
                let consent = document(cell.consent_show(ConsentShowRequest { consent: id }).await)?;
                let told = told(&consent);
                Ok(Answer::new(consent).told_as(told))
            }
        }
    }
}

impl Directions {
    const fn outward(self) -> bool {
        matches!(self, Self::Both | Self::Out)
    }

    const fn inward(self) -> bool {
        matches!(self, Self::Both | Self::In)
    }
}

impl Terms {
    fn request(self) -> ConsentTerms {
        ConsentTerms {
            peer_org: self.peer_org,
            classes: self.classes,
            purposes: self.purposes,
            outward: self.directions.outward(),
            inward: self.directions.inward(),
            agents: self.agents,
            basis: self.basis,
            retention: self.retention,
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }
}

impl Changes {
    /// These changes over the terms of a consent (docs/spec/details.md S10), as `org` sees them.
    fn over(self, consent: &Value, org: &str) -> ConsentTerms {
        let document = &consent["document"];
        let other =
            items(&document["parties"]).find_map(|party| text(&party["organisation"]).filter(|name| name != org));
        let flows = |end: &str| items(&document["directions"]).any(|flow| flow[end] == org);
        ConsentTerms {
            peer_org: self.peer_org.or(other).unwrap_or_default(),
            classes: self.classes.unwrap_or_else(|| texts(&document["dataClasses"])),
            purposes: self.purposes.unwrap_or_else(|| texts(&document["purposes"])),
            outward: self.directions.map_or_else(|| flows("from"), Directions::outward),
            inward: self.directions.map_or_else(|| flows("to"), Directions::inward),
            agents: self.agents.unwrap_or_else(|| texts(&document["agents"])),
            basis: self.basis.or_else(|| text(&document["transferBasis"])),
            retention: self.retention.or_else(|| text(&document["retention"])),
            not_before: self.not_before.or_else(|| text(&document["notBefore"])),
            not_after: self.not_after.or_else(|| text(&document["notAfter"])).unwrap_or_default(),
        }
    }
}

/// A consent without the proofs of its end and the texts of its earlier versions, which are for machines.
fn told(consent: &Value) -> String {
    let mut shown = consent.clone();
    let Some(members) = shown.as_object_mut() else { return outline(&shown) };
    let ends = items(&consent["revocations"]).map(end).collect::<Vec<_>>();
    if members.remove("revocations").is_some() {
        members.insert("revoked".to_owned(), Value::from(ends));
    }
    let versions =
        items(&consent["versions"]).filter_map(|version| version.pointer("/document/version").map(Value::to_string));
    let versions = versions.collect::<Vec<_>>().join(", ");
    if members.remove("versions").is_some() {
        members.insert("earlier versions".to_owned(), Value::from(format!("{versions} (--json shows them)")));
    }
    outline(&shown)
}

/// When it was revoked, by whom and why.
fn end(revocation: &Value) -> String {
    let member = |name: &str| text(&revocation[name]).unwrap_or_default();
    let why = text(&revocation["reason"]).map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{} by {}{why}", member("at"), member("organisation"))
}

/// One line a consent.
fn lines(consents: &Value) -> String {
    let heading =
        ["CONSENT", "VERSION", "STATUS", "PARTIES", "CLASSES", "NOT AFTER", "REVOKED"].map(str::to_owned).to_vec();
    let row = |consent: &Value| {
        let document = &consent["document"];
        let parties = items(&document["parties"]).filter_map(|party| text(&party["organisation"]));
        vec![
            text(&document["consentId"]).unwrap_or_default(),
            document["version"].to_string(),
            text(&consent["status"]).unwrap_or_default(),
            parties.collect::<Vec<_>>().join(" and "),
            texts(&document["dataClasses"]).join(","),
            text(&document["notAfter"]).unwrap_or_default(),
            items(&consent["revocations"]).next().map_or_else(|| "-".to_owned(), end),
        ]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(items(&consents["consents"]).map(row)).collect();
    if rows.len() == 1 { "no consents".to_owned() } else { aligned(&rows).join("\n") }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn texts(value: &Value) -> Vec<String> {
    items(value).filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_counter_keeps_what_it_does_not_change() {
        let offered = json!({"document": {
            "parties": [{"organisation": "acme.example"}, {"organisation": "beta.example"}],
            "directions": [{"from": "acme.example", "to": "beta.example"}],
            "dataClasses": ["content", "metadata"], "purposes": ["*"], "notBefore": "b", "notAfter": "a",
        }});
        let changes = Changes {
            peer_org: None,
            classes: Some(vec!["metadata".to_owned()]),
            purposes: None,
            directions: None,
            not_after: None,
            not_before: None,
            agents: None,
            basis: None,
            retention: None,
        };
        let terms = changes.over(&offered, "beta.example");
        assert_eq!(terms.peer_org, "acme.example");
        assert_eq!(terms.classes, ["metadata"]);
        assert_eq!(terms.purposes, ["*"]);
        assert_eq!((terms.outward, terms.inward), (false, true));
        assert_eq!(terms.not_after, "a");
    }
}
