//! Disputes between running cells: opened by agents, decided by both cells or by their operators, verified off line.
//! docs/spec/details.md section 6, docs/spec/protocol.md section 6.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::time::Duration;

use asp_cell::engine::Operation;
use asp_cell::engine::clock::{Clock as _, SystemClock};
use asp_cell::protocol::dispute::EscrowTo;
use asp_cell::protocol::ids::{CommitmentId, DisputeId, SessionId};
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::time::Span;
use asp_cell::protocol::transcript::{Pins, Report, Verdict, verify_bytes};
use asp_cell::protocol::trust::evidence;
use asp_cell::protocol::verdict::Ruling;
use asp_cell::testkit::beside::salted;
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation, Topology};
use deal::{SOON, in_days, say};
use serde_json::{Value, json};
use uuid::Uuid;

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const OTHER: &str = "agent://beta.example/other";
const HOME: &str = "eu-west-1";
const ABROAD: &str = "us-east-1";
const CLASSES: [&str; 5] = ["card", "content", "dispute", "metadata", "trust"];

fn one_cell() -> Topology {
    let net = Topology::new().cell(HOME, "eu-west-1", "EEA").org("acme.example", HOME).org("beta.example", HOME);
    net.agent(BUYER).agent(SELLER).agent(OTHER)
}

fn two_cells(classes: &[&str]) -> Topology {
    let net = Topology::new().cell(HOME, "eu-west-1", "EEA").cell(ABROAD, "us-east-1", "US");
    let net = net.org("acme.example", HOME).org("beta.example", ABROAD).agent(BUYER).agent(SELLER).agent(OTHER);
    net.consent(ConsentSpec::between("acme.example", "beta.example").classes(classes))
}

fn soon(seconds: i64) -> Value {
    json!(SystemClock.now() + Span::seconds(seconds))
}

/// A deal of which only the delivery is promised: EXECUTING.
async fn promised(buyer: &Agent, seller: &Agent, deadline: Value) -> Result<(SessionId, Draft, CommitmentId), Failure> {
    let session = deal::open(buyer, &[seller]).await?;
    let offer = Draft::new(P::Propose).terms(json!({"amount": "90.00", "currency": "USD"}));
    say(seller, &[buyer], session, &offer).await?;
    say(buyer, &[seller], session, &Draft::new(P::Accept).about(offer.id())).await?;
    let delivery = CommitmentId(Uuid::now_v7());
    let terms = json!({"commitmentId": delivery, "kind": "delivery", "beneficiary": buyer.seat(session).await?,
        "deadline": deadline});
    say(seller, &[buyer], session, &Draft::new(P::Commit).about(offer.id()).terms(terms)).await?;
    Ok((session, offer, delivery))
}

/// The same with its money in escrow.
async fn paid(net: &Federation, buyer: &Agent, seller: &Agent) -> Result<(SessionId, CommitmentId), Failure> {
    let (amount, currency) = ("100.00".to_owned(), "USD".to_owned());
    let deposit = Operation::LedgerDeposit { org: "acme.example".parse().unwrap(), amount, currency, reference: None };
    net.cell(HOME)?.operate(deposit).await?;
    let (session, offer, delivery) = promised(buyer, seller, json!(in_days(3))).await?;
    let terms = json!({"commitmentId": CommitmentId(Uuid::now_v7()), "kind": "payment", "escrow": true,
        "beneficiary": seller.seat(session).await?, "deadline": in_days(3), "amount": "90.00", "currency": "USD",
        "dependsOn": delivery});
    say(buyer, &[seller], session, &Draft::new(P::Commit).about(offer.id()).terms(terms)).await?;
    Ok((session, delivery))
}

fn filed(commitment: CommitmentId, kind: &str) -> Value {
    salted(json!({"disputeId": DisputeId(Uuid::now_v7()), "commitmentId": commitment, "references": [commitment],
        "evidence": [{"type": "photo", "uri": "urn:photo:1", "sha256": "ssmu0nVUdBqLZ8dDuriVZm1nqZzgY7PA9eCF__j1X-4"}],
        "claim": {"kind": kind, "text": "Nothing that was promised"}, "requestedResolution": {"escrow": "payer"}}))
}

async fn shown(agent: &Agent, session: SessionId, id: &Value) -> Result<Value, Failure> {
    agent.get(&format!("/v1/asp/sessions/{session}/disputes/{}", id.as_str().unwrap()), "").await
}

/// The dispute, as soon as this agent's cell shows it in this status.
async fn in_status(agent: &Agent, session: SessionId, id: &Value, status: &str) -> Result<Value, Failure> {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let last = shown(agent, session, id).await;
        if let Ok(dispute) = &last
            && dispute["status"] == status
        {
            return last;
        }
        assert!(tokio::time::Instant::now() < end, "{status} at {}: {last:?}", agent.id());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

fn resolution(id: &Value, outcome: Ruling, severity: Option<u64>, escrow: Option<EscrowTo>) -> Operation {
    let dispute = id.as_str().unwrap().parse().unwrap();
    Operation::DisputeResolve { dispute, outcome, severity, escrow, payee_amount: None, reason: "seen".into() }
}

fn commitment(session: &Value, index: usize) -> (&str, &str) {
    let shown = &session["commitments"][index];
    (shown["status"].as_str().unwrap(), shown["escrow"]["state"].as_str().unwrap_or("none"))
}

fn verified(pack: &Value) -> Report {
    verify_bytes(pack.to_string().as_bytes(), &Pins::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_fulfilment_freezes_its_money_until_an_operator_decides() -> Result<(), Failure> {
    let net = one_cell().start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    for (ruling, escrow, expected) in [
        (Ruling::Resolved, Some(EscrowTo::Payer), [("breached", "none"), ("withdrawn", "refunded")]),
        (Ruling::Resolved, Some(EscrowTo::Payee), [("breached", "none"), ("settled", "released")]),
        (Ruling::Dismissed, None, [("settled", "none"), ("settled", "released")]),
    ] {
        let (session, delivery) = paid(&net, &buyer, &seller).await?;
        let shipped = Draft::new(P::Fulfill).terms(json!({"commitmentId": delivery}));
        say(&seller, &[&buyer], session, &shipped).await?;
        let reject = Draft::new(P::Reject).about(shipped.id());
        let answer = say(&buyer, &[&seller], session, &reject).await?.0.body;
        let id = json!(reject.id());
        assert_eq!(answer["disputeId"], id);
        let seen = buyer.session(session).await?;
        assert_eq!(seen["disputes"], json!([id]));
        assert_eq!([commitment(&seen, 0), commitment(&seen, 1)], [("contested", "none"), ("escrowed", "frozen")]);
        let dispute = shown(&seller, session, &id).await?;
        assert_eq!((&dispute["status"], &dispute["claim"]["kind"]), (&json!("escalated"), &json!("other")));
        let listed = net.cell(HOME)?.operate(Operation::DisputeList).await?;
        assert_eq!(listed["disputes"][0]["disputeId"], id);

        net.cell(HOME)?.operate(resolution(&id, ruling, None, escrow)).await?;
        let seen = seller.session(session).await?;
        assert_eq!([commitment(&seen, 0), commitment(&seen, 1)], expected);
        let last = buyer.messages(session, 0).await?.pop().unwrap();
        assert_eq!(last["terms"], json!({"event": "disputeDecided", "commitmentId": delivery, "cause": id}));
        let again = net.cell(HOME)?.operate(resolution(&id, Ruling::Dismissed, None, None)).await.unwrap_err();
        assert_eq!(again.code(), "state_violation");
        let transcript = buyer.transcript(session).await?;
        let report = verified(&transcript);
        assert_eq!(report.verdict(), Verdict::Verified, "{:?}", report.problems());
    }
    Ok(())
}

/// After deadline and grace nothing came: both cells derive it.
async fn not_delivered(net: &Federation) -> Result<(), Failure> {
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (session, _, delivery) = promised(&buyer, &seller, json!(in_days(3))).await?;
    let early = buyer.dispute(session, &filed(delivery, "nonDelivery")).await?;
    assert_eq!(early.status, 201, "{}", early.body);
    in_status(&seller, session, &early.body["disputeId"], "dismissed").await?;

    let (session, _, delivery) = promised(&buyer, &seller, soon(2)).await?;
    let missed = |seen: &Value| commitment(seen, 0).0 == "breached";
    buyer.await_session(session, SOON, missed).await?;
    let body = filed(delivery, "nonDelivery");
    let opened = buyer.dispute(session, &body).await?;
    assert_eq!(opened.status, 201, "{}", opened.body);
    let id = &opened.body["disputeId"];
    for agent in [&buyer, &seller] {
        let dispute = in_status(agent, session, id, "resolved").await?;
        assert_eq!((&dispute["severity"], &dispute["escrow"]), (&json!(3), &json!("payer")), "{dispute}");
        assert_eq!(dispute["claim"]["text"], "Nothing that was promised");
        assert_eq!(dispute["evidence"][0]["type"], "photo");
        assert_eq!(dispute["openedBy"], json!(buyer.seat(session).await?));
        assert_eq!(dispute["against"], json!(seller.seat(session).await?));
        let seen = agent.await_session(session, SOON, |seen| seen["commitments"][0]["breach"]["severity"] == 3).await?;
        assert_eq!(commitment(&seen, 0).0, "breached");
    }
    let again = buyer.dispute(session, &body).await?;
    assert_eq!((again.status, again.replayed), (201, true));
    let second = buyer.dispute(session, &filed(delivery, "other")).await?;
    assert_eq!((second.status, &second.body["code"]), (409, &json!("duplicate")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_chain_tells_is_decided_at_once_in_one_cell() -> Result<(), Failure> {
    not_delivered(&one_cell().variable("ASP_CELL__LIMITS__GRACE", "PT1S").start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_chain_tells_is_decided_by_both_cells() -> Result<(), Failure> {
    not_delivered(&two_cells(&CLASSES).variable("ASP_CELL__LIMITS__GRACE", "PT1S").start().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_of_both_cells_decide_and_the_pack_verifies_off_line() -> Result<(), Failure> {
    let net = two_cells(&CLASSES).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (session, _, delivery) = promised(&buyer, &seller, json!(in_days(3))).await?;
    // The member's agent opens it: its host says where it stands.
    let opened = seller.dispute(session, &filed(delivery, "terms")).await?;
    assert_eq!((opened.status, &opened.body["status"]), (201, &json!("escalated")), "{}", opened.body);
    let id = opened.body["disputeId"].clone();
    in_status(&buyer, session, &id, "escalated").await?;
    let seat = buyer.seat(session).await?;
    assert_eq!(opened.body["against"], json!(seat), "the obligor disputes with its beneficiary");

    let (home, abroad) = (net.cell(HOME)?, net.cell(ABROAD)?);
    home.operate(resolution(&id, Ruling::Dismissed, None, None)).await?;
    abroad.operate(resolution(&id, Ruling::Resolved, Some(6), None)).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(shown(&buyer, session, &id).await?["status"], "escalated", "they differ");
    home.operate(resolution(&id, Ruling::Resolved, Some(6), None)).await?;
    for agent in [&buyer, &seller] {
        let dispute = in_status(agent, session, &id, "resolved").await?;
        assert_eq!(dispute["severity"], 6);
        assert_eq!(dispute["verdicts"].as_array().unwrap().len(), 3, "{dispute}");
    }
    // The claim was the obligor's: the penalty is its beneficiary's, in every cell that has the session.
    for cell in [home, abroad] {
        let trust = cell.operate(Operation::TrustShow { agent: BUYER.parse().unwrap() }).await?;
        let facts = trust["facts"].as_array().unwrap();
        let fines: Vec<&Value> = facts.iter().filter(|fact| fact["fact"]["fined"] == 6).collect();
        assert_eq!(fines.len(), 1, "{trust}");
        let pack = cell.operate(Operation::DisputePack { dispute: id.as_str().unwrap().parse().unwrap() }).await?;
        let report = verified(&pack);
        assert_eq!(report.verdict(), Verdict::Verified, "{:?}", report.problems());
        let replayed = report.warnings().iter().filter(|warning| warning.contains("record")).count();
        assert_eq!(replayed, 0, "{:?}", report.warnings());
        for (place, value) in [
            ("/transcript/disputes/0/verdicts/0/outcome", json!("escalated")),
            ("/transcript/disputes/0/verdicts/2/severity", json!(1)),
            ("/transcript/disputes/0/status", json!("dismissed")),
            ("/transcript/disputes/0/severity", json!(1)),
            ("/transcript/disputes/0/evidence/0/type", json!("video")),
            ("/transcript/disputes/0/commitmentId", json!(DisputeId(Uuid::now_v7()))),
            ("/transcript/disputes/0/claim/text", json!("Something else")),
            ("/transcript/disputes/0/parts/claim/value", json!("Something else")),
            ("/transcript/disputes/0/openedBy", json!(seat)),
            ("/disputeId", json!(DisputeId(Uuid::now_v7()))),
        ] {
            let mut mutated = pack.clone();
            *mutated.pointer_mut(place).unwrap_or_else(|| panic!("{place}: {pack}")) = value;
            assert_eq!(verified(&mutated).verdict(), Verdict::Corrupt, "{place}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_a_decision_stands_beside_the_sealed_chain() -> Result<(), Failure> {
    let net = two_cells(&CLASSES).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (session, _, delivery) = promised(&buyer, &seller, json!(in_days(3))).await?;
    let shipped = Draft::new(P::Fulfill).terms(json!({"commitmentId": delivery}));
    say(&seller, &[&buyer], session, &shipped).await?;
    say(&buyer, &[&seller], session, &Draft::new(P::Accept).about(shipped.id())).await?;
    say(&buyer, &[&seller], session, &Draft::new(P::Close).terms(json!({"outcome": "success"}))).await?;
    let head = seller.head(session).await?;
    let opened = buyer.dispute(session, &filed(delivery, "evidence")).await?;
    assert_eq!((opened.status, &opened.body["status"]), (201, &json!("escalated")));
    let id = opened.body["disputeId"].clone();
    in_status(&seller, session, &id, "escalated").await?;
    for cell in [ABROAD, HOME] {
        net.cell(cell)?.operate(resolution(&id, Ruling::Resolved, Some(9), None)).await?;
    }
    for agent in [&buyer, &seller] {
        in_status(agent, session, &id, "resolved").await?;
        let seen = agent.session(session).await?;
        assert_eq!((commitment(&seen, 0).0, &seen["commitments"][0]["breach"]["severity"]), ("breached", &json!(9)));
        assert_eq!(agent.head(session).await?, head, "a sealed head never changes");
    }
    // The session was a success; now that the breach is known it is none, and the newest outcomes bear that out.
    for (cell, agent) in [(HOME, BUYER), (ABROAD, SELLER)] {
        let file = net.cell(cell)?.operate(Operation::TrustShow { agent: agent.parse().unwrap() }).await?;
        let report = evidence::verify_bytes(file.to_string().as_bytes(), &Pins::default());
        assert_eq!(report.verdict(), Verdict::Verified, "{agent}: {}", report.to_json());
        let facts: Vec<&Value> = file["facts"].as_array().unwrap().iter().map(|row| &row["fact"]).collect();
        let changed = facts.iter().any(|fact| **fact == json!({"recounted": -1.0}));
        assert!(changed, "{agent}: {facts:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn time_dismisses_what_nobody_decides_and_frees_the_money() -> Result<(), Failure> {
    let net = one_cell().variable("ASP_CELL__LIMITS__DISPUTE_WINDOW", "PT2S").start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (session, delivery) = paid(&net, &buyer, &seller).await?;
    let opened = buyer.dispute(session, &filed(delivery, "other")).await?;
    assert_eq!(opened.status, 201, "{}", opened.body);
    assert_eq!(commitment(&buyer.session(session).await?, 1), ("escrowed", "frozen"));
    in_status(&seller, session, &opened.body["disputeId"], "dismissed").await?;
    assert_eq!(commitment(&buyer.session(session).await?, 1), ("escrowed", "held"));

    // Closed by the operator while contested: the decision frees it after the end.
    let (session, delivery) = paid(&net, &buyer, &seller).await?;
    let shipped = Draft::new(P::Fulfill).terms(json!({"commitmentId": delivery}));
    say(&seller, &[&buyer], session, &shipped).await?;
    let reject = Draft::new(P::Reject).about(shipped.id());
    say(&buyer, &[&seller], session, &reject).await?;
    say(&buyer, &[&seller], session, &Draft::new(P::Escalate).terms(json!({"reason": "stuck"}))).await?;
    let resolution = asp_cell::engine::operation::Resolution::Close("failure".into());
    let close = Operation::SessionResolve { session, resolution, reason: "stuck".into() };
    net.cell(HOME)?.operate(close).await?;
    in_status(&seller, session, &json!(reject.id()), "dismissed").await?;
    let seen = buyer.session(session).await?;
    assert_eq!((&seen["state"], commitment(&seen, 1)), (&json!("CLOSED"), ("settled", "released")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_cells_without_the_consent_open_none() -> Result<(), Failure> {
    let net = two_cells(&["card", "content", "metadata", "trust"]).start().await?;
    let (buyer, seller, other) = (net.agent(BUYER)?, net.agent(SELLER)?, net.agent(OTHER)?);
    let (session, _, delivery) = promised(&buyer, &seller, json!(in_days(3))).await?;
    for agent in [&buyer, &seller] {
        let refused = agent.dispute(session, &filed(delivery, "terms")).await?;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("consent_missing")), "{}", refused.body);
        assert_eq!(refused.body["needed"]["class"], "dispute");
    }
    let path = format!("/v1/asp/sessions/{session}/disputes");
    let request = other.request(reqwest::Method::POST, &path, Some(asp_cell::crypto::digest::Digest::default()));
    let answer = asp_cell::testkit::agent::answer(request.json(&filed(delivery, "terms"))).await?;
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("not_found")));
    let refused = shown(&buyer, session, &json!(DisputeId(Uuid::now_v7()))).await.unwrap_err();
    assert_eq!(refused.code(), "not_found");
    Ok(())
}

/// The balance of an account, as soon as it is this.
async fn comes_to(net: &Federation, cell: &str, account: &str, wanted: &str) -> Result<(), Failure> {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let ledger = net.cell(cell)?.operate(Operation::LedgerShow { org: None }).await?;
        let found = ledger["accounts"].as_array().unwrap().iter().find(|row| row["account"] == account);
        let balance = found.map_or("0.00", |row| row["balance"].as_str().unwrap());
        if balance == wanted {
            assert!(ledger["sums"].as_object().unwrap().values().all(|sum| sum == "0.00"), "{ledger}");
            return Ok(());
        }
        assert!(tokio::time::Instant::now() < end, "{account}: {balance}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn across_a_border_the_frozen_money_goes_where_both_operators_say() -> Result<(), Failure> {
    let net = two_cells(&CLASSES).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let (mut left, mut credited) = (0, 0);
    for (escrow, share, payee, after_the_end) in [
        (EscrowTo::Payer, None, 0, false),
        (EscrowTo::Payee, None, 9000, false),
        (EscrowTo::Split, Some("40.00"), 4000, false),
        (EscrowTo::Split, Some("30.00"), 3000, true),
    ] {
        let (session, delivery) = paid(&net, &buyer, &seller).await?;
        left += 10_000;
        let shipped = Draft::new(P::Fulfill).terms(json!({"commitmentId": delivery}));
        say(&seller, &[&buyer], session, &shipped).await?;
        let reject = Draft::new(P::Reject).about(shipped.id());
        say(&buyer, &[&seller], session, &reject).await?;
        let seen = seller.await_session(session, SOON, |seen| seen["commitments"][1]["escrow"]["state"] == "frozen");
        assert_eq!(commitment(&seen.await?, 0).0, "contested");
        if after_the_end {
            say(&buyer, &[&seller], session, &Draft::new(P::Escalate).terms(json!({"reason": "stuck"}))).await?;
            let how = asp_cell::engine::operation::Resolution::Close("failure".into());
            let close = Operation::SessionResolve { session, resolution: how, reason: "stuck".into() };
            net.cell(HOME)?.operate(close).await?;
            seller.await_state(session, "CLOSED", SOON).await?;
        }
        for cell in [HOME, ABROAD] {
            net.cell(cell)?
                .operate(Operation::DisputeResolve {
                    dispute: DisputeId(reject.id().0),
                    outcome: Ruling::Resolved,
                    severity: None,
                    escrow: Some(escrow),
                    payee_amount: share.map(str::to_owned),
                    reason: "heard both".into(),
                })
                .await?;
        }
        in_status(&seller, session, &json!(reject.id()), "resolved").await?;
        left -= payee;
        credited += payee;
        let amount = |minor: i64| format!("{}.{:02}", minor / 100, minor % 100);
        comes_to(&net, HOME, "org:acme.example:available:USD", &amount(left)).await?;
        comes_to(&net, ABROAD, "org:beta.example:available:USD", &amount(credited)).await?;
    }
    Ok(())
}
