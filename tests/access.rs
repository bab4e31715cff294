//! What a data subject is told: all parts an organisation holds of it, as a file that verifies off line, and where they
//! are; and a consent as a receipt that other systems read. docs/spec/federation.md sections 2 and 4.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::fs;

use asp_cell::engine::Operation;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::protocol::certificate::Authorities;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::transcript::{Pins, Verdict, verify_bytes};
use asp_cell::testkit::{ConsentSpec, Draft, Failure, Federation, Topology};
use deal::{ABROAD, BUYER, CANARY, HOME, SELLER};
use serde_json::{Value, json};

fn topology(classes: &[&str]) -> Topology {
    deal::cells().consent(ConsentSpec::between("acme.example", "beta.example").classes(classes))
}

fn named() -> Draft {
    let contact = json!({"name": "Ada Example", "phone": CANARY});
    Draft::new(P::Propose)
        .terms(json!({}))
        .content(json!({"text": "for our contact"}))
        .personal(deal::contact(), contact)
}

fn export(org: &str) -> Operation {
    Operation::SubjectExport { org: org.parse().unwrap(), subject: deal::contact() }
}

fn whereabouts(org: &str) -> Operation {
    Operation::SubjectWhere { org: org.parse().unwrap(), subject: deal::contact() }
}

fn verdict(net: &Federation, file: &Value) -> Verdict {
    let ca = fs::read_to_string(net.dir().join("certs/ca.pem")).unwrap();
    let pins = Pins { authorities: Some(Authorities::from_pem(&ca).unwrap()), ..Pins::default() };
    verify_bytes(file.to_string().as_bytes(), &pins).verdict()
}

fn audited(kind: &Value) -> usize {
    let operators = kind["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "operator");
    operators.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_gets_what_is_held_of_it_and_is_told_where() -> Result<(), Failure> {
    let net = topology(&["card", "content", "metadata", "personal", "trust"]).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (home, abroad) = (net.cell(HOME)?, net.cell(ABROAD)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let other = deal::open(&buyer, &[&seller]).await?;
    assert_eq!(home.operate(export("acme.example")).await.unwrap_err().code(), "not_found");
    deal::say(&buyer, &[&seller], session, &named()).await?;
    deal::say(&buyer, &[&seller], other, &named()).await?;
    let before = audited(&home.operate(Operation::AuditExport).await?);

    // Both organisations hold the parts, and each answers for its own copies.
    for (cell, org) in [(home, "acme.example"), (abroad, "beta.example")] {
        let file = cell.operate(export(org)).await?;
        assert_eq!(verdict(&net, &file), Verdict::Verified);
        let parts = file["payload"]["parts"].as_array().unwrap();
        assert_eq!(parts.len(), 2, "{org}");
        assert!(parts.iter().all(|part| part["value"]["phone"] == CANARY && part["status"].is_null()));
        for (place, lie) in [("/payload/parts/0/value/phone", "+1"), ("/payload/organisation", "b.example")] {
            let mut changed = file.clone();
            *changed.pointer_mut(place).unwrap() = json!(lie);
            assert_eq!(verdict(&net, &changed), Verdict::Corrupt, "{place}");
        }
        let mut less = file.clone();
        less["payload"]["parts"].as_array_mut().unwrap().pop();
        assert_eq!(verdict(&net, &less), Verdict::Corrupt);
    }
    let found = home.operate(whereabouts("acme.example")).await?;
    assert_eq!(found["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(found["cells"], json!([{"cell": HOME, "holds": "parts"}, {"cell": ABROAD, "holds": "parts"}]));
    assert_eq!(found["consents"][0]["with"], "beta.example");
    assert!(!found.to_string().contains(CANARY) && !found.to_string().contains(deal::CONTACT), "no content");
    assert_eq!(audited(&home.operate(Operation::AuditExport).await?), before + 2, "who asked is written down");

    // What is erased with a session is named as erased; what is erased with the person is named by its certificate.
    let erase = |scope| Operation::Erase { org: "acme.example".parse().unwrap(), scope, ground: "Art. 17".into() };
    home.operate(erase(ErasureScope::Session(other))).await?;
    let file = home.operate(export("acme.example")).await?;
    let erased = |part: &&Value| part["status"] == "erased" && part["value"].is_null();
    assert_eq!(file["payload"]["parts"].as_array().unwrap().iter().filter(erased).count(), 1);
    assert_eq!(verdict(&net, &file), Verdict::Verified);
    home.operate(erase(ErasureScope::Subject(deal::contact()))).await?;
    let file = home.operate(export("acme.example")).await?;
    assert_eq!(verdict(&net, &file), Verdict::Verified);
    assert_eq!(file["payload"]["parts"], json!([]));
    assert!(file["payload"]["erasures"][0]["certificate"].is_string());
    assert!(!file.to_string().contains(CANARY));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_got_only_commitments_is_told_apart_and_a_consent_has_a_receipt() -> Result<(), Failure> {
    let net = topology(&["card", "content", "metadata", "trust"]).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    deal::say(&buyer, &[&seller], session, &named()).await?;
    let home = net.cell(HOME)?;
    let found = home.operate(whereabouts("acme.example")).await?;
    assert_eq!(found["cells"], json!([{"cell": HOME, "holds": "parts"}, {"cell": ABROAD, "holds": "commitments"}]));
    assert_eq!(net.cell(ABROAD)?.operate(whereabouts("beta.example")).await.unwrap_err().code(), "not_found");

    let consents = home.operate(Operation::ConsentList).await?;
    let consent = consents["consents"][0]["document"]["consentId"].as_str().unwrap();
    let receipt = home.operate(Operation::ConsentReceipt { consent: consent.parse().unwrap() }).await?;
    assert_eq!(receipt["record_id"], consent);
    assert_eq!(receipt["evidence"], consents["consents"][0]);
    let purpose = &receipt["pii_processing"]["purposes"][0];
    let classes: Vec<_> =
        purpose["pii_information"].as_array().unwrap().iter().map(|c| c["pii_type"].clone()).collect();
    assert_eq!(classes, ["card", "content", "metadata", "trust"]);
    assert_eq!(purpose["geographic_restrictions"], json!(["EEA", "US"]));
    let given = receipt["event"].as_array().unwrap().iter().filter(|event| event["event_state"] == "given");
    assert_eq!(given.count(), 2);
    let revoke = Operation::ConsentRevoke {
        consent: consent.parse().unwrap(),
        org: "acme.example".parse().unwrap(),
        reason: None,
    };
    home.operate(revoke).await?;
    let receipt = home.operate(Operation::ConsentReceipt { consent: consent.parse().unwrap() }).await?;
    let withdrawn = receipt["event"].as_array().unwrap().iter().find(|event| event["event_state"] == "withdrawn");
    assert_eq!(withdrawn.unwrap()["entity_id"], "acme.example");
    Ok(())
}
