//! Nothing leaves its region that no consent covers: the other cell's whole directory and all it shows are searched
//! for a canary. docs/spec/federation.md section 2, docs/spec/details.md section 8.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use asp_cell::engine::Operation;
use asp_cell::engine::operation::ConsentTerms;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::time::Span;
use asp_cell::testkit::search::{files_with, text_holds};
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation, Invitation, Topology};
use deal::{ABROAD, BUYER, CANARY, HOME, SELLER, SOON};
use serde_json::json;

fn topology() -> Topology {
    deal::cells().variable("ASP_CELL__LIMITS__PLACEMENT_TIMEOUT", "PT1S")
}

fn invitation(purpose: &str) -> Invitation {
    Invitation::new([SELLER.parse().unwrap()], purpose)
}

fn personal() -> Draft {
    let contact = json!({"name": "Ada Example", "phone": CANARY});
    Draft::new(P::Propose)
        .terms(json!({}))
        .content(json!({"text": "for our contact"}))
        .personal(deal::contact(), contact)
}

fn nowhere_abroad(net: &Federation) -> Result<(), Failure> {
    let found = files_with(net.cell(ABROAD)?.dir(), CANARY.as_bytes()).unwrap();
    assert!(found.is_empty(), "{found:?}");
    Ok(())
}

async fn knows_nothing(seller: &Agent) -> Result<(), Failure> {
    let listed = seller.get("/v1/asp/sessions", "").await?;
    assert_eq!(listed["sessions"], json!([]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_consent_or_beyond_the_policy_nothing_goes() -> Result<(), Failure> {
    let net = topology().start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let refused = buyer.invite(&invitation(CANARY)).await.unwrap_err();
    assert_eq!(refused.code(), "consent_missing");

    // acme's data may not enter the US: its own cell refuses to offer it.
    let terms = ConsentTerms {
        peer_org: "beta.example".parse().unwrap(),
        classes: vec!["metadata".into()],
        purposes: vec!["*".into()],
        outward: true,
        inward: true,
        agents: None,
        basis: Some("SCC".into()),
        retention: None,
        not_before: None,
        not_after: deal::in_days(1),
    };
    let offer = Operation::ConsentOffer { org: "acme.example".parse().unwrap(), terms };
    let refused = net.cell(HOME)?.operate(offer).await.unwrap_err();
    assert_eq!(refused.code(), "residency_violation");
    knows_nothing(&seller).await?;
    nowhere_abroad(&net)
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_parts_are_withheld_and_a_revocation_ends_the_rest() -> Result<(), Failure> {
    let net = topology().consent(ConsentSpec::between("acme.example", "beta.example")).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let placed = deal::say(&buyer, &[&seller], session, &personal()).await?;

    let part = |records: &[serde_json::Value]| {
        let parts = records.last().unwrap()["parts"].as_object().unwrap().clone();
        parts.into_iter().find(|(name, _)| name.starts_with("personal/")).unwrap().1
    };
    let after = placed.sequence() - 1;
    let (here, there) = (buyer.messages(session, after).await?, seller.messages(session, after).await?);
    assert_eq!(part(&here)["value"]["phone"], CANARY, "the canary is there to be found");
    assert_eq!(part(&here)["subjectRef"], deal::CONTACT);
    assert_eq!(part(&there)["status"], "withheld");
    assert!(part(&there).get("subjectRef").is_none());
    assert_eq!(part(&there)["commitment"], part(&here)["commitment"]);
    let transcript = seller.transcript(session).await?.to_string();
    assert!(!text_holds(&transcript, CANARY.as_bytes()) && !transcript.contains(deal::CONTACT));

    let consents = net.cell(HOME)?.operate(Operation::ConsentList).await?;
    let consent = consents["consents"][0]["document"]["consentId"].as_str().unwrap().parse().unwrap();
    let revoke = Operation::ConsentRevoke { consent, org: "acme.example".parse().unwrap(), reason: None };
    net.cell(HOME)?.operate(revoke).await?;
    for agent in [&buyer, &seller] {
        agent.await_state(session, "ESCALATED", SOON).await?;
    }
    let before = seller.head(session).await?;
    let told = Draft::new(P::Inform).content(json!({"phone": CANARY}));
    if let Err(refused) = buyer.send(session, &told).await {
        assert!(["consent_revoked", "state_violation"].contains(&refused.code()), "{refused}");
    }
    let refused = buyer.invite(&invitation(CANARY)).await.unwrap_err();
    assert!(["consent_revoked", "consent_missing"].contains(&refused.code()), "{refused}");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(seller.head(session).await?, before, "no record crossed after the revocation");
    nowhere_abroad(&net)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_zones_personal_data_stays_in_one() -> Result<(), Failure> {
    const THIRD: &str = "ap-northeast-1";
    const BROKER: &str = "agent://gamma.example/broker";
    let pairs =
        [("acme.example", "beta.example"), ("acme.example", "gamma.example"), ("beta.example", "gamma.example")];
    let topology = topology().cell(THIRD, "ap-northeast-1", "JP").org("gamma.example", THIRD).agent(BROKER);
    let consented = pairs.iter().fold(topology, |all, (one, other)| all.consent(ConsentSpec::between(one, other)));
    let mut net = consented.start().await?;
    let (buyer, seller, broker) = (net.agent(BUYER)?, net.agent(SELLER)?, net.agent(BROKER)?);
    let session = deal::open(&buyer, &[&seller, &broker]).await?;
    let placed = deal::say(&buyer, &[&seller, &broker], session, &personal()).await?;
    // The same from a member: its message goes to its host, and by way of it to the third cell.
    let theirs = Draft::new(P::Inform).personal("contact-9".parse().unwrap(), json!({"phone": "canary-of-beta-4711"}));
    let told = deal::say(&seller, &[&buyer, &broker], session, &theirs).await?;
    let phone = |records: &[serde_json::Value]| {
        let parts = records.first().unwrap()["parts"].as_object().unwrap();
        parts.iter().find(|(name, _)| name.starts_with("personal/")).unwrap().1["value"]["phone"].clone()
    };
    assert_eq!(phone(&buyer.messages(session, placed.sequence() - 1).await?), CANARY, "it is there to be found");
    assert_eq!(phone(&seller.messages(session, told.sequence() - 1).await?), "canary-of-beta-4711");
    for cell in [HOME, ABROAD, THIRD] {
        net.stop(cell).await?;
    }
    for (canary, home) in
        [(CANARY, HOME), ("canary-of-beta-4711", ABROAD), (deal::CONTACT, HOME), ("contact-9", ABROAD)]
    {
        for cell in [HOME, ABROAD, THIRD].into_iter().filter(|cell| *cell != home) {
            let found = files_with(net.cell(cell)?.dir(), canary.as_bytes()).unwrap();
            assert!(found.is_empty(), "{canary} of {home} in {cell}: {found:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_covers_its_time_and_purpose_only() -> Result<(), Failure> {
    let short = ConsentSpec::between("acme.example", "beta.example").purposes(&["restock*"]).lasts(Span::seconds(8));
    let net = topology().consent(short).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let refused = buyer.invite(&invitation(CANARY)).await.unwrap_err();
    assert_eq!(refused.code(), "consent_missing", "another purpose");
    knows_nothing(&seller).await?;
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    let refused = buyer.invite(&invitation("Restock")).await.unwrap_err();
    assert_eq!(refused.code(), "consent_missing", "expired");
    knows_nothing(&seller).await?;
    nowhere_abroad(&net)
}
