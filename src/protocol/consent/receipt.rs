//! A consent as a receipt for people who read those of other systems: the members of ISO/IEC TS 27560.
//!
//! Consents here are between organisations, so nobody stands in `pii_principal_id`; the signed document itself is in
//! `evidence`, from which all of it follows. Source: ISO/IEC TS 27560:2023 clause 6, docs/spec/details.md S11.

use serde_json::{Value, json};

use super::Consent;
use super::document::{Clauses, Party};
use super::negotiation::{Negotiation, Status};
use crate::protocol::class::DataClass;
use crate::protocol::ids::OrgName;
use crate::protocol::time::Timestamp;

/// The version of the members.
const SCHEMA: &str = "ISO/IEC TS 27560:2023";

/// The receipt of a consent in its newest version, at `at`.
#[must_use]
pub fn receipt(known: &Negotiation, at: Timestamp) -> Value {
    let consent = known.latest();
    let clauses = consent.document.clauses();
    let status = known.status(consent, at);
    json!({
        "schema_version": SCHEMA,
        "receipt_id": format!("{}/{}", clauses.consent_id, clauses.version),
        "record_id": clauses.consent_id,
        "pii_principal_id": null,
        "pii_processing": {
            "language": "en",
            "purposes": clauses.purposes.iter().map(|purpose| purpose_of(consent, purpose)).collect::<Vec<_>>(),
        },
        "party_identification": clauses.parties.iter().map(party).collect::<Vec<_>>(),
        "event": events(known, consent, status),
        "evidence": consent.to_json(status),
    })
}

fn purpose_of(consent: &Consent, purpose: &str) -> Value {
    let clauses = consent.document.clauses();
    let sends = |party: &&Party| clauses.directions.iter().any(|way| way.from == party.organisation);
    let gets = |party: &&Party| clauses.directions.iter().any(|way| way.to == party.organisation);
    let controllers: Vec<_> = clauses.parties.iter().filter(sends).map(|party| &party.organisation).collect();
    let recipients: Vec<_> = clauses.parties.iter().filter(gets).map(|party| &party.organisation).collect();
    let places: Vec<Value> = clauses
        .parties
        .iter()
        .map(|party| json!({"party_id": party.organisation, "region": party.region, "jurisdiction": party.zone}))
        .collect();
    let class = |class: DataClass| json!({"pii_type": class, "pii_optional": false, "special_pii_category": false});
    json!({
        "purpose": purpose,
        "purpose_type": "agent sessions whose purpose matches this glob",
        // Between the organisations nobody says on which basis each may process; the transfer's is another question.
        "lawful_basis": null,
        "third_country_transfers": transfers(clauses),
        "pii_information": clauses.classes.iter().map(class).collect::<Vec<_>>(),
        "pii_controllers": controllers,
        "recipient_third_parties": recipients,
        "collection_method": "messages of agents, each signed by its sender",
        "processing_method": "kept sealed in the recipient's cell, as a copy",
        "storage_locations": places,
        "processing_locations": places,
        "geographic_restrictions": clauses.parties.iter().map(|party| &party.zone).collect::<Vec<_>>(),
        "retention_period": clauses.retention,
        "withdrawal_method": "either party revokes alone, at any time: asp-cell consent revoke",
        "privacy_rights": ["access and portability: asp-cell subject export", "erasure: asp-cell erase"],
    })
}

/// The ways on which data enters another zone, each with the instrument that the two named for it.
fn transfers(clauses: &Clauses) -> Vec<Value> {
    let zone = |organisation: &OrgName| {
        clauses.parties.iter().find(|party| party.organisation == *organisation).map(|party| &party.zone)
    };
    let abroad = clauses.directions.iter().filter(|way| zone(&way.from) != zone(&way.to));
    abroad
        .map(|way| json!({"from": zone(&way.from), "to": zone(&way.to), "recipient": way.to, "safeguard": clauses.transfer_basis}))
        .collect()
}

fn party(party: &Party) -> Value {
    json!({"party_id": party.organisation, "party_name": party.organisation, "party_type": "organisation",
        "party_role": "pii_controller", "party_url": format!("asp://{}", party.cell), "key": party.kid})
}

fn events(known: &Negotiation, consent: &Consent, status: Status) -> Vec<Value> {
    let clauses = consent.document.clauses();
    let signed = consent.signatures.keys().map(|organisation| {
        json!({"event_type": "explicit", "event_state": "given", "entity_id": organisation,
            "event_time": known.recorded(clauses.version, organisation),
            "validity_duration": format!("{}/{}", clauses.not_before, clauses.not_after)})
    });
    let ended = known.revocations().iter().map(|revoked| {
        json!({"event_type": "explicit", "event_state": "withdrawn", "entity_id": revoked.organisation,
            "event_time": revoked.at})
    });
    let now = json!({"event_type": "state", "event_state": status.name()});
    signed.chain(ended).chain([now]).collect()
}
