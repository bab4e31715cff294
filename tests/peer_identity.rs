//! Only a peer gets in: whatever is wrong with a certificate, it is refused in the handshake, on whichever side, and
//! nothing reaches the engine. docs/spec/federation.md section 1.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy knows tests by their attribute; these serve tests")]

mod peering;

use std::sync::atomic::Ordering;
use std::time::Duration;

use asp_cell::crypto::digest::Digest;
use asp_cell::peering::{Anchor, PeerState};
use peering::stranger::{Showing, client, endpoint, greeted, server};
use peering::{Authority, Cell, EU, Files, Leaf, US, disk, peer, socket, until, uri};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PublicKeyData as _, SanType};

/// Everything a certificate of the US cell can be but right, and what the refusal says of it.
fn wrong(authority: &Authority, key: &KeyPair) -> Vec<(&'static str, Showing, &'static str)> {
    let right = Leaf::of(US);
    let show = |leaf: Leaf| Showing::new(authority, &leaf, key);
    let sans = |sans: Vec<SanType>| show(Leaf { sans, ..right.clone() });
    let past = Leaf { not_after: right.not_before + Duration::from_mins(1), ..right.clone() };
    let future = Leaf { not_before: right.not_after - Duration::from_mins(1), ..right.clone() };
    vec![
        ("of a foreign CA", Showing::new(&Authority::new(), &right, key), "not issued by the CA configured"),
        ("ended", show(past), "was valid from"),
        ("not yet valid", show(future), "was valid from"),
        ("of an unknown cell", sans(vec![uri("asp://ap-south-1")]), "ap-south-1"),
        ("without a URI name", sans(vec![SanType::DnsName(US.try_into().unwrap())]), "0 URI names"),
        ("with two URI names", sans(vec![uri("asp://us-east-1"), uri("asp://eu-west-1")]), "2 URI names"),
        ("with the name twice", sans(vec![uri("asp://us-east-1"), uri("asp://us-east-1")]), "2 URI names"),
        ("of another scheme", sans(vec![uri("spiffe://us-east-1")]), "not asp:// and a cell id"),
        ("with a path", sans(vec![uri("asp://us-east-1/")]), "not asp:// and a cell id"),
        ("in upper case", sans(vec![uri("asp://US-EAST-1")]), "not asp:// and a cell id"),
        ("for signing alone", show(Leaf { usages: vec![], ..right.clone() }), "not for this end of TLS"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_dials_is_refused_in_the_handshake() {
    let authority = Authority::new();
    let (socket, address) = socket();
    let nobody = "127.0.0.1:9".parse().unwrap();
    let files = Files::new(&authority, &Leaf::of(EU));
    let cell = Cell::start(EU, &files, socket, vec![peer(US, nobody, authority.anchor())], &disk(1));
    let endpoint = endpoint();
    let key = KeyPair::generate().unwrap();

    let said = greeted(&endpoint, client(None), address).await.unwrap_err();
    assert!(said.contains("certificate"), "without a certificate: {said}");
    for (what, showing, reason) in wrong(&authority, &key) {
        let said = greeted(&endpoint, client(Some(&showing)), address).await.expect_err(what);
        assert!(said.contains(reason), "{what}: {said}");
    }
    let right = Showing::new(&authority, &Leaf::of(US), &key);
    for alpn in [&b"h3"[..], b"asp-cell/2", b"asp-fed/1"] {
        let said = greeted(&endpoint, client(Some(&Showing { alpn, ..right.clone() })), address).await.unwrap_err();
        assert!(said.contains("protocol"), "ALPN: {said}");
    }
    let server_only = Leaf { usages: vec![ExtendedKeyUsagePurpose::ServerAuth], ..Leaf::of(US) };
    let said = greeted(&endpoint, client(Some(&Showing::new(&authority, &server_only, &key))), address).await;
    assert!(said.unwrap_err().contains("not for this end of TLS"));
    // Its own certificate opens nothing: no cell is its own peer.
    let own = Showing::new(&authority, &Leaf::of(EU), &key);
    assert!(greeted(&endpoint, client(Some(&own)), address).await.unwrap_err().contains("no peer here"));
    assert!(!cell.memory.reached());

    // The control: the right certificate is greeted. DNS and IP names in it are ignored.
    let mut leaf = Leaf::of(US);
    leaf.sans.extend([SanType::DnsName("eu-west-1".try_into().unwrap()), SanType::IpAddress([10, 0, 0, 1].into())]);
    for showing in [right, Showing::new(&authority, &leaf, &key)] {
        greeted(&endpoint, client(Some(&showing)), address).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_is_dialled_is_refused_in_the_handshake() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let files = Files::new(&authority, &Leaf::of(EU));
    let client_only = Leaf { usages: vec![ExtendedKeyUsagePurpose::ClientAuth], ..Leaf::of(US) };
    let mut cases = wrong(&authority, &key);
    cases.push(("for clients", Showing::new(&authority, &client_only, &key), "not for this end of TLS"));
    cases.push(("of another peer", Showing::new(&authority, &Leaf::of(EU), &key), "names cell eu-west-1"));
    let other = Showing { alpn: b"h3", ..Showing::new(&authority, &Leaf::of(US), &key) };
    cases.push(("with another ALPN", other, "protocol"));
    for (what, showing, reason) in cases {
        let (_endpoint, address) = server(&showing);
        let peers = vec![peer(US, address, authority.anchor())];
        let cell = Cell::start(EU, &files, socket().0, peers, &disk(1));
        until(what, || cell.status().state == PeerState::Refused).await;
        let said = cell.status().reason.unwrap();
        assert!(said.contains(reason), "{what}: {said}");
        assert!(!cell.memory.reached(), "{what}");
    }
}

/// A pin believes one key, whoever issued its certificate, and no other; the refusal names both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_key_is_believed_and_no_other() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (eu_files, us_files) = (Files::new(&ours, &Leaf::of(EU)), Files::new(&theirs, &Leaf::of(US)));
    let pin = |files: &Files| Digest::of(&[&files.key.subject_public_key_info()]);
    let ((eu_socket, eu_address), (us_socket, us_address)) = (socket(), socket());
    let believes_eu = peer(EU, eu_address, Anchor::Spki(pin(&eu_files)));
    let us = Cell::start(US, &us_files, us_socket, vec![believes_eu], &disk(2));
    let eu = Cell::start(EU, &eu_files, eu_socket, vec![peer(US, us_address, Anchor::Spki(pin(&us_files)))], &disk(1));
    until("pinned cells connect", || eu.connected() && us.connected()).await;

    let wrong_pin = Digest::of(&[b"another key"]);
    eu.peering.add(peer(US, us_address, Anchor::Spki(wrong_pin))).await;
    until("the unpinned key is refused", || eu.status().state == PeerState::Refused).await;
    let reason = eu.status().reason.unwrap();
    assert!(reason.contains(&wrong_pin.to_string()) && reason.contains(&pin(&us_files).to_string()), "{reason}");

    // A pin stands for the key alone: name, dates and usage are checked all the same.
    let endpoint = endpoint();
    let ups = us.memory.ups.load(Ordering::SeqCst);
    let past = Leaf { not_after: Leaf::of(EU).not_before + Duration::from_mins(1), ..Leaf::of(EU) };
    let signing = Leaf { usages: vec![], ..Leaf::of(EU) };
    for (leaf, reason) in [(past, "was valid from"), (signing, "not for this end"), (Leaf::of("x"), "no peer here")] {
        let showing = Showing::new(&ours, &leaf, &eu_files.key);
        let said = greeted(&endpoint, client(Some(&showing)), us_address).await.unwrap_err();
        assert!(said.contains(reason), "{said}");
    }
    assert_eq!(us.memory.ups.load(Ordering::SeqCst), ups);
}

/// E7 of the reliability notes: a session ticket must not carry an old certificate past its end, nor 0-RTT a replay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_resumed_and_no_early_data_is_taken() {
    let authority = Authority::new();
    let (socket, address) = socket();
    let files = Files::new(&authority, &Leaf::of(EU));
    let nobody = "127.0.0.1:9".parse().unwrap();
    let cell = Cell::start(EU, &files, socket, vec![peer(US, nobody, authority.anchor())], &disk(1));
    let endpoint = endpoint();
    let key = KeyPair::generate().unwrap();
    let short = Leaf::of(US).lasting(Duration::from_secs(3));
    // One configuration, and so one session cache, for both connections.
    let config = client(Some(&Showing::new(&authority, &short, &key)));
    let connection = greeted(&endpoint, config.clone(), address).await.unwrap();
    connection.close(0_u32.into(), b"");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let connecting = endpoint.connect_with(config.clone(), address, &format!("{EU}.asp.invalid")).unwrap();
    assert!(connecting.into_0rtt().is_err(), "no ticket, so nothing to send early data under");
    let said = greeted(&endpoint, config, address).await.unwrap_err();
    assert!(said.contains("was valid from"), "{said}");
    assert!(!cell.memory.reached());
}
