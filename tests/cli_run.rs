//! A cell of the built binary: where it says it listens, who may ask it, and how it ends (docs/spec/details.md
//! sections 15 and S23).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod cli;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use cli::{Federation, asp_cell, document};
use serde_json::{Value, json};

/// A GET over HTTP/1.1, whole.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn the_first_line_and_the_file_say_where_it_listens_and_the_file_goes_with_the_cell() {
    let federation = Federation::new();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    let published: Value = serde_json::from_slice(&fs::read(cell.published()).unwrap()).unwrap();
    assert_eq!(published, cell.listeners);
    assert_eq!(published["federation"], Value::Null, "no certificate, no federation");
    assert!(published["pid"].as_u64().is_some());
    let (status, ready) = get(cell.address("operator"), "/readyz");
    assert_eq!(status, 200);
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(ready, json!({"ready": true, "checks": {"store": "ok", "keys": "ok", "listener": "ok"}}));
    assert_eq!(get(cell.address("operator"), "/healthz").0, 200);
    let (status, metrics) = get(cell.address("operator"), "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("asp_build_info{version="), "{metrics}");
    assert_eq!(get(cell.address("api"), "/metrics").0, 404, "not public unless told so");
    let discovery: Value = serde_json::from_str(&get(cell.address("api"), "/.well-known/asp-configuration").1).unwrap();
    assert_eq!(discovery["cell"]["publicUrl"], format!("http://{}", cell.address("api")), "the bound address");
    let (status, took, log) = cell.stop();
    assert_eq!(status, Some(0), "{log}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(!cell.published().exists());
    assert!(log.contains("federation is off"), "{log}");
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).expect(line);
        assert!(entry["level"].is_string() && entry["timestamp"].is_string(), "{line}");
    }
}

#[test]
fn organisations_outlive_the_process() {
    let federation = Federation::new();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    let added = cell.done(&["org", "add", "acme.example"]);
    assert_eq!(added["organisation"], "acme.example");
    assert!(added["enrolmentKey"].as_str().unwrap().len() >= 32);
    let key = cell.done(&["org", "key", "acme.example"]);
    assert_eq!(key["jwk"]["crv"], "P-256");
    cell.done(&["org", "policy", "acme.example", "--allow-zone", "US", "--basis", "SCC-2021/914 module 1"]);
    cell.stop();
    cell.start();
    let listed = cell.done(&["org", "list"]);
    assert_eq!(listed, json!({"organisations": [{"organisation": "acme.example", "policy": ["EEA", "US"]}]}));
    assert_eq!(cell.done(&["org", "key", "acme.example", "--show"]), key);
    assert_ne!(cell.done(&["org", "key", "acme.example", "--rotate"])["kid"], key["kid"]);
    assert_eq!(cell.refused(&["org", "add", "acme.example"])["code"], "duplicate");
    assert_eq!(cell.refused(&["org", "key", "other.example"])["code"], "not_found");
    assert_eq!(cell.refused(&["org", "add", "ACME"])["pointer"], "/org");
}

/// Made by openssl; nobody has its private half.
const OWN_KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQ3rqIZxf1a0snSppiXAfbKHdsH3B
Vrs5esNfpGNZvrHbjJJT2JAonzdMi2yS+7Urvd9UuWywp5IAGqGAVOWubg==
-----END PUBLIC KEY-----
";

#[test]
fn an_organisation_may_keep_its_consent_key_to_itself() {
    let federation = Federation::new();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    cell.done(&["org", "add", "acme.example"]);
    let file = federation.dir.path().join("own.pem");
    fs::write(&file, OWN_KEY).unwrap();
    let given = cell.done(&["org", "key", "acme.example", "--public-key", file.to_str().unwrap()]);
    assert_eq!(cell.done(&["org", "key", "acme.example"]), given);
    fs::write(&file, given["jwk"].to_string()).unwrap();
    let again = cell.done(&["org", "key", "acme.example", "--public-key", file.to_str().unwrap()]);
    assert_eq!(again["kid"], given["kid"], "the same key as a JWK");
    fs::write(&file, "no key").unwrap();
    let problem = cell.refused(&["org", "key", "acme.example", "--public-key", file.to_str().unwrap()]);
    assert_eq!(problem["pointer"], "/publicKey");
}

#[test]
fn a_cell_that_was_killed_starts_again_and_its_old_file_is_seen_through() {
    let federation = Federation::new();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    cell.done(&["org", "add", "acme.example"]);
    cell.kill();
    assert!(cell.published().exists(), "nobody took it away");
    assert_eq!(cell.refused(&["org", "list"])["code"], "peer_unreachable");
    cell.start();
    assert_eq!(cell.done(&["org", "list"])["organisations"][0]["organisation"], "acme.example");
}

#[test]
fn nobody_asks_without_the_token_and_a_token_that_others_can_read_is_refused() {
    let federation = Federation::new();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    let token = cell.dir.join("data/operator.token");
    let right = fs::read_to_string(&token).unwrap();
    fs::write(&token, "A".repeat(43)).unwrap();
    let problem = cell.refused(&["org", "list"]);
    assert_eq!((&problem["code"], &problem["status"]), (&json!("unauthorized"), &json!(401)));
    fs::write(&token, right).unwrap();
    cell.done(&["org", "list"]);
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(cell.refused(&["org", "list"])["detail"].as_str().unwrap().contains("chmod"));
    fs::remove_file(&token).unwrap();
    let detail = cell.refused(&["org", "list"])["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("there is no such file") && !detail.contains("restart"), "{detail}");
}

#[test]
fn a_peer_that_could_never_be_reached_is_refused_when_it_is_added() {
    let federation = Federation::new();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    let pin = "A".repeat(43);
    let add = |address, zone| {
        ["peer", "add", "us-east-1", "--address", address, "--region", "us-east-1", "--zone", zone, "--spki", &pin]
    };
    for wrong in ["127.0.0.1", ":7443", "127.0.0.1:0", "127.0.0.1:quic", "::1:7443"] {
        assert_eq!(cell.refused(&add(wrong, "US"))["pointer"], "/address", "{wrong}");
    }
    let problem = cell.refused(&add("127.0.0.1:7443", "us"));
    assert_eq!(problem["pointer"], "/zone");
    assert!(problem["detail"].as_str().unwrap().matches("expected").count() == 1, "{problem}");
    for right in ["127.0.0.1:7443", "[::1]:7443", "cell.example:7443"] {
        cell.done(&add(right, "US"));
    }
}

#[test]
fn one_data_directory_one_process() {
    let federation = Federation::new();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    let second = cell.spawn(&[]).wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let problem = document(&second.stderr);
    let pid = cell.listeners["pid"].to_string();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("in use by another process") && detail.contains(&pid), "{problem}");
    assert!(cell.published().exists(), "the first one's file is left alone");
    cell.done(&["org", "list"]);
}

#[test]
fn what_cannot_be_started_says_which_file_and_what_to_do() {
    let federation = Federation::with_ca();
    let cell = federation.cell("eu-west-1", "EEA");
    let fails = |variables: &[(&str, &str)]| {
        let output = cell.spawn(variables).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        document(&output.stderr)["detail"].as_str().unwrap().to_owned()
    };
    let key = format!("{}/eu-west-1.key", federation.certs());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(fails(&[]).contains("federation.key: "), "a key that others may read");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let busy = fails(&[("ASP_CELL__API__LISTEN", &address)]);
    assert!(busy.contains("[api] listen") && busy.contains(&address), "{busy}");
    fs::remove_file(cell.dir.join("vault")).unwrap();
    let lost = fails(&[]);
    assert!(lost.contains("vault: missing"), "{lost}");
}

#[test]
fn verify_judges_a_file_without_any_cell() {
    let dir = tempfile::tempdir().unwrap();
    let (file, ca) = (dir.path().join("t.json"), dir.path().join("ca.pem"));
    let path = file.to_str().unwrap();
    let vectors: Value = serde_json::from_slice(&fs::read("tests/vectors/transcript.json").unwrap()).unwrap();
    fs::write(&file, vectors["transcript"].to_string()).unwrap();
    fs::write(&ca, vectors["caPem"].as_str().unwrap()).unwrap();
    let verified = asp_cell(&["verify", "--json", path, "--ca", ca.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let report = document(&verified.stdout);
    assert_eq!(report["verdict"], "verified");
    assert_eq!(report["messages"][2], json!({"sequence": 3, "verdict": "withheld"}));
    let warned = document(&asp_cell(&["verify", "--json", path]).stdout);
    assert!(!warned["warnings"].as_array().unwrap().is_empty(), "keys of the file alone: {warned}");

    let tampered = vectors["transcript"].to_string().replacen("1800.00", "1800.01", 1);
    fs::write(&file, tampered).unwrap();
    let corrupt = asp_cell(&["verify", "--json", path]);
    assert_eq!(corrupt.status.code(), Some(1));
    assert_eq!(document(&corrupt.stdout)["verdict"], "corrupt");
    let told = asp_cell(&["verify", path]);
    assert!(String::from_utf8(told.stdout).unwrap().starts_with("corrupt: "));
    let absent = asp_cell(&["verify", dir.path().join("absent").to_str().unwrap()]);
    assert_eq!(absent.status.code(), Some(1));
}

/// One resolver that knows one TXT record, for as many questions as come.
fn resolver(text: String) -> SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            // The question again, then a pointer to its name, TXT, IN, a minute, one text.
            let mut answer = query[..length].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[6..8].copy_from_slice(&[0, 1]);
            let short = u8::try_from(text.len()).unwrap();
            answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, short + 1, short]);
            answer.extend(text.bytes());
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

#[test]
fn an_organisation_is_verified_by_what_its_dns_says() {
    let federation = Federation::new();
    let mut cell = federation.cell("eu-west-1", "EEA");
    cell.start();
    cell.done(&["org", "add", "acme.example"]);
    let keys: Value = serde_json::from_str(&get(cell.address("api"), "/.well-known/jwks.json").1).unwrap();
    let own = keys["keys"][0]["kid"].as_str().unwrap().to_owned();
    for (record, level) in [("another".to_owned(), None), (own, Some(75))] {
        cell.stop();
        let config = fs::read_to_string(cell.config()).unwrap();
        let told = format!("dns_resolver = \"{}\"", resolver(record.clone()));
        let lines: Vec<&str> =
            config.lines().map(|line| if line.starts_with("dns_resolver") { told.as_str() } else { line }).collect();
        fs::write(cell.config(), lines.join("\n")).unwrap();
        cell.start();
        if let Some(level) = level {
            let verified = cell.done(&["org", "verify", "acme.example", "--dns"]);
            assert_eq!(verified["identityLevel"], level);
        } else {
            let refused = cell.refused(&["org", "verify", "acme.example", "--dns"]);
            assert_eq!((&refused["code"], &refused["found"]), (&json!("policy_violation"), &json!(["another"])));
        }
    }
}

#[test]
fn an_issuer_that_is_no_certificate_is_refused_by_its_file() {
    let federation = Federation::with_ca();
    let cell = federation.cell("eu-west-1", "EEA");
    let ca = format!("{}/ca.pem", federation.certs());
    fs::write(&ca, "not a certificate").unwrap();
    let output = cell.spawn(&[]).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let refused = document(output.stderr.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap());
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("ca.pem: [federation] ca: "), "{detail}");
}
