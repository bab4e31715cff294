//! Peers sign each other's logs as they grow, and whoever reads a log off line sees who has; a log that does not begin
//! with what was signed is refused. docs/spec/federation.md section 5.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::time::Duration;

use asp_cell::engine::Operation;
use asp_cell::protocol::audit::verify_bytes;
use asp_cell::protocol::certificate::Authorities;
use asp_cell::protocol::transcript::{Pins, Verdict};
use asp_cell::testkit::{ConsentSpec, Failure, Federation, Topology};
use serde_json::{Value, json};

const HOME: &str = "eu-west-1";
const ABROAD: &str = "us-east-1";

/// Waits until the peer has signed at least `size` entries of the cell's audit log.
async fn cosigned(net: &Federation, cell: &str, peer: &str, size: u64) -> Result<Value, Failure> {
    let end = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        let shown = net.cell(cell)?.operate(Operation::AuditVerify).await?;
        let found = shown["cosigners"].as_array().unwrap().iter().find(|by| by["cell"] == peer).cloned();
        if let Some(found) = found.filter(|found| found["size"].as_u64() >= Some(size)) {
            assert_eq!(shown["conflicts"], json!([]));
            return Ok(found);
        }
        assert!(tokio::time::Instant::now() < end, "{peer} has not signed {size} entries of {cell}: {shown}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_signs_the_other_as_it_grows_and_a_changed_beginning_is_seen() -> Result<(), Failure> {
    let mut net = Topology::new()
        .cell(HOME, "eu-west-1", "EEA")
        .cell(ABROAD, "us-east-1", "US")
        .org("acme.example", HOME)
        .org("beta.example", ABROAD)
        .consent(ConsentSpec::between("acme.example", "beta.example"))
        .start()
        .await?;
    let first = cosigned(&net, HOME, ABROAD, 1).await?;
    cosigned(&net, ABROAD, HOME, 1).await?;
    // It goes on where it was: with the peer restarted, and with the log longer.
    net.stop(ABROAD).await?;
    net.restart(ABROAD).await?;
    let grown = first["size"].as_u64().unwrap() + 1;
    net.cell(HOME)?.operate(Operation::OrgAdd { org: "gamma.example".parse().unwrap() }).await?;
    cosigned(&net, HOME, ABROAD, grown).await?;

    let ca = fs::read_to_string(net.dir().join("certs/ca.pem")).unwrap();
    let pins = Pins { authorities: Some(Authorities::from_pem(&ca).unwrap()), ..Pins::default() };
    let judged = |file: &Value| verify_bytes(file.to_string().as_bytes(), &pins);
    let export = net.cell(HOME)?.operate(Operation::AuditExport).await?;
    let report = judged(&export);
    assert_eq!(report.verdict(), Verdict::Verified, "{:?}", report.problems());
    assert_eq!(report.cosigners().keys().map(ToString::to_string).collect::<Vec<_>>(), [ABROAD]);
    let mut unsigned = export.clone();
    let note = unsigned["cosigned"][0].as_str().unwrap().to_owned();
    let own: Vec<&str> = note.lines().filter(|line| !line.contains(ABROAD)).collect();
    unsigned["cosigned"][0] = json!(own.join("\n") + "\n");
    assert_eq!(judged(&unsigned).problems()[0].what, "cosignature", "its own word is no cosignature");
    let mut longer = export;
    let size = note.lines().nth(1).unwrap();
    longer["cosigned"][0] = json!(note.replacen(&format!("\n{size}\n"), "\n1\n", 1));
    assert_eq!(judged(&longer).problems()[0].what, "cosignature", "another size was not signed");
    Ok(())
}
