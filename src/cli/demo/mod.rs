//! `demo`: two cells, one deal across a border, an erasure; each thing it says is checked before it says it.
//!
//! The cells are the server's own, in this process, on loopback; agents talk to them over HTTP and they talk to each
//! other over QUIC. A step that does not hold ends the demo with exit status 1.

mod broken;
mod deal;
mod money;
mod stage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::answer::Answer;
use super::failure::Failure;
use crate::engine::Operation;
use crate::engine::operation::{ConsentTerms, ErasureScope};
use crate::protocol::certificate::Authorities;
use crate::protocol::ids::{ConsentId, OrgName, SessionId};
use crate::protocol::time::Span;
use crate::protocol::transcript::{Pins, Verdict, verify};
use crate::testkit::document::{list_at, text_at};
use crate::testkit::{Agent, Failure as Broken, Federation, Invitation, Topology};
use deal::{ACME, BETA, BUYER, CONTACT, HOME, PHONE, PURPOSE, SELLER, THERE};
use stage::Stage;

/// How long anything may take that another cell has a part in.
pub const SOON: Duration = Duration::from_secs(5);

/// Where the cells go.
#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the two cells in this new directory, to be run by hand afterwards.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Demo {
    pub fn carry_out(self, json: bool) -> Result<Answer, Failure> {
        if let Some(dir) = self.keep.as_deref().filter(|dir| holds_something(dir)) {
            return Err(Failure::here(format!(
                "{}: there is something already; expected a new directory",
                dir.display()
            )));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::here(format!("the demo's threads: {error}")))?;
        let mut stage = Stage::new(json);
        let told = runtime.block_on(play(&mut stage, self.keep.as_deref()));
        told.map_err(|broken| Failure::here(format!("the demo stopped after {} checks: {broken}", stage.checks())))?;
        Ok(Answer::new(json!({"checks": stage.checks(), "seconds": stage.seconds()})).told_as(stage.end()))
    }
}

/// Whether cells put there would lie among other things; a file that is no directory counts.
fn holds_something(dir: &Path) -> bool {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

async fn play(stage: &mut Stage, keep: Option<&Path>) -> Result<(), Broken> {
    let mut topology = Topology::new()
        .cell(HOME, HOME, "EEA")
        .cell(THERE, THERE, "US")
        .org(ACME, HOME)
        .org(BETA, THERE)
        .funds(ACME, money::BEFORE, "USD")
        .variable("ASP_CELL__LIMITS__GRACE", "PT4S")
        .agent(BUYER)
        .agent(SELLER);
    if let Some(dir) = keep {
        topology = topology.in_dir(dir).without_relays();
    }
    let mut net = topology.start().await?;
    stage.act("Two cells");
    stage.say(&format!("{HOME} (zone EEA) is home to {ACME}, {THERE} (zone US) to {BETA}."));
    net.linked(HOME, THERE, SOON).await?;
    stage.checked("each cell proved its identity to the other: one QUIC link, TLS 1.3, certificates on both sides");
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);

    nothing_without_consent(stage, &net, &buyer).await?;
    let consent = consent(stage, &net).await?;
    let session = deal::strike(stage, &net, &buyer, &seller).await?;
    border(stage, &buyer, &seller, session, &consent).await?;
    same_story(stage, &net, &buyer, &seller, session).await?;
    tampering(stage, &net, &buyer, session).await?;
    forgetting(stage, &net, &buyer, &seller, session).await?;
    broken::promise(stage, &mut net).await?;
    if keep.is_some() {
        for cell in [HOME, THERE] {
            net.stop(cell).await?;
        }
        stage.act("Yours to run");
        for cell in [HOME, THERE] {
            stage.say(&format!("asp-cell run --config {}", net.cell(cell)?.config().display()));
        }
    }
    Ok(())
}

async fn nothing_without_consent(stage: &mut Stage, net: &Federation, buyer: &Agent) -> Result<(), Broken> {
    stage.act("Without consent");
    let invitation = Invitation::new([SELLER.parse().map_err(|_| wrong("an agent id"))?], PURPOSE);
    let refused = buyer.invite(&invitation).await.err().map(|broken| broken.code().to_owned()).unwrap_or_default();
    stage.holds(refused == "consent_missing", &format!("{BUYER} invites {SELLER}: refused, {refused}"))?;
    let sessions = net.cell(THERE)?.operate(Operation::SessionList).await?;
    stage.holds(list_at(&sessions, "/sessions").is_empty(), &format!("{THERE} knows of no session at all"))
}

async fn consent(stage: &mut Stage, net: &Federation) -> Result<Value, Broken> {
    stage.act("Consent, signed by both");
    let (home, there) = (net.cell(HOME)?, net.cell(THERE)?);
    let offer = Operation::ConsentOffer { org: org(ACME)?, terms: terms()? };
    let refused = home.operate(offer.clone()).await.err().map(|broken| broken.code().to_owned()).unwrap_or_default();
    stage.holds(
        refused == "residency_violation",
        &format!("{ACME} may keep data in the EEA only, so its offer of a consent to the US is refused: {refused}"),
    )?;
    let basis = "SCC-2021/914 module 1".to_owned();
    home.operate(Operation::OrgPolicyAllow { org: org(ACME)?, zone: "US".to_owned(), basis }).await?;
    stage.say("its operator allows the zone US, naming the basis of the transfer");
    let offered = home.operate(offer).await?;
    let id: ConsentId = text_at(&offered, "/document/consentId").parse().map_err(|_| wrong("a consent id"))?;
    stage.say("offered: classes card, content, metadata, trust; personal data is not among them");
    known(net, THERE, id, "offered").await?;
    there.operate(Operation::ConsentAccept { consent: id, org: org(BETA)? }).await?;
    let (ours, theirs) = (known(net, HOME, id, "active").await?, known(net, THERE, id, "active").await?);
    stage.holds(
        ours.get("document") == theirs.get("document") && ours.get("signatures") == theirs.get("signatures"),
        "accepted: both cells hold the same document under the same two signatures",
    )?;
    Ok(ours)
}

/// Waits until a cell shows a consent with this status.
async fn known(net: &Federation, cell: &str, consent: ConsentId, status: &str) -> Result<Value, Broken> {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        if let Ok(shown) = net.cell(cell)?.operate(Operation::ConsentShow { consent }).await
            && text_at(&shown, "/status") == status
        {
            return Ok(shown);
        }
        if tokio::time::Instant::now() >= end {
            return Err(Broken::Overdue(format!("consent {consent} {status} in {cell}")));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// What crossed, and what stayed.
async fn border(
    stage: &mut Stage,
    buyer: &Agent,
    seller: &Agent,
    session: SessionId,
    consent: &Value,
) -> Result<(), Broken> {
    stage.act("What crossed the border");
    let (ours, theirs) = (buyer.messages(session, 0).await?, seller.messages(session, 0).await?);
    let crossed = theirs.iter().filter(|record| record.pointer("/parts/content/value").is_some()).count();
    stage.holds(
        theirs.len() == ours.len() && crossed > 0,
        &format!("{} records stand in {THERE}, {crossed} of them with their content", theirs.len()),
    )?;
    let held = |records: &[Value]| -> Vec<Value> {
        let parts = records.iter().filter_map(|record| record.get("parts")?.as_object());
        let personal = parts.flatten().filter(|(name, _)| name.starts_with("personal/"));
        personal.map(|(_, part)| part.clone()).collect()
    };
    let (open, withheld) = (held(&ours), held(&theirs));
    stage.holds(
        open.iter().all(|part| text_at(part, "/value/phone") == PHONE) && !open.is_empty(),
        &format!("the delivery contact's phone number is read in {HOME}"),
    )?;
    stage.holds(
        !withheld.is_empty() && withheld.iter().all(|part| text_at(part, "/status") == "withheld"),
        &format!("in {THERE} the same part shows `withheld`: a commitment of 32 bytes, no name, no subject"),
    )?;
    let consent = text_at(consent, "/document/consentId");
    stage.holds(
        withheld.iter().all(|part| text_at(part, "/consentId") == consent)
            && !json!(theirs).to_string().contains(PHONE),
        "it names the consent that does not cover it, and the number is nowhere in what that cell shows",
    )
}

async fn same_story(
    stage: &mut Stage,
    net: &Federation,
    buyer: &Agent,
    seller: &Agent,
    session: SessionId,
) -> Result<(), Broken> {
    stage.act("One story in two cells");
    let head = net.heads_equal(session, &[buyer, seller], 1, SOON).await?;
    stage.checked(&format!("both cells show record {} with hash {}", head.sequence, head.hash));
    for agent in [buyer, seller] {
        let transcript = sealed(agent, session).await?;
        let report = verify(&transcript, &pins(net)?);
        let cell = text_at(&transcript, "/exportedBy");
        stage.holds(
            report.verdict() == Verdict::Verified,
            &format!("the transcript of {cell} verifies off line: proofs, chain, receipts, seal, consent"),
        )?;
    }
    Ok(())
}

/// The transcript, once the receipts of both cells over the final head are in it.
async fn sealed(agent: &Agent, session: SessionId) -> Result<Value, Broken> {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let transcript = agent.transcript(session).await?;
        if transcript.get("complete") == Some(&json!(true)) {
            return Ok(transcript);
        }
        if tokio::time::Instant::now() >= end {
            return Err(Broken::Overdue("both cells' receipts over the final head".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

async fn tampering(stage: &mut Stage, net: &Federation, buyer: &Agent, session: SessionId) -> Result<(), Broken> {
    stage.act("A tampered transcript");
    let mut forged = buyer.transcript(session).await?;
    let records = forged.get_mut("records").and_then(Value::as_array_mut).ok_or_else(|| wrong("records"))?;
    let target = records.iter_mut().find(|record| text_at(record, "/terms/amount") == deal::AGREED);
    let target = target.ok_or_else(|| wrong("a record with the agreed amount"))?;
    let sequence = target.get("sequence").and_then(Value::as_u64).unwrap_or_default();
    if let Some(amount) = target.pointer_mut("/terms/amount") {
        *amount = json!("18.00");
    }
    let report = verify(&forged, &pins(net)?);
    let caught = report.messages().get(&sequence) == Some(&Verdict::Corrupt);
    stage.holds(
        caught && report.verdict() == Verdict::Corrupt,
        &format!("record {sequence} now says 18.00 instead of {}: corrupt, and at that record", deal::AGREED),
    )
}

async fn forgetting(
    stage: &mut Stage,
    net: &Federation,
    buyer: &Agent,
    seller: &Agent,
    session: SessionId,
) -> Result<(), Broken> {
    stage.act("Forgetting");
    let before = net.heads_equal(session, &[buyer, seller], 1, SOON).await?;
    let subject = CONTACT.parse().map_err(|_| wrong("a subject"))?;
    let erase = Operation::Erase {
        org: org(ACME)?,
        scope: ErasureScope::Subject(subject),
        ground: "GDPR Art. 17(1)(b)".to_owned(),
    };
    let erased = net.cell(HOME)?.operate(erase).await?;
    // Where overwriting a file proves nothing there is no certificate before the end of the epoch.
    let at_once = text_at(&erased, "/payload/level") == "logical" || text_at(&erased, "/status") == "pending";
    stage.holds(at_once, &format!("{ACME} erases its data subject {CONTACT}: the key is overwritten and read back"))?;
    for cell in [THERE, HOME] {
        net.cell(cell)?.operate(Operation::KeysRotateEpoch).await?;
    }
    let request = text_at(&erased, "/requestId").parse().ok();
    let end = tokio::time::Instant::now() + SOON;
    let certificate = loop {
        let shown = net.cell(HOME)?.operate(Operation::EraseStatus { request }).await?;
        let certified = text_at(&shown, "/payload/recipients/0/status") == "certified";
        if certified || tokio::time::Instant::now() >= end {
            break shown;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    stage.holds(
        text_at(&certificate, "/payload/level") == "sealed"
            && certificate.pointer("/payload/counts/parts") == Some(&json!(1)),
        "the epoch ends and its key is destroyed: no copy of the slot opens any more, the certificate says sealed",
    )?;
    let there = list_at(&certificate, "/payload/recipients").iter().find(|cell| text_at(cell, "/cell") == THERE);
    stage.holds(
        there.is_some_and(|cell| text_at(cell, "/status") == "certified" && !text_at(cell, "/certificate").is_empty()),
        &format!("{THERE}, which had the record, answers with its own certificate"),
    )?;
    let records = buyer.messages(session, 0).await?;
    stage.holds(
        !json!(records).to_string().contains(PHONE) && json!(records).to_string().contains("\"erased\""),
        "the part reads `erased`; the number is nowhere in what the cell shows",
    )?;
    let after = net.heads_equal(session, &[buyer, seller], 1, SOON).await?;
    let mut verified = before == after;
    for agent in [buyer, seller] {
        verified &= verify(&agent.transcript(session).await?, &pins(net)?).verdict() == Verdict::Verified;
    }
    stage.holds(verified, "the heads are what they were, and both transcripts verify as before: the person is gone")
}

fn terms() -> Result<ConsentTerms, Broken> {
    use crate::engine::clock::{Clock as _, SystemClock};
    Ok(ConsentTerms {
        peer_org: org(BETA)?,
        classes: ["card", "content", "metadata", "trust"].map(str::to_owned).to_vec(),
        purposes: vec!["*".to_owned()],
        outward: true,
        inward: true,
        agents: None,
        basis: Some("SCC-2021/914 module 1".to_owned()),
        retention: None,
        not_before: None,
        not_after: SystemClock.now() + Span::days(365),
    })
}

/// The CA that the demo made for its cells.
fn pins(net: &Federation) -> Result<Pins, Broken> {
    let file = net.dir().join("certs").join("ca.pem");
    let pem = std::fs::read_to_string(&file).map_err(|error| wrong(&format!("{}: {error}", file.display())))?;
    let authorities = Authorities::from_pem(&pem).map_err(|why| wrong(&format!("{}: {why}", file.display())))?;
    Ok(Pins { authorities: Some(authorities), ..Pins::default() })
}

fn org(name: &str) -> Result<OrgName, Broken> {
    name.parse().map_err(|_| wrong("an organisation"))
}

pub fn wrong(expected: &str) -> Broken {
    Broken::Unexpected(format!("expected {expected}"))
}
