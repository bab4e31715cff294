//! The sections that name addresses, certificates and peers.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::Uri;

use super::Depth;
use super::rules::{named, zone};
use super::section::Section;
use crate::crypto::digest::Digest;
use crate::engine::operation::is_address;
use crate::node::settings::{Anchor, Api, Federation, Peer, Tls, Witness};
use crate::protocol::ids::CellId;
use crate::protocol::money::Money;

/// docs/spec/details.md section 5: the highest score enforced for a peer's agents unless said otherwise.
const TRUST_CAP: f64 = 74.9;

/// `listen`, on loopback unless said otherwise.
pub fn listens_on_loopback(section: &mut Section<'_>, port: u16) -> Option<SocketAddr> {
    let expected = format!("IP:PORT, such as 127.0.0.1:{port}");
    let listen = section.text("listen", &expected);
    match listen {
        None => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        Some(text) => {
            let address = text.parse().ok();
            if address.is_none() {
                section.wrong("listen", format!("expected {expected}, found {text:?}"));
            }
            address
        }
    }
}

pub fn api(mut section: Section<'_>, depth: Depth) -> Option<Api> {
    let listen = listens_on_loopback(&mut section, 8080);
    let base = "an http or https URL without query, fragment or user, such as https://asp.acme.example";
    let public_url = section.read("public_url", base, base_url);
    let behind_proxy = section.flag("behind_proxy").unwrap_or(false);
    let dpop_nonce = section.read("dpop_nonce", "\"off\" or \"on\"", |text| match text {
        "off" => Some(false),
        "on" => Some(true),
        _ => None,
    });
    let origin = "an exact origin, such as https://app.acme.example";
    let cors_origins = section.list("cors_origins", origin, exact_origin);
    let tls = section.table("tls").and_then(|section| tls(section, depth));
    let reachable = listen.is_some_and(|address| !address.ip().is_loopback());
    if reachable && !behind_proxy && tls.is_none() {
        section.wrong("listen", "cleartext off loopback; expected tls, or behind_proxy = true, or a loopback address");
    }
    if reachable && public_url.is_none() {
        section.required::<String>("public_url", &format!("{base}: agents sign it"), None);
    }
    section.finish();
    Some(Api { listen: listen?, public_url, behind_proxy, dpop_nonce: dpop_nonce.unwrap_or(false), cors_origins, tls })
}

fn tls(mut section: Section<'_>, depth: Depth) -> Option<Tls> {
    let (cert, key) = (section.path("cert"), section.path("key"));
    let cert = section.required("cert", "the certificate chain, a PEM file", cert);
    let key = section.required("key", "the private key, a PEM file", key);
    if depth == Depth::Files {
        if let Some(path) = &cert {
            section.must_exist("cert", path, "expected a PEM certificate chain");
        }
        if let Some(path) = &key {
            section.must_exist("key", path, "expected a PEM private key");
            section.must_be_private("key", path);
        }
    }
    section.finish();
    Some(Tls { cert: cert?, key: key? })
}

/// docs/spec/details.md section 1: no query, fragment; the trailing slash is not part of `htu`.
fn base_url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let web = matches!(uri.scheme_str(), Some("http" | "https"));
    let plain = !authority.as_str().contains('@') && uri.query().is_none() && !text.contains('#');
    (web && plain).then(|| text.trim_end_matches('/').to_owned())
}

fn exact_origin(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    (origin == text && base_url(text).is_some()).then_some(origin)
}

/// The three files are all there, or none is: a cell without them runs alone (docs/spec/details.md section 15).
pub fn federation(mut section: Section<'_>, cell: Option<&CellId>, depth: Depth) -> Option<Federation> {
    let listen = listens_on_loopback(&mut section, 7443);
    let name = cell.map_or("cell", CellId::as_str);
    let cert = section.path("cert").unwrap_or_else(|| section.relative(&format!("../certs/{name}.pem")));
    let key = section.path("key").unwrap_or_else(|| section.relative(&format!("../certs/{name}.key")));
    let ca = section.path("ca").unwrap_or_else(|| section.relative("../certs/ca.pem"));
    let some = cert.exists() || key.exists();
    if depth == Depth::Files && some {
        for (name, path) in [("cert", &cert), ("key", &key), ("ca", &ca)] {
            section.must_exist(name, path, "expected cert, key and ca, or neither cert nor key to run alone");
        }
        section.must_be_private("key", &key);
    }
    section.finish();
    Some(Federation { listen: listen?, cert, key, ca })
}

pub fn peers(sections: Vec<Section<'_>>, cell: Option<&CellId>, depth: Depth) -> Vec<Peer> {
    let mut named = BTreeSet::new();
    let mut peers = Vec::new();
    for section in sections {
        peers.extend(peer(section, cell, &mut named, depth));
    }
    peers
}

fn peer(mut section: Section<'_>, own: Option<&CellId>, known: &mut BTreeSet<CellId>, depth: Depth) -> Option<Peer> {
    let slug = "the peer's cell id, as in its certificate";
    let cell: Option<CellId> = section.parsed("cell", slug);
    let cell = section.required("cell", slug, cell);
    if cell.as_ref() == own && own.is_some() {
        section.wrong("cell", "this is the cell itself; expected another cell's id");
    } else if cell.as_ref().is_some_and(|cell| !known.insert(cell.clone())) {
        section.wrong("cell", "this peer is named twice; expected one [[peers]] for each");
    }
    let host = "HOST:PORT, the peer's UDP address";
    let address = section.read("address", host, |text| is_address(text).then(|| text.to_owned()));
    let address = section.required("address", host, address);
    let said = "as in the peer's hello";
    let region = section.read("region", &format!("the peer's region, {said}"), named);
    let region = section.required("region", &format!("the peer's region, {said}"), region);
    let legal = section.read("zone", &format!("the legal zone of the peer's region, {said}"), zone);
    let legal = section.required("zone", &format!("the legal zone of the peer's region, {said}"), legal);
    let anchor = anchor(&mut section, depth);
    let capped = |cap: f64| (0.0..=99.9).contains(&cap);
    let trust_cap = section.number("trust_cap", "a score from 0 to 99.9", capped).unwrap_or(TRUST_CAP);
    let exposure =
        section.amounts("exposure", "an amount as a decimal text, such as USD = \"100000.00\"", |currency, amount| {
            Money::parse(amount, currency).is_ok()
        });
    section.finish();
    Some(Peer { cell: cell?, address: address?, region: region?, zone: legal?, anchor: anchor?, trust_cap, exposure })
}

/// `[[witnesses]]`
pub fn witnesses(sections: Vec<Section<'_>>) -> Vec<Witness> {
    let read = |mut section: Section<'_>| {
        let prefix = "the witness's submission prefix, an http or https URL";
        let schemes = |text: &str| text.starts_with("https://") || text.starts_with("http://");
        let url = section.read("url", prefix, |text| schemes(text).then(|| text.to_owned()));
        let url = section.required("url", prefix, url);
        let form = "the witness's verifier key of C2SP type 0x04, NAME+HEX+BASE64";
        let key = section.parsed("vkey", form);
        let key = section.required("vkey", form, key);
        section.finish();
        Some(Witness { url: url?, key: key? })
    };
    sections.into_iter().filter_map(read).collect()
}

fn anchor(section: &mut Section<'_>, depth: Depth) -> Option<Anchor> {
    let ca = section.path("ca");
    let pin = "base64url SHA-256 of the certificate's public key, 43 characters";
    let spki = section.read("spki", pin, |text| Digest::parse(text).map(|digest| digest.to_string()));
    match (ca, spki) {
        (Some(path), None) => {
            if depth == Depth::Files {
                section.must_exist("ca", &path, "expected the PEM certificate of the peer's CA");
            }
            Some(Anchor::Ca(path))
        }
        (None, Some(pin)) => Some(Anchor::Spki(pin)),
        (Some(_), Some(_)) => {
            section.wrong("spki", "expected ca or spki, not both");
            None
        }
        (None, None) => section.required("ca", "ca = \"PEM FILE\", or spki = \"PIN\"", None),
    }
}
