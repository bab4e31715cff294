//! A host that cannot be reached costs nothing but time: what was queued is placed, once, when the link is back, also
//! after a restart of either cell. docs/spec/federation.md section 3.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use asp_cell::engine::Operation;
use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation, Sent, Topology};
use deal::SOON;
use serde_json::json;

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const HOST: &str = "eu-west-1";
const MEMBER: &str = "us-east-1";

fn note(text: &str) -> Draft {
    Draft::new(P::Inform).content(json!({"text": text}))
}

async fn founded() -> Result<Federation, Failure> {
    Topology::new()
        .cell(HOST, "eu-west-1", "EEA")
        .cell(MEMBER, "us-east-1", "US")
        .org("acme.example", HOST)
        .org("beta.example", MEMBER)
        .agent(BUYER)
        .agent(SELLER)
        .consent(ConsentSpec::between("acme.example", "beta.example"))
        .variable("ASP_CELL__LIMITS__PLACEMENT_TIMEOUT", "PT1S")
        .start()
        .await
}

/// Each draft stands in the session once, in the order in which its agent sent it.
async fn once_and_in_order(agent: &Agent, session: SessionId, drafts: &[Draft]) -> Result<(), Failure> {
    let records = agent.messages(session, 0).await?;
    let wanted: Vec<String> = drafts.iter().map(|draft| draft.id().to_string()).collect();
    let ids = records.iter().map(|record| record["messageId"].as_str().unwrap().to_owned());
    assert_eq!(ids.filter(|id| wanted.contains(id)).collect::<Vec<_>>(), wanted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_over_a_cut_link_is_placed_when_it_is_back() -> Result<(), Failure> {
    let mut net = founded().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let start = deal::say(&buyer, &[&seller], session, &Draft::new(P::Query)).await?.sequence();

    net.cut(HOST, MEMBER)?;
    let ours = [note("host, while cut"), note("host again")];
    for draft in &ours {
        // The host orders: its own agents wait for nobody.
        buyer.send(session, draft).await?.placed()?;
    }
    let theirs = [note("member, while cut"), note("member again")];
    for draft in &theirs {
        assert_eq!(seller.send(session, draft).await?, Sent::Queued(draft.id()));
    }
    assert_eq!(seller.head(session).await?.sequence, start, "nothing crossed");

    net.heal(HOST, MEMBER)?;
    net.heads_equal(session, &[&buyer, &seller], start + 4, SOON * 2).await?;
    for agent in [&buyer, &seller] {
        once_and_in_order(agent, session, &ours).await?;
        once_and_in_order(agent, session, &theirs).await?;
    }
    let again = seller.send(session, &theirs[0]).await?.placed()?;
    assert!(again.0.replayed, "the first answer, not a second place");

    // The same with cells that are stopped and started meanwhile.
    let before = net.heads_equal(session, &[&buyer, &seller], start + 4, SOON).await?.sequence;
    net.stop(HOST).await?;
    let queued = note("while the host is down");
    assert_eq!(seller.send(session, &queued).await?, Sent::Queued(queued.id()));
    net.stop(MEMBER).await?;
    net.restart(HOST).await?;
    let alone = note("while the member is down");
    buyer.send(session, &alone).await?.placed()?;
    net.restart(MEMBER).await?;
    net.heads_equal(session, &[&buyer, &seller], before + 2, SOON * 2).await?;
    for agent in [&buyer, &seller] {
        for draft in [&queued, &alone] {
            once_and_in_order(agent, session, std::slice::from_ref(draft)).await?;
        }
    }
    Ok(())
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copied(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A store that was put back by hand is older than what the peer has of it: the next frames would be taken for those.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_older_than_what_the_peer_has_links_no_more() -> Result<(), Failure> {
    let mut net = founded().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    net.stop(HOST).await?;
    let dir = net.cell(HOST)?.dir().to_owned();
    let old = tempfile::tempdir().unwrap();
    copied(&dir, old.path());
    net.restart(HOST).await?;
    deal::say(&buyer, &[&seller], session, &note("and more")).await?;
    net.stop(HOST).await?;
    fs::remove_dir_all(&dir).unwrap();
    copied(old.path(), &dir);
    net.restart(HOST).await?;
    let end = Instant::now() + SOON;
    loop {
        let peers = net.cell(HOST)?.operate(Operation::PeerList).await?;
        let peer = &peers["peers"][0];
        if peer["state"] == "refused" {
            assert!(peer["reason"].as_str().unwrap().contains("restore_behind"), "{peer}");
            return Ok(());
        }
        assert!(Instant::now() < end, "{peer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
