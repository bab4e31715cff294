//! Erased is erased: the value, the sealed form of it and the secret that opened it are in no file of either cell,
//! both cells certify it, and the transcript proves what it proved before. docs/spec/federation.md section 4.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::collections::BTreeSet;
use std::fs;

use asp_cell::crypto::digest::Digest;
use asp_cell::engine::Operation;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::protocol::ids::SessionId;
use asp_cell::protocol::transcript::{Pins, Verdict, verify};
use asp_cell::testkit::search::{files, files_with, text_holds};
use asp_cell::testkit::{Agent, Cell, ConsentSpec, Failure, Federation, Topology};
use deal::{CANARY, CONTENT_CANARY};
use serde_json::Value;

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const CELLS: [&str; 2] = ["eu-west-1", "us-east-1"];
const SLOT: usize = 512;
/// In a message of the buyer.
const QUERY: &str = "8.75 and a day earlier?";

/// Everything in the vault's file, slot by slot.
fn slots(cell: &Cell) -> Vec<Vec<u8>> {
    let vault = cell.dir().join("vault");
    let file = if vault.is_dir() { files(&vault).unwrap().remove(0) } else { vault };
    fs::read(file).unwrap().chunks(SLOT).map(<[u8]>::to_vec).collect()
}

async fn verified(agent: &Agent, session: SessionId) -> Result<Value, Failure> {
    let transcript = agent.transcript(session).await?;
    let report = verify(&transcript, &Pins::default());
    assert_eq!(report.verdict(), Verdict::Verified, "{}: {}", agent.id(), report.to_json());
    Ok(transcript)
}

/// The certificate of an erasure by acme, its shape checked, its slots found in the vault, the peer's certificate in.
async fn erased(net: &Federation, scope: ErasureScope, kind: &str) -> Result<Value, Failure> {
    let before: Vec<Vec<Vec<u8>>> = CELLS.iter().map(|cell| slots(net.cell(cell).unwrap())).collect();
    let erase =
        Operation::Erase { org: "acme.example".parse().unwrap(), scope, ground: "GDPR Art. 17(1)(b)".to_owned() };
    let mut shown = net.cell(CELLS[0])?.operate(erase).await?;
    let trusted = shown["status"] != "pending";
    if !trusted {
        // The test's directory lies where overwriting proves nothing: certified when the epochs end.
        println!("the medium is not trusted: the certificate is awaited until the epochs end");
        let request = shown["requestId"].as_str().unwrap().parse().unwrap();
        for cell in [CELLS[1], CELLS[0]] {
            net.cell(cell)?.operate(Operation::KeysRotateEpoch).await?;
        }
        while shown["payload"]["recipients"][0]["status"] != "certified" {
            shown = net.cell(CELLS[0])?.operate(Operation::EraseStatus { request: Some(request) }).await?;
        }
    }
    let payload = shown["payload"].clone();
    assert_eq!(payload["type"], "asp/1.0 erasure");
    assert_eq!(payload["scope"]["kind"], kind);
    assert_eq!(payload["cell"], CELLS[0]);
    assert_eq!(payload["level"], if trusted { "logical" } else { "sealed" });
    assert!(payload["counts"]["parts"].as_u64().unwrap() >= 1, "{payload}");
    let head = &payload["heads"][0];
    assert_eq!(head["before"], head["after"]);
    let recipient = &payload["recipients"][0];
    assert_eq!((recipient["cell"].as_str(), recipient["status"].as_str()), (Some(CELLS[1]), Some("certified")));
    assert_eq!(recipient["certificate"].as_str().unwrap().split('.').count(), 3);

    let named: BTreeSet<String> =
        payload["slots"].as_array().unwrap().iter().map(|slot| slot.as_str().unwrap().to_owned()).collect();
    assert!(!named.is_empty());
    for (cell, before) in CELLS.iter().zip(before) {
        let cell = net.cell(cell)?;
        let after = slots(cell);
        if trusted && cell.id().as_str() == CELLS[0] {
            let hashes: BTreeSet<String> = after.iter().map(|slot| Digest::of(&[slot]).to_string()).collect();
            assert!(named.is_subset(&hashes), "the slots named by the certificate are those in the vault");
        }
        let overwritten: Vec<_> =
            before.iter().zip(&after).filter(|(old, new)| old != new).map(|(old, _)| old).collect();
        assert!(!overwritten.is_empty());
        for file in files(cell.dir()).unwrap() {
            let bytes = fs::read(&file).unwrap_or_default();
            for old in &overwritten {
                let gone = !bytes.windows(64).any(|window| window == &old[..64]) || old.iter().all(|byte| *byte == 0);
                assert!(gone, "{} still holds a destroyed secret's slot", file.display());
            }
        }
    }
    Ok(payload)
}

async fn nowhere(net: &Federation, agents: [&Agent; 2], session: SessionId, canary: &str) -> Result<(), Failure> {
    for cell in CELLS {
        let found = files_with(net.cell(cell)?.dir(), canary.as_bytes()).unwrap();
        assert!(found.is_empty(), "{found:?}");
    }
    for agent in agents {
        let shown = Value::Array(agent.messages(session, 0).await?).to_string();
        assert!(!text_holds(&shown, canary.as_bytes()), "{} still reads it", agent.id());
        let transcript = verified(agent, session).await?;
        assert!(!text_holds(&transcript.to_string(), canary.as_bytes()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_then_a_subject_and_then_a_session_are_forgotten_in_both_cells() -> Result<(), Failure> {
    let consent = ConsentSpec::between("acme.example", "beta.example")
        .classes(&["card", "content", "metadata", "personal", "trust"]);
    let net = Topology::new()
        .cell(CELLS[0], "eu-west-1", "EEA")
        .cell(CELLS[1], "us-east-1", "US")
        .org("acme.example", CELLS[0])
        .org("beta.example", CELLS[1])
        .funds("acme.example", deal::PRICE, "USD")
        .agent(BUYER)
        .agent(SELLER)
        .consent(consent)
        .start()
        .await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let agreed = deal::agree(&buyer, &seller, &[], session).await?;
    deal::execute(&buyer, &seller, &[], session, &agreed).await?;
    for agent in [&buyer, &seller] {
        let transcript = verified(agent, session).await?.to_string();
        assert!(transcript.contains(CANARY) && transcript.contains(CONTENT_CANARY), "there is something to erase");
    }
    let head = buyer.head(session).await?;

    let said = buyer.messages(session, 0).await?;
    let query = said.iter().find(|record| record.to_string().contains(QUERY)).unwrap();
    let query = query["messageId"].as_str().unwrap().parse().unwrap();
    erased(&net, ErasureScope::Message(session, query, None), "part").await?;
    nowhere(&net, [&buyer, &seller], session, QUERY).await?;
    let transcript = verified(&seller, session).await?.to_string();
    assert!(transcript.contains(CANARY) && transcript.contains(CONTENT_CANARY), "no other message is touched");

    erased(&net, ErasureScope::Subject(deal::contact()), "subject").await?;
    nowhere(&net, [&buyer, &seller], session, CANARY).await?;
    let transcript = verified(&seller, session).await?.to_string();
    assert!(transcript.contains(CONTENT_CANARY), "what is not the subject's stays");
    assert!(transcript.contains("\"status\":\"erased\""));

    erased(&net, ErasureScope::Session(session), "session").await?;
    nowhere(&net, [&buyer, &seller], session, CONTENT_CANARY).await?;
    // What beta's agent said is beta's to erase; of that, acme erases its own copy.
    for (agent, kept) in [(&buyer, false), (&seller, true)] {
        assert_eq!(agent.head(session).await?, head, "the chain is untouched");
        let transcript = verified(agent, session).await?.to_string();
        assert_eq!(transcript.contains("That needs express"), kept, "{}", agent.id());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_leaves_no_request_to_be_carried_out_later() -> Result<(), Failure> {
    let net = Topology::new().cell(CELLS[0], CELLS[0], "EEA").org("acme.example", CELLS[0]).start().await?;
    let unknown = [
        ErasureScope::Subject("contact-9".parse().unwrap()),
        ErasureScope::Session("0198f0a0-0000-7000-8000-000000000001".parse().unwrap()),
    ];
    for scope in unknown {
        let erase = Operation::Erase { org: "acme.example".parse().unwrap(), scope, ground: "x".to_owned() };
        assert_eq!(net.cell(CELLS[0])?.operate(erase).await.unwrap_err().code(), "not_found");
    }
    let status = net.cell(CELLS[0])?.operate(Operation::EraseStatus { request: None }).await?;
    assert_eq!(status["requests"], serde_json::json!([]));
    Ok(())
}
