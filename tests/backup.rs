//! A cell from its backup: everything live is back and sessions go on with the peer; nothing erased is back, though the
//! backup still held it; and what is damaged, foreign, too old or behind is refused. docs/spec/federation.md section 4.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use asp_cell::engine::Operation;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::node::create::{CreateError, restored};
use asp_cell::protocol::ids::{MessageId, SessionId};
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::transcript::{Pins, Verdict, verify};
use asp_cell::store::Unusable;
use asp_cell::store::backup::{Restored, Since};
use asp_cell::testkit::search::files_with;
use asp_cell::testkit::{Agent, ConsentSpec, Draft, Failure, Federation};
use deal::{ABROAD, BUYER, CANARY, HOME, SELLER, SOON};
use serde_json::{Value, json};

async fn start() -> Result<(Federation, Agent, Agent, SessionId), Failure> {
    start_under(ConsentSpec::between("acme.example", "beta.example")).await
}

async fn start_under(consent: ConsentSpec) -> Result<(Federation, Agent, Agent, SessionId), Failure> {
    let net = deal::cells()
        .funds("acme.example", "5000.00", "USD")
        .consent(consent)
        .variable("ASP_CELL__LIMITS__PLACEMENT_TIMEOUT", "PT1S")
        .start()
        .await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let contact = json!({"name": "Ada Example", "phone": CANARY});
    let offer = Draft::new(P::Propose).terms(json!({})).content(json!({"text": "200 adapters"}));
    deal::say(&buyer, &[&seller], session, &offer.personal(deal::contact(), contact)).await?;
    Ok((net, buyer, seller, session))
}

async fn backup(net: &Federation, name: &str) -> Result<PathBuf, Failure> {
    let file = net.dir().join(name);
    let config = fs::read_to_string(net.cell(HOME)?.config()).unwrap();
    let said = net.cell(HOME)?.operate(Operation::Backup { file: file.clone(), config }).await?;
    assert_eq!(said["bytes"], fs::metadata(&file).unwrap().len());
    assert!(said["rows"].as_u64().unwrap() > 20 && said["slots"].as_u64().unwrap() > 2, "{said}");
    Ok(file)
}

/// Waits until neither cell has anything left to say to the other: receipts follow records.
async fn settled(net: &Federation) -> Result<(), Failure> {
    let mut quiet = 0;
    while quiet < 10 {
        let mut queued = 0;
        for cell in [HOME, ABROAD] {
            let peers = net.cell(cell)?.operate(Operation::PeerList).await?;
            queued += peers["peers"][0]["queued"].as_u64().unwrap();
        }
        quiet = if queued == 0 { quiet + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The machine is lost: all that is left of the cell is its keys, as its operator keeps them, and what is given.
fn lose(net: &mut Federation) -> Result<PathBuf, Failure> {
    net.kill(HOME)?;
    let dir = net.cell(HOME)?.dir().to_owned();
    let lost = dir.with_extension("lost");
    drop(fs::remove_dir_all(&lost));
    fs::rename(&dir, &lost).unwrap();
    fs::create_dir(&dir).unwrap();
    copied(&lost.join("keys"), &dir.join("keys"));
    Ok(dir)
}

fn copied(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Restores it; a killed cell's storage may still be letting go.
fn restore(file: &Path, dir: &Path, since: &Since) -> Restored {
    restored(file, dir, since, None).unwrap_or_else(|why| panic!("{}: {why}", file.display()))
}

fn refused(file: &Path, dir: &Path, since: &Since) -> Unusable {
    match restored(file, dir, since, None) {
        Err(CreateError::Storage(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn phone(records: &[Value]) -> Value {
    let parts = records.last().unwrap()["parts"].as_object().unwrap().clone();
    parts.into_iter().find(|(name, _)| name.starts_with("personal/")).unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_live_is_back_and_sessions_go_on() -> Result<(), Failure> {
    let (mut net, buyer, seller, session) = start().await?;
    settled(&net).await?;
    let file = backup(&net, "cell.backup").await?;
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions()) & 0o777, 0o600);
    let again = net.cell(HOME)?.operate(Operation::Backup { file: file.clone(), config: "x".into() }).await;
    assert_eq!(again.unwrap_err().code(), "validation_failed", "nothing is overwritten");
    let found = files_with(net.dir(), CANARY.as_bytes()).unwrap();
    assert!(found.is_empty(), "no backup shows what is in it: {found:?}");
    let before = buyer.head(session).await?;

    let dir = lose(&mut net)?;
    let done = restore(&file, &dir, &Since::Nothing);
    assert_eq!(done.header.cell.as_str(), HOME);
    net.restart(HOME).await?;
    assert_eq!(buyer.head(session).await?, before);
    assert_eq!(phone(&buyer.messages(session, 2).await?)["value"]["phone"], CANARY);
    let books = net.cell(HOME)?.operate(Operation::LedgerShow { org: None }).await?;
    assert_eq!(books["sums"]["USD"], "0.00", "{books}");
    assert_eq!(net.cell(HOME)?.operate(Operation::AuditVerify).await?["verdict"], "verified");

    net.linked(HOME, ABROAD, SOON).await?;
    deal::say(&buyer, &[&seller], session, &Draft::new(P::Inform).content(json!({"text": "we are back"}))).await?;
    deal::say(&seller, &[&buyer], session, &Draft::new(P::Inform).content(json!({"text": "welcome"}))).await?;
    for agent in [&buyer, &seller] {
        let report = verify(&agent.transcript(session).await?, &Pins::default());
        assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
    }
    assert!(matches!(refused(&file, &dir, &Since::Nothing), Unusable::AlreadyInitialised { .. }), "there is a cell");
    Ok(())
}

/// The backup is of the same epoch: it still holds the secret, as the control shows.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_erased_is_back() -> Result<(), Failure> {
    let (mut net, buyer, _, session) = start().await?;
    let file = backup(&net, "cell.backup").await?;
    let (org, scope) = ("acme.example".parse().unwrap(), ErasureScope::Subject(deal::contact()));
    let ground = "GDPR Art. 17(1)(b)".to_owned();
    net.cell(HOME)?.operate(Operation::Erase { org, scope, ground }).await?;
    assert_eq!(phone(&buyer.messages(session, 2).await?)["status"], "erased");
    let ledger = net.dir().join("erasures.copy");
    fs::copy(net.cell(HOME)?.data_dir().join("erasures.log"), &ledger).unwrap();
    let of_it = |text: &str| fs::read_to_string(&ledger).unwrap().contains(text);
    assert!(!of_it("acme") && !of_it(deal::CONTACT), "a copy of it shows nothing");

    // What the operator who says that nothing was erased brings back: the copy could be opened.
    let dir = lose(&mut net)?;
    restore(&file, &dir, &Since::Nothing);
    net.restart(HOME).await?;
    assert_eq!(phone(&buyer.messages(session, 2).await?)["value"]["phone"], CANARY, "the control");

    let dir = lose(&mut net)?;
    let done = restore(&file, &dir, &Since::Ledger(ledger.clone()));
    assert_eq!((done.header.erasures.count, done.erasures.count), (0, 1));
    for _ in 0..2 {
        net.restart(HOME).await?;
        assert_eq!(phone(&buyer.messages(session, 2).await?)["status"], "erased", "also after another start");
        let requests = net.cell(HOME)?.operate(Operation::EraseStatus { request: None }).await?;
        assert_eq!(requests["requests"].as_array().map(Vec::len), Some(1), "{requests}");
        net.stop(HOME).await?;
    }
    let found = files_with(&dir, CANARY.as_bytes()).unwrap();
    assert!(found.is_empty(), "{found:?}");

    // A ledger that ends before what the database knows of: the erasures between would be forgotten.
    fs::write(dir.join("data/erasures.log"), "").unwrap();
    let why = net.restart(HOME).await.unwrap_err().to_string();
    assert!(why.contains("restore_behind"), "{why}");
    Ok(())
}

/// A hold put after the backup keeps what it kept; one released after it holds nothing back any more.
#[tokio::test(flavor = "multi_thread")]
async fn holds_since_the_backup_are_honoured() -> Result<(), Failure> {
    let erase = |session| Operation::Erase {
        org: "acme.example".parse().unwrap(),
        scope: ErasureScope::Session(session),
        ground: "GDPR Art. 17(1)(b)".to_owned(),
    };
    let (mut net, buyer, _, kept) = start().await?;
    let seller = net.agent(SELLER)?;
    let gone = deal::open(&buyer, &[&seller]).await?;
    let home = net.cell(HOME)?;
    let hold = |session| Operation::HoldAdd { session, reason: "matter 12".to_owned() };
    let before = home.operate(hold(gone)).await?;
    let file = backup(&net, "cell.backup").await?;

    let home = net.cell(HOME)?;
    home.operate(hold(kept)).await?;
    for session in [kept, gone] {
        assert_eq!(home.operate(erase(session)).await?["status"], "held");
    }
    let before = before["holdId"].as_str().unwrap().parse().unwrap();
    home.operate(Operation::HoldRelease { hold: before }).await?;
    let listed = home.operate(Operation::HoldList).await?;
    let statuses = |asked: &Value| -> Vec<Value> {
        asked["requests"].as_array().unwrap().iter().map(|request| request["status"].clone()).collect()
    };
    let end = tokio::time::Instant::now() + SOON;
    while statuses(&home.operate(Operation::EraseStatus { request: None }).await?) != ["held", "logical"] {
        assert!(tokio::time::Instant::now() < end, "the hold has ended and the erasure has not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ledger = net.dir().join("erasures.copy");
    fs::copy(net.cell(HOME)?.data_dir().join("erasures.log"), &ledger).unwrap();

    let dir = lose(&mut net)?;
    restore(&file, &dir, &Since::Ledger(ledger));
    for _ in 0..2 {
        net.restart(HOME).await?;
        let home = net.cell(HOME)?;
        assert_eq!(home.operate(Operation::HoldList).await?, listed, "the holds in force are those");
        assert_eq!(statuses(&home.operate(Operation::EraseStatus { request: None }).await?), ["held", "logical"]);
        assert_eq!(phone(&buyer.messages(kept, 2).await?)["value"]["phone"], CANARY, "what is held is kept");
        let first = &buyer.messages(gone, 0).await?[0];
        assert_eq!(first["parts"]["invitees"]["status"], "erased", "{first}");
        net.stop(HOME).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_refused_and_leaves_nothing() -> Result<(), Failure> {
    let (mut net, _, _, _) = start().await?;
    let file = backup(&net, "cell.backup").await?;
    let dir = lose(&mut net)?;
    let whole = fs::read(&file).unwrap();
    let bad = net.dir().join("bad.backup");
    let attempt = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        let why = refused(&bad, &dir, &Since::Nothing);
        let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["keys"], "{why}");
        why
    };
    for share in 1..40 {
        let mut flipped = whole.clone();
        let at = whole.len() * share / 40;
        flipped[at] ^= 1;
        assert!(matches!(attempt(&flipped), Unusable::UnreadableBackup { .. }), "byte {at}");
        assert!(matches!(attempt(&whole[..at]), Unusable::UnreadableBackup { .. }), "cut at {at}");
    }
    assert!(matches!(attempt(&[&whole[..], b"x"].concat()), Unusable::UnreadableBackup { .. }), "a byte more");
    assert!(matches!(attempt(b"not a backup, but long enough to be read as one"), Unusable::NotOurs { .. }));
    let mut newer = whole.clone();
    newer[19] = 9;
    assert!(matches!(attempt(&newer), Unusable::Newer { found: 9, known: 1, .. }));

    // Another cell's keys, and none.
    let keys = dir.join("keys");
    fs::rename(&keys, dir.with_extension("kept")).unwrap();
    copied(&net.cell(ABROAD)?.dir().join("keys"), &keys);
    assert!(matches!(attempt(&whole), Unusable::UnreadableBackup { chunk: 0, .. }));
    fs::remove_file(keys.join("root.key")).unwrap();
    assert!(matches!(attempt(&whole), Unusable::Gone { .. }));
    Ok(())
}

/// By design: a stolen backup dies with its epoch.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_an_epoch_that_is_over_opens_nothing() -> Result<(), Failure> {
    let (mut net, buyer, _, session) = start().await?;
    let old = backup(&net, "old.backup").await?;
    net.cell(HOME)?.operate(Operation::KeysRotateEpoch).await?;
    let new = backup(&net, "new.backup").await?;
    let dir = lose(&mut net)?;
    let why = refused(&old, &dir, &Since::Nothing);
    assert!(matches!(why, Unusable::EpochOver { epoch: 1, .. }), "{why}");
    restore(&new, &dir, &Since::Nothing);
    net.restart(HOME).await?;
    assert_eq!(phone(&buyer.messages(session, 2).await?)["value"]["phone"], CANARY);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_all_that_was_acknowledged_before_it() -> Result<(), Failure> {
    let (mut net, buyer, _, session) = start().await?;
    let load = tokio::spawn({
        let buyer = buyer.clone();
        async move {
            let mut count = 0;
            while buyer.send(session, &Draft::new(P::Inform).content(json!({"n": count}))).await.is_ok() {
                count += 1;
            }
        }
    });
    buyer.await_session(session, SOON, |shown| shown["head"]["sequence"].as_u64() > Some(20)).await?;
    let acknowledged = buyer.head(session).await?;
    let file = backup(&net, "cell.backup").await?;
    let after = buyer.head(session).await?;
    let dir = lose(&mut net)?;
    load.await.unwrap();
    restore(&file, &dir, &Since::Nothing);
    net.restart(HOME).await?;
    let head = buyer.head(session).await?;
    assert!((acknowledged.sequence..=after.sequence).contains(&head.sequence), "{acknowledged:?} {head:?} {after:?}");
    let transcript = buyer.transcript(session).await?;
    let report = verify(&transcript, &Pins::default());
    assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
    assert!(buyer.messages(session, 3).await?.iter().all(|record| record["parts"]["content"]["value"].is_object()));
    Ok(())
}

/// What is left of a backup or a restore that a crash cut short is no backup and no cell, and is in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_or_a_restore_cut_short_is_begun_again() -> Result<(), Failure> {
    let (mut net, buyer, _, session) = start().await?;
    let part = net.dir().join("cell.backup.part");
    fs::write(&part, b"half of an earlier one").unwrap();
    let file = backup(&net, "cell.backup").await?;
    assert!(!part.exists());
    let dir = lose(&mut net)?;
    // As a restore leaves things while the database, the vault and the ledger are written.
    let ledger = ["data/cell.redb", "vault", "data/erasures.log"];
    let config = ["data/cell.redb", "vault", "data/erasures.log", "cell.toml.part"];
    for left in [&["data/cell.redb"][..], &["data/cell.redb", "vault"], &ledger, &config] {
        fs::write(dir.join("restore.unfinished"), "1\n").unwrap();
        fs::create_dir_all(dir.join("data/run")).unwrap();
        for name in left {
            fs::write(dir.join(name), b"half of it").unwrap();
        }
        restore(&file, &dir, &Since::Nothing);
        assert!(!dir.join("restore.unfinished").exists() && !dir.join("cell.toml.part").exists());
        if left.len() < 4 {
            for gone in ["data", "vault", "cell.toml"] {
                let gone = dir.join(gone);
                if gone.is_dir() { fs::remove_dir_all(gone).unwrap() } else { fs::remove_file(gone).unwrap() }
            }
        }
    }
    // Cut after everything was written but the mark: it is a cell, and stays one.
    fs::write(dir.join("restore.unfinished"), "1\n").unwrap();
    assert!(matches!(refused(&file, &dir, &Since::Nothing), Unusable::AlreadyInitialised { .. }));
    net.restart(HOME).await?;
    assert_eq!(phone(&buyer.messages(session, 2).await?)["value"]["phone"], CANARY);
    Ok(())
}

/// The peer has what this cell no longer knows of: they do not talk, and say what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_cell_older_than_its_peers_know_is_refused() -> Result<(), Failure> {
    let (mut net, buyer, seller, session) = start().await?;
    let file = backup(&net, "cell.backup").await?;
    deal::say(&buyer, &[&seller], session, &Draft::new(P::Inform).content(json!({"text": "lost here"}))).await?;
    let there = seller.head(session).await?;
    let dir = lose(&mut net)?;
    restore(&file, &dir, &Since::Nothing);
    net.restart(HOME).await?;
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    for cell in [HOME, ABROAD] {
        loop {
            let peers = net.cell(cell)?.operate(Operation::PeerList).await?;
            let link = &peers["peers"][0];
            if link["state"] == "refused" && link["reason"].as_str().is_some_and(|why| why.contains("restore_behind")) {
                break;
            }
            assert!(tokio::time::Instant::now() < end, "{cell}: {peers}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(seller.head(session).await?, there, "what it has stays");
    Ok(())
}

/// Waits until the link of `cell` is refused as behind.
async fn behind(net: &Federation, cell: &str) -> Result<(), Failure> {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let peers = net.cell(cell)?.operate(Operation::PeerList).await?;
        let link = &peers["peers"][0];
        if link["state"] == "refused" && link["reason"].as_str().is_some_and(|why| why.contains("restore_behind")) {
            return Ok(());
        }
        assert!(tokio::time::Instant::now() < end, "{cell}: {peers}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn forward(net: &Federation, cell: &str, peer: &str) -> Result<Value, Failure> {
    let reason = "the disk of 23 November".to_owned();
    net.cell(cell)?.operate(Operation::PeerForward { cell: peer.parse().unwrap(), reason }).await
}

/// Acts that the audit log holds about a peer.
async fn peer_acts(net: &Federation, cell: &str) -> Result<usize, Failure> {
    let log = net.cell(cell)?.operate(Operation::AuditExport).await?;
    Ok(log["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "peer").count())
}

async fn frozen(net: &Federation, cell: &str, session: SessionId) -> Result<Value, Failure> {
    let list = net.cell(cell)?.operate(Operation::SessionList).await?;
    let of = |shown: &&Value| shown["sessionId"] == json!(session);
    Ok(list["sessions"].as_array().unwrap().iter().find(of).unwrap()["frozen"].clone())
}

/// Both operators agree: the cells talk again, what the restored cell hosted is frozen in both, what the other hosts is
/// caught up and goes on, and neither word covers another restore.
#[tokio::test(flavor = "multi_thread")]
async fn both_operators_bring_a_restored_cell_forward() -> Result<(), Failure> {
    let (mut net, buyer, seller, hosted) = start().await?;
    let theirs = deal::open(&seller, &[&buyer]).await?;
    let note = |text: &str| Draft::new(P::Inform).content(json!({"text": text}));
    let file = backup(&net, "cell.backup").await?;
    deal::say(&buyer, &[&seller], hosted, &note("lost here")).await?;
    deal::say(&seller, &[&buyer], theirs, &note("lost there, and asked for")).await?;
    let there = seller.head(hosted).await?;
    let dir = lose(&mut net)?;
    restore(&file, &dir, &Since::Nothing);
    net.restart(HOME).await?;
    for cell in [HOME, ABROAD] {
        behind(&net, cell).await?;
    }

    // One word alone changes nothing.
    let acts = (peer_acts(&net, HOME).await?, peer_acts(&net, ABROAD).await?);
    assert!(forward(&net, ABROAD, HOME).await?["until"].is_string());
    behind(&net, HOME).await?;
    assert!(frozen(&net, HOME, hosted).await?.is_null());

    forward(&net, HOME, ABROAD).await?;
    forward(&net, ABROAD, HOME).await?;
    net.linked(HOME, ABROAD, Duration::from_secs(30)).await?;
    for cell in [HOME, ABROAD] {
        let why = frozen(&net, cell, hosted).await?;
        assert!(why.as_str().is_some_and(|why| why.contains("restore_behind")), "{cell}: {why}");
        assert!(frozen(&net, cell, theirs).await?.is_null(), "{cell}: its host lost nothing of it");
    }
    let now = (peer_acts(&net, HOME).await?, peer_acts(&net, ABROAD).await?);
    assert!(now.0 >= acts.0 + 2 && now.1 >= acts.1 + 2, "word and deed are in both logs: {acts:?} {now:?}");

    // Nothing more is placed in what was frozen, and what the peer has of it stays.
    let fresh = buyer.send(hosted, &note("instead of what was lost")).await;
    let why = fresh.and_then(|answer| answer.placed().map(|_| ())).unwrap_err().to_string();
    assert!(why.contains("restore_behind"), "{why}");
    assert_eq!(seller.head(hosted).await?, there);

    // What the other hosts is whole again, and new sessions go both ways.
    deal::say(&seller, &[&buyer], theirs, &note("and on")).await?;
    assert_eq!(buyer.head(theirs).await?, seller.head(theirs).await?);
    let anew = deal::open(&buyer, &[&seller]).await?;
    deal::say(&buyer, &[&seller], anew, &note("once more")).await?;
    deal::say(&seller, &[&buyer], anew, &note("gladly")).await?;
    for agent in [&buyer, &seller] {
        for session in [theirs, anew] {
            let report = verify(&agent.transcript(session).await?, &Pins::default());
            assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());
        }
    }

    // Restarts change nothing; another restore needs two words again.
    net.stop(HOME).await?;
    net.restart(HOME).await?;
    net.linked(HOME, ABROAD, Duration::from_secs(30)).await?;
    let dir = lose(&mut net)?;
    restore(&file, &dir, &Since::Nothing);
    net.restart(HOME).await?;
    behind(&net, HOME).await?;
    behind(&net, ABROAD).await
}

/// What was received after the backup and erased after that is not fetched again readable, whatever the scope; what came
/// after the erasure is.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_and_erased_since_the_backup_is_not_caught_up_again() -> Result<(), Failure> {
    let scopes: [fn(SessionId, MessageId) -> ErasureScope; 3] = [
        |session, _| ErasureScope::Session(session),
        |session, message| ErasureScope::Message(session, message, Some("content".to_owned())),
        |_, _| ErasureScope::Subject(deal::contact()),
    ];
    for (number, scope) in scopes.into_iter().enumerate() {
        let all = ["card", "content", "metadata", "personal", "trust"];
        let consent = ConsentSpec::between("acme.example", "beta.example").classes(&all);
        let (mut net, buyer, seller, _) = start_under(consent).await?;
        let theirs = deal::open(&seller, &[&buyer]).await?;
        let file = backup(&net, "cell.backup").await?;
        let personal = number == 2;
        let draft = Draft::new(P::Inform);
        let draft = if personal {
            draft.personal(deal::contact(), json!({"phone": CANARY}))
        } else {
            draft.content(json!({"text": CANARY}))
        };
        deal::say(&seller, &[&buyer], theirs, &draft).await?;
        settled(&net).await?;
        let all = json!(buyer.messages(theirs, 1).await?);
        assert!(all.to_string().contains(CANARY), "{number}");
        let message = all.as_array().unwrap().last().unwrap()["messageId"].as_str().unwrap().parse().unwrap();
        let (org, scope) = ("acme.example".parse().unwrap(), scope(theirs, message));
        net.cell(HOME)?.operate(Operation::Erase { org, scope, ground: "no longer needed".to_owned() }).await?;
        assert!(!json!(buyer.messages(theirs, 1).await?).to_string().contains(CANARY), "{number}");
        deal::say(&seller, &[&buyer], theirs, &Draft::new(P::Inform).content(json!({"text": "still here"}))).await?;
        settled(&net).await?;
        let ledger = net.dir().join("erasures.copy");
        fs::copy(net.cell(HOME)?.data_dir().join("erasures.log"), &ledger).unwrap();
        let dir = lose(&mut net)?;
        restore(&file, &dir, &Since::Ledger(ledger));
        net.restart(HOME).await?;
        for cell in [HOME, ABROAD] {
            behind(&net, cell).await?;
        }
        forward(&net, HOME, ABROAD).await?;
        forward(&net, ABROAD, HOME).await?;
        net.linked(HOME, ABROAD, Duration::from_secs(30)).await?;
        deal::say(&seller, &[&buyer], theirs, &Draft::new(P::Inform).content(json!({"text": "and on"}))).await?;
        assert_eq!(buyer.head(theirs).await?, seller.head(theirs).await?);
        // Once more after a restart: what is noted of it is durable.
        net.kill(HOME)?;
        net.restart(HOME).await?;
        let found = json!(buyer.messages(theirs, 1).await?).to_string();
        assert!(!found.contains(CANARY), "{number}: {found}");
        assert!(found.contains("still here") && found.contains("and on"), "{number}: {found}");
    }
    Ok(())
}

/// The restored cell was written to before it met its peer again: what it gave numbers to then hides nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_cell_that_went_on_alone_is_refused_all_the_same() -> Result<(), Failure> {
    let (mut net, buyer, seller, session) = start().await?;
    let note = |text: &str| Draft::new(P::Inform).content(json!({"text": text}));
    let file = backup(&net, "cell.backup").await?;
    deal::say(&buyer, &[&seller], session, &note("lost here")).await?;
    let there = seller.head(session).await?;
    let dir = lose(&mut net)?;
    restore(&file, &dir, &Since::Nothing);
    net.stop(ABROAD).await?;
    net.restart(HOME).await?;
    for text in ["one", "two", "three", "four", "five", "six"] {
        buyer.send(session, &note(text)).await?.placed()?;
    }
    net.restart(ABROAD).await?;
    behind(&net, HOME).await?;
    assert_eq!(seller.head(session).await?, there, "nothing of the other story came");
    forward(&net, HOME, ABROAD).await?;
    forward(&net, ABROAD, HOME).await?;
    net.linked(HOME, ABROAD, Duration::from_secs(30)).await?;
    assert!(frozen(&net, HOME, session).await?.is_string());
    let anew = deal::open(&buyer, &[&seller]).await?;
    deal::say(&seller, &[&buyer], anew, &note("in a new one")).await?;
    assert_eq!(seller.record(session, there.sequence, SOON).await?["hash"], json!(there.hash), "told once, kept");
    Ok(())
}

/// The consent's status in a cell.
async fn consent_of(net: &Federation, cell: &str) -> Result<Value, Failure> {
    let list = net.cell(cell)?.operate(Operation::ConsentList).await?;
    Ok(list["consents"][0].clone())
}

/// The peer revoked since the backup: the restored cell hears of it over the first link, before anything leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_since_the_backup_comes_back_from_the_peer() -> Result<(), Failure> {
    let (mut net, buyer, seller, _) = start().await?;
    let file = backup(&net, "cell.backup").await?;
    let consent = consent_of(&net, ABROAD).await?["document"]["consentId"].as_str().unwrap().parse().unwrap();
    let (org, reason) = ("beta.example".parse().unwrap(), Some("decision 7".to_owned()));
    net.cell(ABROAD)?.operate(Operation::ConsentRevoke { consent, org, reason }).await?;
    let end = tokio::time::Instant::now() + SOON;
    while consent_of(&net, HOME).await?["status"] != "revoked" {
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let dir = lose(&mut net)?;
    restore(&file, &dir, &Since::Nothing);
    net.restart(HOME).await?;
    behind(&net, HOME).await?;
    forward(&net, HOME, ABROAD).await?;
    forward(&net, ABROAD, HOME).await?;
    // Asked while nobody has told it yet: what is queued now must not leave either.
    let early = deal::open(&buyer, &[&seller]).await;
    net.linked(HOME, ABROAD, Duration::from_secs(30)).await?;
    let end = tokio::time::Instant::now() + SOON;
    while consent_of(&net, HOME).await?["status"] != "revoked" {
        assert!(tokio::time::Instant::now() < end, "{}", consent_of(&net, HOME).await?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(early.is_err(), "nobody can be asked under it");
    let refused = deal::open(&buyer, &[&seller]).await.unwrap_err().to_string();
    assert!(refused.contains("consent_revoked"), "{refused}");
    let there = net.cell(ABROAD)?.operate(Operation::SessionList).await?;
    assert_eq!(there["sessions"].as_array().unwrap().len(), 1, "no INVITE has left under it: {there}");
    Ok(())
}
