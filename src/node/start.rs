//! A cell from its settings to its listeners, and back down again.
//!
//! The order is the contract: storage and keys first, then the engine, then whoever lets the outside in; on the way
//! down the outside is let out first, and the store is closed last.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::copies::{self, Copies};
use super::exchange::{Crossing, Face};
use super::links::{self, Alone, AnchorError, Linked};
use super::listeners::{self, Listeners, Published};
use super::operators::Desk;
use super::settings::Settings;
use super::signing::{self, SigningError};
use super::{storage, telemetry, witnesses};
use crate::api::http::{self, Tls};
use crate::api::operator::{self, Token, Vital};
use crate::crypto::secret::Secret;
use crate::disk::private;
use crate::engine::clock::{Clock, SystemClock};
use crate::engine::start::Parts;
use crate::engine::{self, Handle};
use crate::peering::{self, Identity, IdentityError, Peering, Socket};
use crate::protocol::certificate::Authorities;
use crate::protocol::json::Json;
use crate::protocol::money::{Currency, Money};
use crate::protocol::rate::Rates;
use crate::protocol::time::Span;
use crate::store::directory::Lock;
use crate::store::{Fault, Unusable};
use crate::vault::entropy::OsEntropy;

/// How long the writer may take for what it was given before the drain.
const LAST_COMMIT: Duration = Duration::from_secs(2);
/// How often counters of the past are folded and gauges set.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why a cell did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is stored cannot be used.
    #[error(transparent)]
    Storage(#[from] Unusable),
    /// The disk failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// An address is taken, or not this machine's.
    #[error("[{section}] listen = \"{address}\": {error}")]
    Listen {
        /// The section of the configuration.
        section: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The certificate of `[api] tls`.
    #[error("[api] tls: {0}")]
    Tls(std::io::Error),
    /// Nothing to sign with.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The cell's TLS identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A peer's trust anchor.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The links to peers.
    #[error(transparent)]
    Peering(#[from] peering::StartError),
    /// `listeners.json`.
    #[error("{path}: {error}")]
    Publish {
        /// The directory.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The metrics' recorder.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// A running cell.
pub struct Running {
    addresses: Listeners,
    handle: Handle,
    alone: Option<String>,
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    peering: Option<Arc<Peering<Crossing>>>,
    writer: thread::JoinHandle<()>,
    published: Published,
    lock: Lock,
}

/// Starts a cell inside a tokio runtime; port 0 takes a free port everywhere.
///
/// # Errors
/// What is wrong, and with which file or address; nothing is left running.
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = telemetry::metrics()?;
    let layout = settings.layout();
    let opened = storage::data_dir(layout.clone(), settings.cell.id.clone(), settings.vault.media).open()?;
    copies::told(&layout, &opened.mended);
    let watched = Copies::of(&layout);
    let token = operator_token(&settings)?;
    let (agents, at) = listen("api", settings.api.listen)?;
    let (operators, operator) = listen("operator", settings.operator)?;
    let tls = settings.api.tls.as_ref().map(|tls| Tls::load(&tls.cert, &tls.key)).transpose();
    let tls = tls.map_err(StartError::Tls)?;
    let signer = signing::load(&settings)?;
    let jwks = Json::of(&signer.jwks);
    let parts = Parts {
        settings: engine_settings(&settings, at),
        store: opened.store,
        vault: opened.vault,
        epochs: Box::new(opened.epochs),
        tags: opened.tags,
        media: (opened.media.kind, opened.media.trusted),
        signer,
        erasures: Some(opened.erasures),
        backup_key: opened.backup_key,
        note_key: opened.note_key,
        entropy: Box::new(OsEntropy),
    };
    let (handle, writer) = engine::start::start(parts, clock)?;
    let stop = CancellationToken::new();
    let face = Face { region: settings.cell.region.clone(), zone: settings.cell.zone.clone(), jwks };
    let peering = link(&settings, &handle, face, &stop)?;
    let federation = peering.as_ref().map(|peering| peering.local_addr()).transpose();
    let federation = federation.map_err(peering::StartError::Socket)?;
    let addresses = Listeners { api: at, operator, federation, pid: std::process::id() };
    let servers = vec![
        serve("api", agents, agents_router(&settings, &handle, &metrics, &stop), tls, &stop),
        serve(
            "operator",
            operators,
            operators_router(&handle, settings.cell.dns_resolver, token, &metrics, &stop, &watched),
            None,
            &stop,
        ),
        tokio::spawn(upkeep(metrics, peering.clone(), watched, stop.clone())),
        tokio::spawn(epochs(handle.clone(), settings.vault.epoch, stop.clone())),
        tokio::spawn(witnesses::submit(handle.clone(), settings.witnesses.clone(), stop.clone())),
    ];
    let path = layout.run().display().to_string();
    let published = listeners::publish(&layout, &addresses).map_err(|error| StartError::Publish { path, error })?;
    let alone = peering.is_none().then(|| without_certificate(&settings));
    Ok(Running { addresses, handle, alone, stop, servers, peering, writer, published, lock: opened.lock })
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> &Listeners {
        &self.addresses
    }

    /// Its engine.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Why federation is off, if it is.
    #[must_use]
    pub fn alone(&self) -> Option<&str> {
        self.alone.as_deref()
    }

    /// Resolves after a storage fault: what is stored is not known any more, and the process must end.
    pub async fn failed(&self) {
        self.handle.failed().await;
    }

    /// Takes nothing new, finishes what is on its way, closes the links and then the store: within 10 s.
    pub async fn shutdown(self) {
        let Self { stop, servers, peering, handle, writer, published, lock, .. } = self;
        stop.cancel();
        drop(published);
        for server in servers {
            let _ = server.await;
        }
        // Whoever still holds it is about to let go; dropping it closes the links as well.
        if let Some(peering) = peering.and_then(Arc::into_inner) {
            peering.shutdown().await;
        }
        drop(handle);
        let joined = tokio::task::spawn_blocking(move || writer.join());
        if tokio::time::timeout(LAST_COMMIT, joined).await.is_err() {
            tracing::warn!("the writer did not end in time");
        }
        drop(lock);
    }
}

fn listen(section: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (at, listener) = bound.map_err(|error| StartError::Listen { section, address, error })?;
    Ok((listener, at))
}

fn operator_token(settings: &Settings) -> Result<Token, Unusable> {
    let bytes = private::read(&settings.token_file())?;
    Ok(Token::new(&String::from_utf8_lossy(&bytes)))
}

fn engine_settings(settings: &Settings, bound: SocketAddr) -> engine::shared::Settings {
    let scheme = if settings.api.tls.is_some() { "https" } else { "http" };
    let place = |peer: &super::settings::Peer| (peer.cell.clone(), (peer.region.clone(), peer.zone.clone()));
    engine::shared::Settings {
        cell: settings.cell.id.clone(),
        region: settings.cell.region.clone(),
        zone: settings.cell.zone.clone(),
        public_url: settings.api.public_url.clone().unwrap_or_else(|| format!("{scheme}://{bound}")),
        invitation_timeout: settings.limits.invitation_timeout,
        review_window: settings.limits.review_window,
        grace: settings.limits.grace,
        dispute_window: settings.limits.dispute_window,
        retention: settings.retention,
        placement_timeout: settings.limits.placement_timeout,
        peers: settings.peers.iter().map(place).collect(),
        operator_org: settings.cell.operator_org.clone(),
        trust_caps: settings.peers.iter().map(|peer| (peer.cell.clone(), peer.trust_cap)).collect(),
        fx: rates(&settings.limits.fx),
        exposure: settings.peers.iter().map(|peer| (peer.cell.clone(), limits(&peer.exposure))).collect(),
    }
}

/// What the configuration has checked.
fn rates(fx: &BTreeMap<String, String>) -> Rates {
    let read = |(currency, rate): (&String, &String)| Some((currency.parse::<Currency>().ok()?, rate.parse().ok()?));
    Rates::of(fx.iter().filter_map(read).collect())
}

/// What the configuration has checked.
fn limits(exposure: &BTreeMap<String, String>) -> BTreeMap<Currency, Money> {
    let money = exposure.iter().filter_map(|(currency, amount)| Money::parse(amount, currency).ok());
    money.map(|money| (money.currency, money)).collect()
}

/// Links the cell to its peers; `None`: it has no certificate and runs alone.
fn link(
    settings: &Settings,
    handle: &Handle,
    face: Face,
    stop: &CancellationToken,
) -> Result<Option<Arc<Peering<Crossing>>>, StartError> {
    let federation = &settings.federation;
    if !federation.is_provided() {
        let reason = without_certificate(settings);
        handle.attach(Arc::new(Alone::new(&settings.peers, handle.now(), reason)));
        return Ok(None);
    }
    let identity = Identity::load(settings.cell.id.clone(), &federation.cert, &federation.key)?;
    issuer(&federation.ca)?;
    let peers = links::configured(&settings.peers)?;
    let crossing = Arc::new(Crossing::new(handle.clone(), face)?);
    let peering = Arc::new(Peering::start(Socket::Bind(federation.listen), identity, peers, crossing)?);
    handle.attach(Arc::new(Linked::start(&peering, stop.clone())));
    Ok(Some(peering))
}

/// What operators hand to their peers must be what it is called.
fn issuer(path: &Path) -> Result<(), IdentityError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| IdentityError::File { path: path.to_owned(), error })?;
    let read = Authorities::from_pem(&text).map(drop);
    read.map_err(|why| IdentityError::Bad { path: path.to_owned(), why: format!("[federation] ca: {why}") })
}

fn without_certificate(settings: &Settings) -> String {
    let shown = settings.federation.cert.display();
    format!("federation is off: there is no certificate {shown}; `asp-cell pki issue` makes one, then start again")
}

fn agents_router(
    settings: &Settings,
    handle: &Handle,
    metrics: &PrometheusHandle,
    stop: &CancellationToken,
) -> axum::Router {
    let public = metrics.clone();
    let settings = http::Settings {
        cors_origins: settings.api.cors_origins.clone(),
        nonce_key: settings.api.dpop_nonce.then(|| Secret::draw(&mut OsEntropy)),
        messages_per_second_per_agent: settings.limits.messages_per_second_per_agent,
        metrics: settings.telemetry.metrics_public.then(|| Arc::new(move || public.render()) as _),
        shutdown: stop.clone(),
    };
    http::router(handle.clone(), settings)
}

fn operators_router(
    handle: &Handle,
    resolver: Option<SocketAddr>,
    token: Token,
    metrics: &PrometheusHandle,
    stop: &CancellationToken,
    copies: &Copies,
) -> axum::Router {
    let vital = Checks { handle: handle.clone(), stop: stop.clone(), copies: copies.clone() };
    let metrics = metrics.clone();
    operator::router(Arc::new(Desk::new(handle.clone(), resolver)), token, vital, move || metrics.render())
}

fn serve(
    section: &'static str,
    listener: TcpListener,
    router: axum::Router,
    tls: Option<Tls>,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move {
        if let Err(error) = http::serve(listener, router, tls, stop).await {
            tracing::error!(section, %error, "a listener ended");
        }
    })
}

/// Folds histograms, which would grow for ever otherwise, and shows how the links stand.
async fn upkeep(
    metrics: PrometheusHandle,
    peering: Option<Arc<Peering<Crossing>>>,
    copies: Copies,
    stop: CancellationToken,
) {
    while tokio::time::timeout(UPKEEP, stop.cancelled()).await.is_err() {
        metrics.run_upkeep();
        copies.look();
        if let Some(peering) = &peering {
            for (state, links) in links::by_state(&peering.list()) {
                metrics::gauge!("asp_peer_links", "state" => state).set(links);
            }
        }
    }
}

/// Replaces the vault's epoch key in time, until the cell stops.
async fn epochs(handle: Handle, longest: Span, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = handle.keep_epochs(longest) => {}
    }
}

/// What `/readyz` of the operators' listener looks at.
#[derive(Clone)]
struct Checks {
    handle: Handle,
    stop: CancellationToken,
    copies: Copies,
}

impl Vital for Checks {
    fn checks(&self) -> Vec<(&'static str, String)> {
        let listener = if self.stop.is_cancelled() { "draining" } else { "ok" };
        let mut checks = self.handle.checks();
        if let Some(gone) = self.copies.gone() {
            checks.iter_mut().filter(|(name, _)| *name == "keys").for_each(|check| check.1.clone_from(&gone));
        }
        checks.push(("listener", listener.to_owned()));
        checks
    }
}
