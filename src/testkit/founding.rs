//! From a description to running cells: certificates, directories, configurations, organisations, agents, consents.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::agent::Agent;
use super::cell::Cell;
use super::consent::ConsentSpec;
use super::document::{list_at, text_at};
use super::failure::Failure;
use super::federation::{Federation, Ground};
use super::relay::{Relay, Weather};
use super::topology::{Place, Topology};
use crate::crypto::entropy::draw;
use crate::engine::Operation;
use crate::engine::clock::{Clock as _, SystemClock};
use crate::engine::operation::Assigned;
use crate::node::config::Identity;
use crate::node::{create, pki};
use crate::protocol::ids::{CellId, OrgName};
use crate::vault::entropy::OsEntropy;

/// How long links and consents may take.
const FOUNDING: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);
/// Ports that no system hands out by itself, so that an address stays free while its cell is down.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// Makes and starts everything.
pub(super) async fn found(topology: Topology) -> Result<Federation, Failure> {
    let ground = match &topology.dir {
        Some(dir) => Ground::Kept(dir.clone()),
        None => Ground::Borrowed(
            tempfile::Builder::new()
                .prefix("asp-cells-")
                .tempdir()
                .map_err(|error| Failure::file(&std::env::temp_dir(), &error))?,
        ),
    };
    let mut federation = Federation {
        cells: BTreeMap::new(),
        homes: topology.orgs.iter().cloned().collect(),
        enrolment: BTreeMap::new(),
        agents: BTreeMap::new(),
        relays: BTreeMap::new(),
        ground,
    };
    let addresses = addresses(&topology, &mut federation).await?;
    certificates(&topology, federation.dir())?;
    for place in &topology.cells {
        let dir = federation.dir().join(place.id.as_str());
        init(place, &topology.cells, &addresses, &dir)?;
        let mut cell = Cell::new(place.id.clone(), &place.zone, dir, topology.variables.clone());
        cell.start().await?;
        federation.point_relays(&place.id, cell.listeners()?.federation);
        federation.cells.insert(place.id.clone(), cell);
    }
    people(&topology, &mut federation).await?;
    for (index, one) in topology.cells.iter().enumerate() {
        for other in topology.cells.iter().skip(index + 1) {
            federation.linked(one.id.as_str(), other.id.as_str(), FOUNDING).await?;
        }
    }
    for consent in &topology.consents {
        agree(&federation, consent).await?;
    }
    if let Some(binary) = &topology.binary {
        for place in &topology.cells {
            federation.stop(place.id.as_str()).await?;
            if let Some(cell) = federation.cells.get_mut(&place.id) {
                cell.becomes_process(binary);
            }
        }
        for place in &topology.cells {
            federation.restart(place.id.as_str()).await?;
        }
    }
    Ok(federation)
}

/// Where cells listen and where they find each other.
struct Addresses {
    api: BTreeMap<CellId, SocketAddr>,
    federation: BTreeMap<CellId, SocketAddr>,
    /// (who dials, whom).
    peers: BTreeMap<(CellId, CellId), SocketAddr>,
}

async fn addresses(topology: &Topology, federation: &mut Federation) -> Result<Addresses, Failure> {
    let mut addresses = Addresses { api: BTreeMap::new(), federation: BTreeMap::new(), peers: BTreeMap::new() };
    for place in &topology.cells {
        addresses.api.insert(place.id.clone(), free_port()?);
        let own = if topology.relayed { (Ipv4Addr::LOCALHOST, 0).into() } else { free_port()? };
        addresses.federation.insert(place.id.clone(), own);
    }
    for one in &topology.cells {
        for other in topology.cells.iter().filter(|other| other.id != one.id) {
            let pair = (one.id.clone(), other.id.clone());
            let Some(own) = addresses.federation.get(&other.id).copied() else { continue };
            let address = if topology.relayed {
                let relay = Relay::start(own, Weather::clear(), 0).await;
                let relay = relay.map_err(|error| Failure::Topology(format!("a relay: {error}")))?;
                let address = relay.address();
                federation.relays.insert(pair.clone(), relay);
                address
            } else {
                own
            };
            addresses.peers.insert(pair, address);
        }
    }
    Ok(addresses)
}

/// A loopback port that is free for TCP and UDP now.
fn free_port() -> Result<SocketAddr, Failure> {
    for _ in 0..1000 {
        let port = PORTS.start + u16::from_be_bytes(draw(&mut OsEntropy)) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(Failure::Topology("no free loopback port was found".into()))
}

fn certificates(topology: &Topology, dir: &Path) -> Result<(), Failure> {
    let certs = dir.join("certs");
    let made = pki::ca(&certs, false)
        .and_then(|_| topology.cells.iter().try_for_each(|place| pki::issue(&certs, &place.id, false).map(|_| ())));
    made.map_err(|error| Failure::Topology(error.to_string()))
}

/// A cell's directory, as `asp-cell init` makes it, with its addresses and its peers in `cell.toml`.
fn init(place: &Place, all: &[Place], addresses: &Addresses, dir: &Path) -> Result<(), Failure> {
    let identity = Identity::new(place.id.clone(), &place.region, &place.zone);
    let identity = identity.map_err(|why| Failure::cell(&place.id, why))?;
    let created = create::cell(dir, &identity).map_err(|why| Failure::cell(&place.id, why))?;
    let mut text = fs::read_to_string(&created.config).map_err(|error| Failure::file(&created.config, &error))?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let own = |known: &BTreeMap<CellId, SocketAddr>| known.get(&place.id).copied().unwrap_or(any);
    for (usual, chosen) in [
        ("127.0.0.1:8080", own(&addresses.api)),
        ("127.0.0.1:8081", any),
        ("127.0.0.1:7443", own(&addresses.federation)),
    ] {
        let (from, to) = (format!("listen = \"{usual}\""), format!("listen = \"{chosen}\""));
        if text.matches(&from).count() != 1 {
            return Err(Failure::cell(&place.id, format!("its cell.toml does not say {from}")));
        }
        text = text.replace(&from, &to);
    }
    for peer in all.iter().filter(|peer| peer.id != place.id) {
        let Some(address) = addresses.peers.get(&(place.id.clone(), peer.id.clone())) else { continue };
        let Place { id, region, zone } = peer;
        let known = [("cell", id.as_str()), ("address", &address.to_string()), ("region", region), ("zone", zone)];
        text.push_str("\n[[peers]]\n");
        for (key, value) in known.into_iter().chain([("ca", "../certs/ca.pem")]) {
            let _ = writeln!(text, "{key} = \"{value}\"");
        }
    }
    fs::write(&created.config, text).map_err(|error| Failure::file(&created.config, &error))
}

/// Organisations and agents.
async fn people(topology: &Topology, federation: &mut Federation) -> Result<(), Failure> {
    for (org, cell) in &topology.orgs {
        let added = federation.cell(cell.as_str())?.operate(Operation::OrgAdd { org: org.clone() }).await?;
        federation.enrolment.insert(org.clone(), text_at(&added, "/enrolmentKey").to_owned());
    }
    for (org, amount, currency) in &topology.funds {
        let (org, amount, currency) = (org.clone(), amount.clone(), currency.clone());
        let home = federation.homes.get(&org).map(ToString::to_string).unwrap_or_default();
        let deposit = Operation::LedgerDeposit { org, amount, currency, reference: None };
        federation.cell(&home)?.operate(deposit).await?;
    }
    for (id, history) in &topology.agents {
        let org = id.organisation();
        let (Some(home), Some(enrolment)) = (federation.homes.get(&org), federation.enrolment.get(&org)) else {
            return Err(Failure::Topology(format!("{id} belongs to no organisation of the topology")));
        };
        let agent = Agent::new(id.clone(), &federation.cell(home.as_str())?.url()?);
        agent.register(enrolment, &["deal"]).await?;
        if let Some(history) = history {
            let assigned = Assigned::History(history.to_string());
            let reason = "test kit".to_owned();
            let assign = Operation::TrustAssign { agent: id.clone(), assigned, reason };
            federation.cell(home.as_str())?.operate(assign).await?;
        }
        federation.agents.insert(id.clone(), agent);
    }
    Ok(())
}

/// Makes a consent: policies opened, offered, accepted, in force in both cells.
async fn agree(federation: &Federation, consent: &ConsentSpec) -> Result<(), Failure> {
    let (offers, one) = home(federation, &consent.offers)?;
    let (accepts, other) = home(federation, &consent.accepts)?;
    for (org, from, to) in [(offers, one, other), (accepts, other, one)] {
        allow(federation, org, from, to, consent).await?;
    }
    let terms = consent.terms(accepts.clone(), SystemClock.now());
    let offer = Operation::ConsentOffer { org: offers.clone(), terms };
    let offered = eventually(|| async { federation.cell(one.as_str())?.operate(offer.clone()).await }).await?;
    let id = text_at(&offered, "/document/consentId").parse().ok();
    let id = id.ok_or_else(|| Failure::Unexpected(format!("consent offer answered {offered}")))?;
    let accept = Operation::ConsentAccept { consent: id, org: accepts.clone() };
    eventually(|| async { federation.cell(other.as_str())?.operate(accept.clone()).await }).await?;
    for cell in [one, other] {
        eventually(|| async {
            let shown = federation.cell(cell.as_str())?.operate(Operation::ConsentShow { consent: id }).await?;
            if text_at(&shown, "/status") == "active" { Ok(shown) } else { Err(Failure::Unexpected(shown.to_string())) }
        })
        .await?;
    }
    Ok(())
}

fn home<'f>(federation: &'f Federation, org: &str) -> Result<(&'f OrgName, &'f CellId), Failure> {
    let found = federation.homes.iter().find(|(known, _)| known.as_str() == org);
    found.ok_or_else(|| Failure::Topology(format!("there is no organisation {org} for a consent")))
}

/// Opens an organisation's residency policy for the zone of `to`, if its data leaves its own.
async fn allow(
    federation: &Federation,
    org: &OrgName,
    from: &CellId,
    to: &CellId,
    consent: &ConsentSpec,
) -> Result<(), Failure> {
    let shown = federation.cell(from.as_str())?.operate(Operation::OrgPolicyShow { org: org.clone() }).await?;
    let zone = federation.cell(to.as_str())?.zone().to_owned();
    if list_at(&shown, "/zones").iter().any(|known| ["*", zone.as_str()].contains(&text_at(known, "/zone"))) {
        return Ok(());
    }
    let basis = consent.basis_text().to_owned();
    let allowed = Operation::OrgPolicyAllow { org: org.clone(), zone, basis };
    federation.cell(from.as_str())?.operate(allowed).await.map(|_| ())
}

/// Tries until it works or time is up: the other cell has not heard of it yet.
async fn eventually<F: Future<Output = Result<Value, Failure>>>(attempt: impl Fn() -> F) -> Result<Value, Failure> {
    let end = Instant::now() + FOUNDING;
    loop {
        match attempt().await {
            Err(_) if Instant::now() < end => sleep(LOOK).await,
            outcome => return outcome,
        }
    }
}
