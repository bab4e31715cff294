//! What an erasure certificate proves, off line: each change of it is refused, and for the right reason, also when the
//! cell itself signs the change. docs/spec/details.md S12, docs/spec/federation.md section 4.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod deal;

use std::fs;

use asp_cell::crypto::digest::{Digest, base64url};
use asp_cell::crypto::entropy::Seeded;
use asp_cell::crypto::es256::SigningKey;
use asp_cell::crypto::json::canonical;
use asp_cell::crypto::jws::{self, Kind};
use asp_cell::engine::Operation;
use asp_cell::engine::operation::ErasureScope;
use asp_cell::protocol::transcript::{Pins, Report, Verdict, verify_bytes};
use asp_cell::testkit::search::files;
use asp_cell::testkit::{ConsentSpec, Failure, Topology};
use serde_json::{Value, json};

const BUYER: &str = "agent://acme.example/procurement";
const SELLER: &str = "agent://beta.example/sales";
const CELLS: [&str; 2] = ["eu-west-1", "us-east-1"];

/// A sealed certificate with the peer's in it, and the key that its cell signs with.
async fn certified() -> Result<(Value, SigningKey), Failure> {
    let classes = ["card", "content", "metadata", "personal", "trust"];
    let net = Topology::new()
        .cell(CELLS[0], "eu-west-1", "EEA")
        .cell(CELLS[1], "us-east-1", "US")
        .org("acme.example", CELLS[0])
        .org("beta.example", CELLS[1])
        .funds("acme.example", deal::PRICE, "USD")
        .agent(BUYER)
        .agent(SELLER)
        .consent(ConsentSpec::between("acme.example", "beta.example").classes(&classes))
        .start()
        .await?;
    let (buyer, seller) = (net.agent(BUYER)?, net.agent(SELLER)?);
    let session = deal::open(&buyer, &[&seller]).await?;
    let agreed = deal::agree(&buyer, &seller, &[], session).await?;
    deal::execute(&buyer, &seller, &[], session, &agreed).await?;
    let scope = ErasureScope::Subject(deal::contact());
    let erase =
        Operation::Erase { org: "acme.example".parse().unwrap(), scope, ground: "GDPR Art. 17(1)(b)".to_owned() };
    let shown = net.cell(CELLS[0])?.operate(erase).await?;
    let request = shown["requestId"].as_str().unwrap().parse().unwrap();
    for cell in [CELLS[1], CELLS[0]] {
        net.cell(cell)?.operate(Operation::KeysRotateEpoch).await?;
    }
    let mut shown = Value::Null;
    while shown["payload"]["recipients"][0]["status"] != "certified" {
        shown = net.cell(CELLS[0])?.operate(Operation::EraseStatus { request: Some(request) }).await?;
    }
    let all = files(net.cell(CELLS[0])?.dir().parent().unwrap()).unwrap();
    let key = all.iter().find(|file| file.ends_with("eu-west-1-signing.key")).expect("the signing key's file");
    let key = fs::read_to_string(key).unwrap();
    Ok((shown, SigningKey::from_pkcs8_pem(&key).unwrap()))
}

fn judged(file: &Value) -> Report {
    verify_bytes(file.to_string().as_bytes(), &Pins::default())
}

fn reasons(report: &Report) -> Vec<&'static str> {
    report.problems().iter().map(|problem| problem.what).collect()
}

/// Changes one place of the payload and signs it again; with `entered` the audit entry is made to fit as well.
fn forged(file: &Value, key: &SigningKey, pointer: &str, value: &Value, entered: bool) -> Value {
    let mut payload = file["payload"].clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = payload.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    match name.parse::<usize>() {
        Ok(place) => parent[place] = value.clone(),
        Err(_) => parent[name] = value.clone(),
    }
    if entered {
        let mut without = payload.clone();
        without.as_object_mut().unwrap().remove("inclusion");
        payload["inclusion"]["entry"]["digest"] = json!(Digest::of(&[canonical(&without).as_bytes()]));
    }
    let mut file = file.clone();
    file["certificate"] = json!(jws::sign(key, Kind::Erasure, &payload));
    file["payload"] = payload;
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_verifies_and_no_changed_one_does() -> Result<(), Failure> {
    let (file, key) = certified().await?;
    let report = judged(&file);
    assert_eq!(report.verdict(), Verdict::Verified, "{}", report.to_json());

    // Unsigned changes: of what is shown, of the signed text, of the keys.
    for (pointer, value, reason) in [
        ("/payload/level", json!("logical"), "payload"),
        ("/payload/counts/parts", json!(2), "payload"),
        ("/status", json!("logical"), "status"),
        ("/heldBy", json!(["operator"]), "heldBy"),
        ("/requestId", json!("0198f0a0-0000-7000-8000-000000000001"), "certificateId"),
        ("/cells", json!([file["cells"][1]]), "cell key"),
        ("/cells", json!([file["cells"][0]]), "cell key"),
        ("/cells/0/id", json!("ap-northeast-1"), "cell key"),
        ("/certificate", json!(7), "certificate"),
        ("/certificate", json!("a.b.c"), "certificate"),
        ("/certificate", file["payload"]["recipients"][0]["certificate"].clone(), "payload"),
    ] {
        let mut changed = file.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let report = judged(&changed);
        assert!(reasons(&report).contains(&reason), "{pointer}: {}", report.to_json());
    }

    let mut noted = file.clone();
    noted["note"] = json!("every copy is gone");
    assert_eq!(reasons(&judged(&noted)), ["shape"]);
    assert_eq!(report.subject()["scope"], file["payload"]["scope"]);

    // Signed changes: the cell contradicts its own log, its checkpoint, its peer or itself.
    let other = json!(Digest::of(&[b"other"]));
    let checkpoint = file["payload"]["inclusion"]["checkpoint"].as_str().unwrap().replacen("audit", "tidua", 1);
    for (pointer, value, entered, reason) in [
        ("/level", json!("logical"), false, "entry"),
        ("/level", json!("logical"), true, "inclusion"),
        ("/level", json!("anonymised"), true, "level"),
        ("/media/trusted", json!("yes"), true, "level"),
        ("/ground", json!("none"), false, "entry"),
        ("/counts/parts", json!(7), true, "inclusion"),
        ("/slots", json!([other]), true, "inclusion"),
        ("/scope/tag", other.clone(), true, "entry"),
        ("/completedAt", json!("2020-01-01T00:00:00.000Z"), true, "completedAt"),
        ("/requestedAt", json!("then"), true, "requestedAt"),
        ("/certificateId", json!("one"), true, "certificateId"),
        ("/heads/0/after", other.clone(), true, "head"),
        ("/inclusion/leafIndex", json!(0), false, "inclusion"),
        ("/inclusion/treeSize", json!(1), false, "inclusion"),
        ("/inclusion/path", json!([]), false, "inclusion"),
        ("/inclusion/path/0", other.clone(), false, "inclusion"),
        ("/inclusion/entry/at", json!("2020-01-01T00:00:00.000Z"), false, "inclusion"),
        ("/inclusion/entry/kind", json!("key"), false, "entry"),
        ("/inclusion/entry/digest", other.clone(), false, "entry"),
        ("/inclusion/checkpoint", json!(checkpoint), false, "checkpoint"),
        ("/inclusion/checkpoint", json!("none"), false, "checkpoint"),
        ("/inclusion", json!(null), false, "entry"),
        ("/recipients/0/status", json!("done"), true, "recipient"),
        ("/recipients/0/deferred", json!([{"sessionId": "x", "heldBy": "operator"}]), true, "recipient"),
        ("/recipients/0/certificate", json!(null), true, "recipient"),
        ("/recipients/0/certificate", file["certificate"].clone(), true, "cell"),
        ("/recipients/0/cell", json!("ap-northeast-1"), true, "cell"),
        ("/cell", json!(CELLS[1]), true, "cell key"),
    ] {
        let report = judged(&forged(&file, &key, pointer, &value, entered));
        assert_eq!(report.verdict(), Verdict::Corrupt, "{pointer} = {value}");
        assert!(reasons(&report).contains(&reason), "{pointer} = {value}: {}", report.to_json());
    }

    // A thousand changes of single characters of the signed text.
    let text = file["certificate"].as_str().unwrap().to_owned();
    let mut luck = Seeded::new(3);
    for _ in 0..1000 {
        let at = usize::try_from(luck.below(text.len() as u64)).unwrap();
        let with = char::from(base64url(&[u8::try_from(luck.below(256)).unwrap()]).as_bytes()[0]);
        let changed = format!("{}{with}{}", &text[..at], &text[at + 1..]);
        if changed == text {
            continue;
        }
        let mut file = file.clone();
        file["certificate"] = json!(changed);
        let report = judged(&file);
        let refused = reasons(&report).iter().any(|why| ["certificate", "signature", "cell", "cell key"].contains(why));
        assert!(refused, "{at}: {}", report.to_json());
    }
    Ok(())
}
