//! kill -9 of either cell in the middle of a stream of appends: nothing acknowledged is lost, nothing stands twice,
//! and the heads are equal afterwards. docs/spec/federation.md section 6, points 1 and 2.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::collections::BTreeMap;
use std::time::Duration;

use asp_cell::crypto::entropy::draw;
use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Sent, Topology};
use asp_cell::vault::entropy::OsEntropy;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const CELLS: [&str; 2] = ["eu-west-1", "us-east-1"];
const KILLS: usize = 4;
const APPENDS: usize = 60;
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends until all are acknowledged, each again under its own id until it has an answer: what was acknowledged, with
/// the sequence if it was placed at once.
fn appends(agent: Agent, session: SessionId) -> JoinHandle<Result<BTreeMap<String, Option<u64>>, Failure>> {
    tokio::spawn(async move {
        let mut acknowledged = BTreeMap::new();
        for number in 0..APPENDS {
            let draft = Draft::new(P::Inform).content(json!({"number": number}));
            let place = loop {
                match agent.send(session, &draft).await {
                    Ok(Sent::Placed(placed)) => break Some(placed.sequence()),
                    Ok(Sent::Queued(_)) => break None,
                    Err(failure) if failure.is_retryable() => sleep(Duration::from_millis(50)).await,
                    Err(failure) => return Err(failure),
                }
            };
            acknowledged.insert(draft.id().to_string(), place);
            sleep(Duration::from_millis(20)).await;
        }
        Ok(acknowledged)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_message_is_lost_or_doubled() -> Result<(), Failure> {
    let mut net = Topology::new()
        .cell(CELLS[0], "eu-west-1", "EEA")
        .cell(CELLS[1], "us-east-1", "US")
        .org("acme.example", CELLS[0])
        .org("beta.example", CELLS[1])
        .agent(BUYER)
        .agent(SELLER)
        .consent(ConsentSpec::between("acme.example", "beta.example"))
        .variable("ASP_CELL__LIMITS__PLACEMENT_TIMEOUT", "PT1S")
        .processes(env!("CARGO_BIN_EXE_asp-cell"))
        .start()
        .await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let streams = [appends(buyer.clone(), session), appends(seller.clone(), session)];
    for _ in 0..KILLS {
        let [which, when]: [u8; 2] = draw(&mut OsEntropy);
        let cell = CELLS[usize::from(which % 2)];
        sleep(Duration::from_millis(200 + 3 * u64::from(when))).await;
        net.kill(cell)?;
        net.restart(cell).await?;
    }
    let mut acknowledged = BTreeMap::new();
    for stream in streams {
        acknowledged.extend(stream.await.unwrap()?);
    }
    assert_eq!(acknowledged.len(), 2 * APPENDS);

    // INVITE, INTRODUCE, and each message once.
    let all = 2 + acknowledged.len() as u64;
    let head = net.heads_equal(session, &[&buyer, &seller], all, PATIENCE).await?;
    assert_eq!(head.sequence, all);
    for agent in [&buyer, &seller] {
        let mut found = BTreeMap::new();
        for record in agent.messages(session, 2).await? {
            let id = record["messageId"].as_str().unwrap().to_owned();
            assert_eq!(found.insert(id, record["sequence"].as_u64().unwrap()), None, "twice");
        }
        for (id, place) in &acknowledged {
            let sequence = found.get(id).unwrap_or_else(|| panic!("{} lost {id}", agent.id()));
            assert!(place.is_none_or(|place| place == *sequence), "{id} moved");
        }
    }
    Ok(())
}
