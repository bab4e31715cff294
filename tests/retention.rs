//! What was kept as long as agreed is erased by the cells themselves, at both ends, also by one that was down when it
//! fell due; what never crossed is under no such agreement. docs/spec/details.md S10 ("retention"), S22.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::time::Duration;

use asp_cell::engine::Operation;
use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::time::Span;
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation};
use deal::{ABROAD, BUYER, CANARY, HOME, SELLER};
use serde_json::{Value, json};

/// The agreed span, a cell's tick and the time of a slow machine.
const BY_THEN: Duration = Duration::from_mins(1);

async fn parts(agent: &Agent, session: SessionId, sequence: u64) -> Result<Value, Failure> {
    Ok(agent.messages(session, sequence - 1).await?[0]["parts"].clone())
}

/// Waits until the part `content` of a record is erased.
async fn erased(agent: &Agent, session: SessionId, sequence: u64) -> Result<(), Failure> {
    let end = tokio::time::Instant::now() + BY_THEN;
    while parts(agent, session, sequence).await?["content"]["status"] != "erased" {
        assert!(tokio::time::Instant::now() < end, "{} still has it", agent.id());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn grounds(net: &Federation, cell: &str) -> Result<Vec<String>, Failure> {
    let log = net.cell(cell)?.operate(Operation::AuditExport).await?;
    let entries = log["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "erasure");
    Ok(entries.map(|entry| entry["actor"].as_str().unwrap().to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_go_at_both_ends_when_the_agreed_retention_has_passed() -> Result<(), Failure> {
    let consent = ConsentSpec::between("acme.example", "beta.example").retention(Span::seconds(8));
    let mut net = deal::cells().consent(consent).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let contact = json!({"name": "Ada Example", "phone": CANARY});
    let draft = Draft::new(P::Inform).content(json!({"text": "for a while"})).personal(deal::contact(), contact);
    let placed = deal::say(&buyer, &[&seller], session, &draft).await?.sequence();
    assert_eq!(parts(&buyer, session, placed).await?["content"]["value"]["text"], "for a while");
    assert_eq!(parts(&seller, session, placed).await?["content"]["value"]["text"], "for a while");
    // One cell is down when it falls due, and alone when it comes back: nobody's order tells it.
    net.kill(ABROAD)?;
    erased(&buyer, session, placed).await?;
    net.kill(HOME)?;
    net.restart(ABROAD).await?;
    let seller = net.agent(SELLER)?;
    erased(&seller, session, placed).await?;
    net.restart(HOME).await?;
    let buyer = net.agent(BUYER)?;
    for (cell, org) in [(HOME, "acme.example"), (ABROAD, "beta.example")] {
        assert!(grounds(&net, cell).await?.iter().any(|actor| actor == org), "{cell} has written it down");
    }
    let own = parts(&buyer, session, placed).await?;
    let kept = own.as_object().unwrap().iter().find(|(name, _)| name.starts_with("personal/")).unwrap().1;
    assert_eq!(kept["value"]["phone"], CANARY, "what never crossed is under no agreement: {own}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_sessions_go_when_their_time_after_the_end_has_passed() -> Result<(), Failure> {
    let consent = ConsentSpec::between("acme.example", "beta.example");
    let net = deal::cells().consent(consent).variable("ASP_CELL__RETENTION__SESSIONS", "PT5S").start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let open = deal::open(&buyer, &[&seller]).await?;
    let session = deal::open(&buyer, &[&seller]).await?;
    let draft = Draft::new(P::Inform).content(json!({"text": "until the end"}));
    let placed = deal::say(&buyer, &[&seller], session, &draft).await?.sequence();
    let other = deal::say(&buyer, &[&seller], open, &draft).await?.sequence();
    let close = Draft::new(P::Close).terms(json!({"outcome": "cancellation"}));
    deal::say(&buyer, &[&seller], session, &close).await?;
    for agent in [&buyer, &seller] {
        erased(agent, session, placed).await?;
        assert_eq!(parts(agent, open, other).await?["content"]["value"]["text"], "until the end");
    }
    for _ in 0..2 {
        let shown = net.cell(HOME)?.operate(Operation::EraseStatus { request: None }).await?;
        let requests = shown["requests"].as_array().unwrap().iter();
        assert_eq!(requests.filter(|request| request["orderedBy"].is_null()).count(), 1, "once is enough: {shown}");
        tokio::time::sleep(Duration::from_secs(12)).await;
    }
    Ok(())
}
