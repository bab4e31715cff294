//! A revoked consent ends at once: here before the command returns, at the other cell before anything else is said, or
//! nothing is said at all. docs/spec/federation.md section 2.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::time::Duration;

use asp_cell::engine::Operation;
use asp_cell::protocol::ids::{ConsentId, OrgName};
use asp_cell::protocol::performative::Performative as P;
use asp_cell::testkit::{ConsentSpec, Draft, Failure, Federation, Topology};
use deal::SOON;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const OTHER: &str = "agent://gamma.example/sales";
const HOME: &str = "eu-west-1";
const ABROAD: &str = "us-east-1";
const QUEUED: usize = 60;

async fn start() -> Result<Federation, Failure> {
    Topology::new()
        .cell(HOME, "eu-west-1", "EEA")
        .cell(ABROAD, "us-east-1", "US")
        .org("acme.example", HOME)
        .org("beta.example", ABROAD)
        .org("gamma.example", ABROAD)
        .agent(BUYER)
        .agent(SELLER)
        .agent(OTHER)
        .consent(ConsentSpec::between("acme.example", "beta.example"))
        .consent(ConsentSpec::between("acme.example", "gamma.example"))
        .variable("ASP_CELL__LIMITS__PLACEMENT_TIMEOUT", "PT1S")
        .start()
        .await
}

fn acme() -> OrgName {
    "acme.example".parse().unwrap()
}

fn said(n: usize) -> Draft {
    Draft::new(P::Inform).content(json!({"text": format!("line {n}")}))
}

/// The consent of acme with `other`, and its status in a cell.
async fn consent(net: &Federation, cell: &str, other: &str) -> Result<(ConsentId, String), Failure> {
    let listed = net.cell(cell)?.operate(Operation::ConsentList).await?;
    let all = listed["consents"].as_array().unwrap();
    let found = all.iter().find(|consent| consent["document"].to_string().contains(other)).unwrap();
    let id = found["document"]["consentId"].as_str().unwrap().parse().unwrap();
    Ok((id, found["status"].as_str().unwrap().to_owned()))
}

async fn letters(net: &Federation) -> Result<Vec<Value>, Failure> {
    let listed = net.cell(HOME)?.operate(Operation::DlqList { peer: None }).await?;
    Ok(listed["letters"].as_array().unwrap().clone())
}

async fn until_revoked(net: &Federation, within: Duration) -> Result<(), Failure> {
    let end = Instant::now() + within;
    while consent(net, ABROAD, "beta.example").await?.1 != "revoked" {
        assert!(Instant::now() < end, "the other cell has not heard of the revocation in {within:?}");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The line swallows everything, the revoker cannot know what arrives: when the command returns the link is closed,
/// what waited is dead, and when the line is back the revocation comes before what others have queued meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_over_a_dead_line_closes_the_link_and_goes_first_when_it_is_back() -> Result<(), Failure> {
    let net = start().await?;
    let (buyer, seller, other) = (net.agent(BUYER)?, net.agent(SELLER)?, net.agent(OTHER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let beside = deal::open(&buyer, &[&other]).await?;
    let before = net.heads_equal(session, &[&buyer, &seller], 1, SOON).await?;
    net.heads_equal(beside, &[&buyer, &other], 1, SOON).await?;
    net.cut(HOME, ABROAD)?;
    for n in 0..QUEUED {
        buyer.send(session, &said(n)).await?.placed()?;
    }
    buyer.send(beside, &said(0)).await?.placed()?;

    let (id, _) = consent(&net, HOME, "beta.example").await?;
    net.cell(HOME)?.operate(Operation::ConsentRevoke { consent: id, org: acme(), reason: None }).await?;
    assert_eq!(buyer.session(session).await?["state"], "ESCALATED");
    let dead = letters(&net).await?;
    let of_it: Vec<_> = dead.iter().filter(|letter| letter["sessionId"] == json!(session)).collect();
    assert!(of_it.len() >= QUEUED, "{} of {QUEUED} are dead letters", of_it.len());
    assert!(of_it.iter().all(|letter| letter["problem"]["code"] == "consent_revoked"), "{of_it:?}");
    assert!(dead.iter().all(|letter| letter["sessionId"] != json!(beside)), "others are not concerned");
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let peers = net.cell(HOME)?.operate(Operation::PeerList).await?;
        if peers["peers"][0]["state"] != "connected" {
            break;
        }
        assert!(Instant::now() < end, "the link to it is closed within 5 s: {peers}");
        sleep(Duration::from_millis(20)).await;
    }

    net.heal(HOME, ABROAD)?;
    seller.await_state(session, "ESCALATED", Duration::from_secs(20)).await?;
    until_revoked(&net, Duration::from_secs(1)).await?;
    assert_eq!(seller.head(session).await?, before, "not one record crossed after the cut");
    net.heads_equal(beside, &[&buyer, &other], 3, SOON).await?;
    Ok(())
}

/// With the line up and busy it takes the time of one new link.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_under_load_is_known_to_both_within_5_s_and_others_go_on() -> Result<(), Failure> {
    let net = start().await?;
    let (buyer, seller, other) = (net.agent(BUYER)?, net.agent(SELLER)?, net.agent(OTHER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let beside = deal::open(&buyer, &[&other]).await?;
    let (id, _) = consent(&net, HOME, "beta.example").await?;
    let load = tokio::spawn({
        let buyer = buyer.clone();
        async move {
            let mut count = 0;
            while buyer.send(session, &said(count)).await.is_ok() {
                count += 1;
            }
            count
        }
    });
    buyer.await_session(session, SOON, |shown| shown["head"]["sequence"].as_u64() > Some(30)).await?;
    net.cell(HOME)?.operate(Operation::ConsentRevoke { consent: id, org: acme(), reason: None }).await?;
    until_revoked(&net, Duration::from_secs(5)).await?;
    assert!(load.await.unwrap() > 20, "it was refused in the end, and spoke until then");
    for agent in [&buyer, &seller] {
        agent.await_state(session, "ESCALATED", SOON).await?;
    }
    net.linked(HOME, ABROAD, SOON).await?;
    deal::say(&buyer, &[&other], beside, &said(1)).await?;
    deal::say(&other, &[&buyer], beside, &said(2)).await?;
    let told = letters(&net).await?;
    assert!(told.iter().all(|letter| letter["sessionId"] == json!(session)), "{told:?}");
    Ok(())
}
