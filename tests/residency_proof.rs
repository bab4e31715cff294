//! Proof of residency: what left of a session or a day is shown to a stranger, each entry under a consent valid at its
//! moment, and nothing else; no change of a bundle goes unnoticed, and each is told for what it is.
//! docs/spec/federation.md section 2, docs/spec/details.md S14.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use asp_cell::engine::Operation;
use asp_cell::engine::clock::{Clock as _, SystemClock};
use asp_cell::protocol::bundle::{Day, Selection, verify_bytes};
use asp_cell::protocol::certificate::Authorities;
use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::transcript::{Pins, Report, Verdict};
use asp_cell::testkit::{ConsentSpec, Failure, Federation, Topology};
use deal::{ABROAD, BUYER, HOME, SELLER};
use serde_json::{Value, json};

fn topology() -> Topology {
    deal::cells()
        .funds("acme.example", deal::PRICE, "USD")
        .consent(ConsentSpec::between("acme.example", "beta.example"))
}

async fn struck(net: &Federation) -> Result<SessionId, Failure> {
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    deal::agree(&buyer, &seller, &[], session).await?;
    Ok(session)
}

async fn proven(net: &Federation, cell: &str, selection: Selection) -> Result<Value, Failure> {
    net.cell(cell)?.operate(Operation::ResidencyProve { selection }).await
}

/// The bundle, once the peer has signed the ledger as far as the session.
async fn cosigned(net: &Federation, session: SessionId) -> Result<Value, Failure> {
    let end = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        let bundle = proven(net, HOME, Selection::Session { session }).await?;
        if length(&bundle, "cosigned") > 0 {
            return Ok(bundle);
        }
        assert!(tokio::time::Instant::now() < end, "nobody signs the ledger");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn pins(net: &Federation) -> Pins {
    let ca = fs::read_to_string(net.dir().join("certs/ca.pem")).unwrap();
    Pins { authorities: Some(Authorities::from_pem(&ca).unwrap()), ..Pins::default() }
}

fn judged(file: &Value, pins: &Pins) -> Report {
    verify_bytes(file.to_string().as_bytes(), pins)
}

fn length(file: &Value, member: &str) -> usize {
    file[member].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cell_proves_what_left_it_and_the_other_has_imported_the_same() -> Result<(), Failure> {
    let net = topology().start().await?;
    let pins = pins(&net);
    let (first, second) = (struck(&net).await?, deal_without_money(&net).await?);
    let today = Day::of(SystemClock.now());
    for (cell, org) in [(HOME, "acme.example"), (ABROAD, "beta.example")] {
        let of_first = proven(&net, cell, Selection::Session { session: first }).await?;
        let of_second = proven(&net, cell, Selection::Session { session: second }).await?;
        let of_day = proven(&net, cell, Selection::Day { organisation: org.parse().unwrap(), day: today }).await?;
        for bundle in [&of_first, &of_second, &of_day] {
            let report = judged(bundle, &pins);
            assert_eq!(report.verdict(), Verdict::Verified, "{:?}", report.problems());
            assert_eq!(length(bundle, "imports"), 1, "the peer has signed what it imported");
            assert_eq!((length(bundle, "unanswered"), length(bundle, "undelivered")), (0, 0));
        }
        assert!(length(&of_first, "entries") > 3);
        assert_eq!(length(&of_first, "entries") + length(&of_second, "entries"), length(&of_day, "entries"));
        assert!(of_second["completeness"]["firstIndex"].as_u64().unwrap() > 0, "it begins where its session does");
        let classes = of_first["entries"].as_array().unwrap().iter().flat_map(|e| e["classes"].as_array().unwrap());
        assert!(!classes.into_iter().any(|class| class == "personal"), "the contact stayed at home");

        let report = judged(&of_day, &pins);
        assert!(report.warnings().iter().any(|warning| warning.contains("was not over")), "{:?}", report.warnings());
        assert_eq!(report.subject()["entries"], json!(length(&of_day, "entries")));

        // A day on which nothing left is proven as well, by the whole tree and the peers' word.
        let none = Selection::Day { organisation: org.parse().unwrap(), day: "2020-01-01".parse().unwrap() };
        let empty = proven(&net, cell, none).await?;
        assert_eq!(judged(&empty, &pins).verdict(), Verdict::Verified);
        assert_eq!((length(&empty, "entries"), length(&empty, "imports")), (0, 1));
        // Of another day, or of another organisation, it proves nothing.
        for (member, value) in [("day", json!(today)), ("organisation", json!("else.example"))] {
            for tag in [None, Some(json!("A".repeat(43))), empty.get("organisationTag").cloned()] {
                let mut forged = empty.clone();
                forged[member] = value.clone();
                match tag {
                    Some(tag) => forged["organisationTag"] = tag,
                    None => drop(forged.as_object_mut().unwrap().remove("organisationTag")),
                }
                assert_eq!(reason(&judged(&forged, &pins)), Some("selection"));
            }
        }
        let ahead = Selection::Day { organisation: org.parse().unwrap(), day: "2999-01-01".parse().unwrap() };
        assert_eq!(proven(&net, cell, ahead).await.unwrap_err().code(), "validation_failed");
    }
    let unknown = Selection::Session { session: "0198f0a0-0000-7000-8000-000000000001".parse().unwrap() };
    assert_eq!(proven(&net, HOME, unknown).await.unwrap_err().code(), "not_found");
    let elsewhere = Selection::Day { organisation: "beta.example".parse().unwrap(), day: today };
    assert_eq!(proven(&net, HOME, elsewhere).await.unwrap_err().code(), "not_found");
    Ok(())
}

async fn deal_without_money(net: &Federation) -> Result<SessionId, Failure> {
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    deal::open(&buyer, &[&seller]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_away_is_named_and_not_taken_for_one_that_agrees() -> Result<(), Failure> {
    let mut net = topology().start().await?;
    let pins = pins(&net);
    let session = struck(&net).await?;
    net.kill(ABROAD)?;
    let bundle = proven(&net, HOME, Selection::Session { session }).await?;
    assert_eq!(bundle["unanswered"], json!([ABROAD]));
    let report = judged(&bundle, &pins);
    assert_eq!(report.verdict(), Verdict::Verified);
    assert!(report.warnings().iter().any(|warning| warning.contains(ABROAD)), "{:?}", report.warnings());
    let mut silent = bundle;
    silent["unanswered"] = json!([]);
    assert_eq!(reason(&judged(&silent, &pins)), Some("imports"));
    Ok(())
}

/// Every place in a document that holds a text or a number, and every list and object.
fn places(value: &Value, at: &str, leaves: &mut Vec<String>, lists: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                leaves.push(format!("{at}/{name}"));
                places(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), leaves, lists);
            }
        }
        Value::Array(items) => {
            lists.push(at.to_owned());
            items.iter().enumerate().for_each(|(place, item)| places(item, &format!("{at}/{place}"), leaves, lists));
        }
        Value::String(_) | Value::Number(_) => leaves.push(at.to_owned()),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The same text with another character at `seed`.
fn another(text: &str, seed: usize) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    if characters.is_empty() {
        return "B".to_owned();
    }
    // The last character of base64url may carry unused bits: it is left alone.
    let at = seed % characters.len().saturating_sub(1).max(1);
    characters[at] = if characters[at] == 'B' { 'C' } else { 'B' };
    characters.into_iter().collect()
}

/// One mutation: what was done, and the bundle with it.
fn mutations(bundle: &Value) -> Vec<(String, Value)> {
    let (mut leaves, mut lists) = (Vec::new(), Vec::new());
    places(bundle, "", &mut leaves, &mut lists);
    let mut made = Vec::new();
    for (round, at) in (0..4).flat_map(|round| leaves.iter().map(move |at| (round, at))) {
        let mut file = bundle.clone();
        let Some(leaf) = file.pointer_mut(at) else { continue };
        *leaf = match &*leaf {
            Value::String(text) => json!(another(text, round * 31 + at.len())),
            Value::Number(number) => json!(number.as_u64().unwrap() + 1 + round as u64),
            // An object's member goes as a whole, once.
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) if round == 0 => Value::Null,
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => continue,
        };
        made.push((format!("{at} changed"), file));
    }
    for at in &lists {
        let items = bundle.pointer(at).unwrap().as_array().unwrap().len();
        for place in 0..items {
            let mut file = bundle.clone();
            file.pointer_mut(at).unwrap().as_array_mut().unwrap().remove(place);
            made.push((format!("{at}/{place} left out"), file));
            let mut file = bundle.clone();
            let list = file.pointer_mut(at).unwrap().as_array_mut().unwrap();
            list.push(list[place].clone());
            made.push((format!("{at}/{place} twice"), file));
        }
    }
    made
}

/// What nobody signs and nothing rests on.
fn says_nothing(what: &str) -> bool {
    let public = what.starts_with("/cells/") && what.contains("/publicUrl");
    let status = what.starts_with("/consents/") && what.contains("/status");
    // The key is in its certificate as well, and that is what counts.
    let repeated = what.starts_with("/cells/") && what.contains("/jwks/") && !what.contains("/x5c");
    // The keys of consents are known by their thumbprints, the file's own or a reader's.
    let fewer = what == "/cosigned/0 left out" || what == "/cosigned/0 twice";
    public || status || repeated || fewer || what.starts_with("/unanswered") || what == "/imports/0 twice"
}

fn reason(report: &Report) -> Option<&'static str> {
    report.problems().first().map(|problem| problem.what)
}

/// What a change there must be called: the reasons that fit the place.
fn fitting(what: &str) -> &'static [&'static str] {
    let fits: &[(&str, &[&str])] = &[
        ("/type", &["type"]),
        ("/session", &["selection", "entry"]),
        ("/cell ", &["cell", "entry", "checkpoint", "selection"]),
        ("/claim", &["claim"]),
        ("/entries", &["entry", "shape", "completeness", "root", "inclusion", "consent", "imports"]),
        ("/consents", &["consent", "shape"]),
        ("/checkpoint", &["checkpoint", "completeness", "root"]),
        ("/cosigned", &["cosignature", "shape"]),
        ("/inclusion", &["inclusion"]),
        ("/completeness", &["completeness", "root"]),
        ("/imports", &["imports", "shape"]),
        ("/undelivered", &["imports"]),
        ("/revocations", &["revocation", "shape"]),
        ("/cells", &["claim", "cell", "cell key", "checkpoint", "consent", "cosignature", "imports", "shape"]),
    ];
    fits.iter().find(|(place, _)| what.starts_with(place)).map_or(&[], |(_, reasons)| reasons)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_mutations_are_refused_each_for_what_it_is() -> Result<(), Failure> {
    let net = topology().start().await?;
    let pins = pins(&net);
    deal_without_money(&net).await?;
    let session = struck(&net).await?;
    deal_without_money(&net).await?;
    let bundle = cosigned(&net, session).await?;
    let report = judged(&bundle, &pins);
    assert_eq!(report.verdict(), Verdict::Verified, "{:?}", report.problems());
    assert_eq!(report.cosigners().keys().map(ToString::to_string).collect::<Vec<_>>(), [ABROAD]);
    assert!(length(&bundle["completeness"], "others") > 0, "others' leaves stand between");
    let made: Vec<_> = mutations(&bundle).into_iter().filter(|(what, _)| !says_nothing(what)).collect();
    assert!(made.len() >= 1000, "{} mutations", made.len());
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (what, file) in &made {
        let report = judged(file, &pins);
        match reason(&report) {
            Some(why) if fitting(what).contains(&why) => *reasons.entry(why).or_default() += 1,
            found => wrong.push(format!("{what}: {found:?} {:?}", report.problems().first())),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), made.len(), wrong.join("\n"));
    assert!(reasons.len() >= 8, "{reasons:?}");
    Ok(())
}
