//! Outside witnesses of the audit log: a strict one made here, and the one of `PyPI` where it is installed.
//! docs/spec/federation.md section 5; C2SP tlog-witness, tlog-cosignature, signed-note.
//!
//! `ASP_CELL_WITNESS` names the `aics-witness` program (`.ci/run` installs it where there is a Python 3.12); without it
//! that one test says "skipped".

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod cli;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::ed25519::{NoteKey, verify};
use asp_cell::crypto::secret::Secret;
use asp_cell::protocol::merkle;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cli::{Cell, Federation, asp_cell, document};
use serde_json::{Value, json};

const NAME: &str = "witness.example/w1";

/// A witness as the specification has it, and nothing more forgiving.
struct Witness {
    key: NoteKey,
    /// The log's verifier key, once the operator has given it.
    log: Option<String>,
    last: (u64, Digest),
    seconds: u64,
    lies: bool,
}

fn line(name: &str, id: &[u8], signature: &[u8]) -> String {
    format!("\u{2014} {name} {}\n", STANDARD.encode([id, signature].concat()))
}

fn key_id(name: &str, kind: u8, key: &[u8]) -> [u8; 4] {
    Digest::of(&[name.as_bytes(), b"\n", &[kind], key]).bytes()[..4].try_into().unwrap()
}

impl Witness {
    fn vkey(&self) -> String {
        let id = u32::from_be_bytes(key_id(NAME, 4, self.key.public()));
        format!("{NAME}+{id:08x}+{}", STANDARD.encode([&[4], self.key.public().as_slice()].concat()))
    }

    fn add(&mut self, body: &str) -> (StatusCode, String) {
        let (head, note) = body.split_once("\n\n").unwrap();
        let mut head = head.split('\n');
        let old: u64 = head.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
        let hash = |text: &str| Digest(STANDARD.decode(text).unwrap().try_into().unwrap());
        let proof: Vec<Digest> = head.map(hash).collect();
        let (text, signatures) = note.split_once("\n\n").unwrap();
        let text = format!("{text}\n");
        let members: Vec<&str> = text.lines().collect();
        let (size, root): (u64, Digest) = (members[1].parse().unwrap(), hash(members[2]));
        let Some(log) = &self.log else { return (StatusCode::NOT_FOUND, "unknown origin".to_owned()) };
        let parts: Vec<&str> = log.splitn(3, '+').collect();
        if parts[0] != members[0] {
            return (StatusCode::NOT_FOUND, "unknown origin".to_owned());
        }
        let key: [u8; 32] = STANDARD.decode(parts[2]).unwrap()[1..].try_into().unwrap();
        let known = signatures.lines().any(|given| {
            let signature =
                given.strip_prefix(&format!("\u{2014} {} ", parts[0])).map(|text| STANDARD.decode(text).unwrap());
            signature.is_some_and(|s| s[..4] == key_id(parts[0], 1, &key) && verify(&key, text.as_bytes(), &s[4..]))
        });
        if !known {
            return (StatusCode::FORBIDDEN, "no signature by a trusted key".to_owned());
        }
        if old > size {
            return (StatusCode::BAD_REQUEST, "old is larger than the checkpoint".to_owned());
        }
        if old != self.last.0 {
            return (StatusCode::CONFLICT, format!("{}\n", self.last.0));
        }
        let same = size == old && (old == 0 || root == self.last.1) && proof.is_empty();
        let grown = size > old && (old == 0 && proof.is_empty() || merkle::continues(self.last, (size, root), &proof));
        if !same && !grown {
            return (StatusCode::UNPROCESSABLE_ENTITY, "the proof does not hold".to_owned());
        }
        self.last = (size, root);
        self.seconds += 1;
        let signed = format!("cosignature/v1\ntime {}\n{text}", self.seconds);
        let signature = self.key.sign(if self.lies { b"something else" } else { signed.as_bytes() });
        let stamped = [self.seconds.to_be_bytes().as_slice(), &signature].concat();
        (StatusCode::OK, line(NAME, &key_id(NAME, 4, self.key.public()), &stamped))
    }
}

type Shared = Arc<Mutex<Witness>>;

async fn serve() -> (Shared, SocketAddr) {
    let key = NoteKey::of(&Secret::take(&mut [9; 32])).unwrap();
    let last = (0, Digest::default());
    let witness = Arc::new(Mutex::new(Witness { key, log: None, last, seconds: 1_773_392_400, lies: false }));
    let answer = async |State(witness): State<Shared>, body: String| witness.lock().unwrap().add(&body);
    let app = Router::new().route("/w/add-checkpoint", post(answer)).with_state(Arc::clone(&witness));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (witness, address)
}

/// Names a witness in the cell's configuration.
fn configured(cell: &Cell, url: &str, vkey: &str) {
    let text = fs::read_to_string(cell.config()).unwrap();
    let text = text.replacen("[keys]\n", &format!("[[witnesses]]\nurl = \"{url}\"\nvkey = \"{vkey}\"\n[keys]\n"), 1);
    fs::write(cell.config(), text).unwrap();
}

fn signed(shown: &Value) -> u64 {
    shown["witnesses"][0]["size"].as_u64().unwrap_or_default()
}

/// `audit verify FILE`: exit status and what it says.
fn off_line(federation: &Federation, file: &Path, witness: &str) -> (Option<i32>, Value) {
    let ca = format!("{}/ca.pem", federation.certs());
    let checked = asp_cell(&["audit", "verify", "--json", file.to_str().unwrap(), "--ca", &ca, "--witness", witness]);
    (checked.status.code(), document(&checked.stdout))
}

/// The log is signed as it grows, across a restart, and a stranger checks it with the witness's key alone.
fn is_witnessed(federation: &Federation, cell: &mut Cell, vkey: &str) {
    let first = cell.until(&["audit", "verify"], |shown| signed(shown) > 0);
    cell.done(&["org", "add", "gamma.example"]);
    cell.stop();
    cell.start();
    let grown = cell.until(&["audit", "verify"], |shown| signed(shown) > signed(&first));
    assert_eq!(grown["witnesses"][0]["witness"], vkey);

    let file = federation.dir.path().join("audit.json");
    cell.done(&["audit", "export", "--out", file.to_str().unwrap()]);
    let (status, report) = off_line(federation, &file, vkey);
    assert_eq!((status, &report["verdict"]), (Some(0), &json!("verified")), "{report}");
    assert_eq!(report["warnings"], json!([]));
    let other = NoteKey::of(&Secret::take(&mut [8; 32])).unwrap();
    let id = u32::from_be_bytes(key_id(NAME, 4, other.public()));
    let stranger = format!("{NAME}+{id:08x}+{}", STANDARD.encode([&[4], other.public().as_slice()].concat()));
    let (status, report) = off_line(federation, &file, &stranger);
    assert_eq!((status, &report["problems"][0]["problem"]), (Some(1), &json!("witness")), "{report}");
    let mut forged: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    forged["witnessed"][0]["at"] = json!("2020-01-01T00:00:00.000Z");
    fs::write(&file, forged.to_string()).unwrap();
    assert_eq!(off_line(federation, &file, vkey).0, Some(1), "when it was signed is under its signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_witness_signs_the_log_as_it_grows() {
    let (witness, address) = serve().await;
    let federation = Federation::with_ca();
    let mut cell = federation.cell("eu-west-1", "EEA");
    let vkey = witness.lock().unwrap().vkey();
    configured(&cell, &format!("http://{address}/w"), &vkey);
    cell.start();
    cell.done(&["org", "add", "acme.example"]);
    // Not known there yet: refused, which stands in no operator's way.
    let log = cell.done(&["audit", "verify"]);
    assert_eq!(signed(&log), 0);
    cell.stop();
    witness.lock().unwrap().log = Some(log["vkey"].as_str().unwrap().to_owned());
    cell.start();
    is_witnessed(&federation, &mut cell, &vkey);

    // Another memory of the same history: from there on.
    let size = witness.lock().unwrap().last.0;
    witness.lock().unwrap().last = (0, Digest::default());
    cell.done(&["org", "add", "delta.example"]);
    cell.stop();
    cell.start();
    cell.until(&["audit", "verify"], |shown| signed(shown) > size);

    // A signature that is none is not kept, a longer memory than the log is an alarm.
    let size = witness.lock().unwrap().last.0;
    witness.lock().unwrap().lies = true;
    cell.done(&["org", "add", "epsilon.example"]);
    cell.stop();
    cell.start();
    while witness.lock().unwrap().last.0 == size {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(signed(&cell.done(&["audit", "verify"])), size);
    witness.lock().unwrap().last = (10_000, Digest::default());
    cell.stop();
    cell.start();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let (_, _, told) = cell.stop();
    assert!(told.contains("was this cell set back?"), "{told}");
}

/// The witness of `PyPI`, and its process.
struct Outside(Child);

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_others_wrote_signs_the_log() {
    let Some(program) = std::env::var_os("ASP_CELL_WITNESS") else {
        return println!("skipped: no outside witness, ASP_CELL_WITNESS names no aics-witness (it needs Python 3.12)");
    };
    let federation = Federation::with_ca();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    cell.done(&["org", "add", "acme.example"]);
    let log = cell.done(&["audit", "verify"])["vkey"].as_str().unwrap().to_owned();
    cell.stop();

    let config = federation.dir.path().join("witness.json");
    let run = |arguments: &[&str]| {
        let output = Command::new(&program).args(arguments).arg("--config").arg(&config).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let made = run(&["init", "--name", NAME, "--listen", &address.to_string()]);
    let vkey = made.split_whitespace().find(|word| word.starts_with(NAME) && word.contains('+')).unwrap().to_owned();
    run(&["add-log", "--origin", "asp-cell/eu-west-1/audit", "--vkey", &log]);
    let mut serving = Command::new(&program);
    let serving = serving.arg("serve").arg("--config").arg(&config).stderr(Stdio::piped()).spawn().unwrap();
    let mut outside = Outside(serving);
    let mut told = BufReader::new(outside.0.stderr.take().unwrap());
    told.read_line(&mut String::new()).unwrap();
    while std::net::TcpStream::connect(address).is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    configured(&cell, &format!("http://{address}"), &vkey);
    cell.start();
    is_witnessed(&federation, &mut cell, &vkey);
}
