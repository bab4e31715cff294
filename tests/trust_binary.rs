//! Trust as an operator and a stranger see it, by the built binary: a deal across two cells moves the score by its facts
//! alone, `trust show` says which, and `trust verify` computes it again off line and refuses what was touched.
//! docs/spec/details.md section 5, S17 and S21.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::fs;
use std::path::Path;
use std::process::Command;

use asp_cell::testkit::{ConsentSpec, Failure, Topology};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_asp-cell");
const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const HOME: &str = "eu-west-1";
const ABROAD: &str = "us-east-1";

/// `trust verify`: exit status and what it printed.
fn verify(file: &Path, ca: &Path) -> (Option<i32>, Value) {
    let mut command = Command::new(BINARY);
    let output = command.args(["trust", "verify", "--json"]).arg(file).arg("--ca").arg(ca).output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_score_is_shown_with_its_facts_and_computed_again_by_a_stranger() -> Result<(), Failure> {
    let net = Topology::new().cell(HOME, HOME, "EEA").cell(ABROAD, ABROAD, "US");
    let net = net.org("acme.example", HOME).org("beta.example", ABROAD).agent(BUYER).agent(SELLER);
    let net = net.funds("acme.example", deal::PRICE, "USD");
    let net = net.consent(ConsentSpec::between("acme.example", "beta.example")).processes(BINARY).start().await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let before = net.cell(ABROAD)?.command(&["trust", "show", SELLER]).await?;
    let agreed = deal::agree(&buyer, &seller, &[], session).await?;
    deal::execute(&buyer, &seller, &[], session, &agreed).await?;

    let ca = net.dir().join("certs/ca.pem");
    for (cell, agent, id, facts) in
        [(HOME, &buyer, BUYER, &["decided", "closed"][..]), (ABROAD, &seller, SELLER, &["decided", "rated", "closed"])]
    {
        let shown = net.cell(cell)?.command(&["trust", "show", id]).await?;
        let booked = shown["facts"].as_array().unwrap().iter().filter(|fact| fact["sessionId"] == json!(session));
        let booked: Vec<&Value> = booked.map(|fact| &fact["fact"]).collect();
        for kind in facts {
            assert!(booked.iter().any(|fact| fact.get(kind).is_some()), "{id} {kind}: {booked:?}");
        }
        let path = format!("/v1/asp/trust/{}", id.replace(':', "%3A").replace('/', "%2F"));
        let told = agent.get(&path, "").await?;
        assert!(shown.to_string().contains(&format!("\"score\":{}", told["score"])), "{id}: {told} {shown}");

        let file = net.dir().join("trust.json");
        net.cell(cell)?.command(&["trust", "show", id, "--out", file.to_str().unwrap()]).await?;
        let (status, verdict) = verify(&file, &ca);
        assert_eq!((status, &verdict["verdict"]), (Some(0), &json!("verified")), "{verdict}");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\"settled\": true"), "{text}");
        fs::write(&file, text.replacen("\"settled\": true", "\"settled\": false", 1)).unwrap();
        let (status, verdict) = verify(&file, &ca);
        assert_eq!((status, &verdict["verdict"]), (Some(1), &json!("corrupt")), "{verdict}");
    }
    let after = net.cell(ABROAD)?.command(&["trust", "show", SELLER]).await?;
    assert_ne!(before["facts"], after["facts"], "the deal has left its facts");
    Ok(())
}
