//! Trust as agents and operators meet it: what a level lets an agent do, what a deal teaches both cells, who may vouch
//! for whom, and a score that a stranger computes again. docs/spec/details.md section 5.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::time::Duration;

use asp_cell::crypto::digest::{Digest, from_base64url};
use asp_cell::crypto::es256::SigningKey;
use asp_cell::crypto::jws::{self, Kind};
use asp_cell::engine::Operation;
use asp_cell::engine::operation::Assigned;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::transcript::{Pins, Verdict};
use asp_cell::protocol::trust::evidence;
use asp_cell::testkit::agent::answer;
use asp_cell::testkit::search::files;
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation, Invitation, Topology, history};
use deal::SOON;
use reqwest::Method;
use serde_json::{Value, json};

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const CLERK: &str = "agent://acme.example/clerk";
const HOST: &str = "eu-west-1";
const MEMBER: &str = "us-east-1";

fn two_cells() -> Topology {
    Topology::new()
        .cell(HOST, "eu-west-1", "EEA")
        .cell(MEMBER, "us-east-1", "US")
        .org("acme.example", HOST)
        .org("beta.example", MEMBER)
        .funds("acme.example", "5000.00", "USD")
        .consent(ConsentSpec::between("acme.example", "beta.example"))
}

fn path_of(agent: &str) -> String {
    format!("/v1/asp/trust/{}", agent.replace(':', "%3A").replace('/', "%2F"))
}

async fn trust(asker: &Agent, about: &str) -> Result<Value, Failure> {
    asker.get(&path_of(about), "").await
}

async fn endorse(by: &Agent, of: &str, rating: u8) -> Result<Value, Failure> {
    let path = format!("{}/endorsements", path_of(of));
    Ok(answer(by.request(Method::POST, &path, None).json(&json!({"rating": rating}))).await?.accepted()?.body)
}

async fn shown(net: &Federation, cell: &str, agent: &str) -> Result<Value, Failure> {
    net.cell(cell)?.operate(Operation::TrustShow { agent: agent.parse().unwrap() }).await
}

fn offer(amount: &str) -> Draft {
    Draft::new(P::Propose).terms(json!({"amount": amount, "currency": "USD"}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_may_do_little_and_is_told_how_much() -> Result<(), Failure> {
    let net = two_cells().newcomer(BUYER).agent(SELLER).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let dear = Invitation::new([seller.id().clone()], "Restock")
        .constraints(json!({"maxTransactionValue": {"amount": "100.01", "currency": "USD"}}));
    let refused = buyer.invite(&dear).await.unwrap_err();
    assert_eq!(refused.code(), "ceiling_exceeded");
    let session = deal::open(&buyer, &[&seller]).await?;
    let refused = buyer.send(session, &offer("100.01")).await.unwrap_err();
    assert_eq!(refused.code(), "ceiling_exceeded");
    let Failure::Refused(problem) = &refused else { panic!("{refused}") };
    let you = buyer.seat(session).await?.to_string();
    assert_eq!((&problem.0["ceiling"], &problem.0["whose"]), (&json!("100"), &json!(you)));
    assert_eq!(problem.0["wouldBe"], "100.01");
    deal::say(&buyer, &[&seller], session, &offer("100.00")).await?;
    // The lower of the two: the seller's own level would allow more.
    assert_eq!(seller.send(session, &offer("150.00")).await.unwrap_err().code(), "ceiling_exceeded");

    for _ in 0..2 {
        deal::open(&buyer, &[&seller]).await?;
    }
    let refused = buyer.invite(&Invitation::new([seller.id().clone()], "Restock")).await.unwrap_err();
    assert_eq!(refused.code(), "session_quota_exceeded");
    let Failure::Refused(problem) = &refused else { panic!("{refused}") };
    assert_eq!((&problem.0["limit"], &problem.0["used"]), (&json!(3), &json!(3)));
    assert!(problem.0["resetAt"].is_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_came_to_nothing_is_not_counted() -> Result<(), Failure> {
    let net = two_cells().newcomer(BUYER).agent(SELLER).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    for _ in 0..5 {
        let session = buyer.invite(&Invitation::new([seller.id().clone()], "Restock")).await?;
        seller.await_session(session, SOON, |shown| shown["asks"].is_string()).await?;
        seller.decline(session, None).await?.placed()?;
        buyer.await_state(session, "FAILED", SOON).await?;
    }
    deal::open(&buyer, &[&seller]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deal_teaches_both_cells_and_anyone_can_compute_the_score_again() -> Result<(), Failure> {
    let net = two_cells().agent(BUYER).agent(SELLER).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let before = trust(&seller, SELLER).await?;
    assert_eq!(before["imported"], true);
    let session = deal::open(&buyer, &[&seller]).await?;
    let agreed = deal::agree(&buyer, &seller, &[], session).await?;
    deal::execute(&buyer, &seller, &[], session, &agreed).await?;

    let after = trust(&seller, SELLER).await?;
    let history = |shown: &Value| shown["components"]["CH"].as_f64().unwrap();
    assert!(history(&after) > history(&before), "{before} to {after}");
    let signature = after["signature"].as_str().unwrap();
    assert_eq!(signature.split('.').count(), 3);
    assert_ne!(after["outcomes"], before["outcomes"]);

    // Each cell has its own outcome and the other's, the same story.
    let end = tokio::time::Instant::now() + SOON;
    for agent in [&buyer, &seller] {
        loop {
            let transcript = agent.transcript(session).await?;
            if transcript["outcome"].as_array().unwrap().len() == 2 {
                let report = asp_cell::protocol::transcript::verify(&transcript, &Pins::default());
                assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
                break;
            }
            assert!(tokio::time::Instant::now() < end, "{} waits for the other cell's outcome", agent.id());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    // The facts give the score, also to a stranger; another fact does not.
    let file = shown(&net, MEMBER, SELLER).await?;
    let report = evidence::verify_bytes(file.to_string().as_bytes(), &Pins::default());
    assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
    let facts = file["facts"].as_array().unwrap();
    let of_kind = |kind: &str| facts.iter().filter(|row| row["fact"].get(kind).is_some()).count();
    assert_eq!((of_kind("decided"), of_kind("closed"), of_kind("rated"), of_kind("imported")), (1, 1, 1, 1));
    for (pointer, other) in [
        ("/score", json!(99.9)),
        ("/level", json!(4)),
        ("/facts/0/fact/imported/counts/settled", json!(4_000)),
        ("/identityLevel", json!(100)),
        ("/agentId", json!(BUYER)),
        ("/outcomes/0", json!("eyJ.eyJ.eyJ")),
    ] {
        let mut changed = file.clone();
        *changed.pointer_mut(pointer).unwrap() = other;
        let report = evidence::verify_bytes(changed.to_string().as_bytes(), &Pins::default());
        assert_eq!(report.verdict(), Verdict::Corrupt, "{pointer} was changed");
    }
    let mut richer = file.clone();
    let closed = facts.iter().find(|row| row["fact"].get("closed").is_some()).unwrap().clone();
    richer["facts"].as_array_mut().unwrap().push(closed);
    let report = evidence::verify_bytes(richer.to_string().as_bytes(), &Pins::default());
    assert_eq!(report.verdict(), Verdict::Corrupt, "a session counted twice");

    // Nor is what another organisation's agent did in the same deal told as one's own, even if the cell signs it.
    let mut borrowed = file.clone();
    let mut claims: Value = {
        let payload = file["signature"].as_str().unwrap().split('.').nth(1).unwrap();
        serde_json::from_slice(&from_base64url(payload).unwrap()).unwrap()
    };
    (borrowed["agentId"], claims["agentId"]) = (json!(BUYER), json!(BUYER));
    let keys = files(net.dir()).unwrap();
    let key = keys.iter().find(|file| file.ends_with(format!("{MEMBER}-signing.key"))).expect("the signing key's file");
    let key = SigningKey::from_pkcs8_pem(&std::fs::read_to_string(key).unwrap()).unwrap();
    borrowed["signature"] = json!(jws::sign(&key, Kind::Trust, &claims));
    let report = evidence::verify_bytes(borrowed.to_string().as_bytes(), &Pins::default());
    assert_eq!(report.verdict(), Verdict::Corrupt, "{}", report.to_json());
    assert!(report.problems()[0].detail.contains("the seat that is counted"), "{}", report.to_json());

    // What the host has seen of the other cell's agent is its own estimate.
    let seen = shown(&net, HOST, SELLER).await?;
    assert_eq!(seen["decided"], 1, "{seen}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_who_dealt_endorse_each_other_across_the_border() -> Result<(), Failure> {
    let net = two_cells().agent(BUYER).agent(SELLER).agent(CLERK).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let stranger = endorse(&buyer, SELLER, 5).await.unwrap_err();
    assert_eq!(stranger.code(), "policy_violation", "no session of the two");
    let session = deal::open(&buyer, &[&seller]).await?;
    let agreed = deal::agree(&buyer, &seller, &[], session).await?;
    deal::execute(&buyer, &seller, &[], session, &agreed).await?;
    assert_eq!(endorse(&buyer, BUYER, 5).await.unwrap_err().code(), "policy_violation");
    assert_eq!(endorse(&buyer, SELLER, 6).await.unwrap_err().code(), "validation_failed");
    let given = endorse(&buyer, SELLER, 5).await?;
    let score = given["score"].as_f64().unwrap();
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let pe = trust(&seller, SELLER).await?["components"]["PE"].as_f64().unwrap();
        if pe > 0.0 {
            assert!((pe - (score * score / 90.0).min(100.0)).abs() < 0.01, "{pe} of {score}");
            break;
        }
        assert!(tokio::time::Instant::now() < end, "the endorsement did not arrive");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A colleague's word counts half, and needs a session too.
    assert_eq!(endorse(&net.agent(CLERK)?, BUYER, 5).await.unwrap_err().code(), "policy_violation");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_vouches_within_bounds() -> Result<(), Failure> {
    let net = two_cells().newcomer(BUYER).newcomer(SELLER).start().await?;
    let assign = |assigned: Assigned| Operation::TrustAssign {
        agent: BUYER.parse().unwrap(),
        assigned,
        reason: "test".to_owned(),
    };
    let cell = net.cell(HOST)?;
    let refused = cell.operate(assign(Assigned::Infrastructure(true))).await.unwrap_err();
    assert_eq!(refused.code(), "policy_violation", "no operator_org is configured");
    let mut perfect = history(BUYER);
    perfect["successes"] = json!(800);
    perfect["closed"] = json!(800);
    perfect["commitments"] = json!({"settled": 800, "breached": 0});
    perfect["ratings"] = json!({"count": 800, "sum": 4_000});
    perfect["responseTimes"] = json!({"count": 50, "mean": 4.0, "deviation": 0.0});
    cell.operate(Operation::OrgVerify {
        org: "acme.example".parse().unwrap(),
        how: asp_cell::engine::operation::Verified::Scim("idp.acme.example".to_owned(), Digest::default()),
    })
    .await?;
    perfect["endorsements"] =
        json!([{"agentId": "agent://gamma.example/a", "organisation": "gamma.example", "rating": 5, "score": 95.0}]);
    let given = cell.operate(assign(Assigned::History(perfect.to_string()))).await?;
    assert_eq!(given["trust"]["components"]["IV"], 100.0);
    assert_eq!(
        (&given["trust"]["score"], &given["trust"]["level"]),
        (&json!(89.99), &json!(3)),
        "never level 4 by itself"
    );
    for (member, wrong) in [
        ("successes", json!(-1)),
        ("agentId", json!(SELLER)),
        ("commitments", json!({"settled": -1, "breached": 0})),
        ("ratings", json!({"count": 2, "sum": 11})),
        ("lambda", json!(-0.5)),
        ("unknown", json!(1)),
    ] {
        let mut facts = history(BUYER);
        facts[member] = wrong;
        let refused = cell.operate(assign(Assigned::History(facts.to_string()))).await.unwrap_err();
        assert_eq!(refused.code(), "validation_failed", "{member}");
    }
    assert_eq!(trust(&net.agent(BUYER)?, BUYER).await?["score"], 89.99, "what was refused changed nothing");
    Ok(())
}
