//! Cells over QUIC: one mutually authenticated link to each peer, over which outboxes are carried in order, each frame
//! applied once.
//!
//! [`Peering`] is the whole of it to `node`; [`Exchange`] is what it needs of the engine. It knows nothing of sessions,
//! consents or the store: frames are bytes with a number. A task per peer (`keeper`) dials, takes what is dialled
//! (`accept`) and runs the one `link` that stands.
//!
//! Source: docs/spec/federation.md sections 1 and 3, docs/spec/details.md section 9.

mod accept;
mod backoff;
mod certificate;
mod ending;
mod endpoint;
mod exchange;
mod frames;
mod greeting;
mod identity;
mod keeper;
mod limits;
mod link;
mod peer;
mod verifier;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use quinn::{Connection, Endpoint};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use endpoint::Socket;
pub use exchange::{Exchange, Outgoing};
pub use identity::{Identity, IdentityError};
pub use peer::{Anchor, BadAnchor, Peer, PeerState, PeerStatus};

use self::ending::Close;
use self::endpoint::Tls;
use self::keeper::{Command, Keeper};
use self::peer::Book;
use self::verifier::Verifier;
use crate::protocol::ids::CellId;

/// Commands that wait for a keeper.
const COMMANDS: usize = 8;
/// How long a shutdown waits for its last packets to leave.
const FLUSH: Duration = Duration::from_secs(1);

/// Why cells cannot be linked.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The UDP socket.
    #[error("the federation socket: {0}")]
    Socket(std::io::Error),
    /// TLS would not take the identity.
    #[error("the federation TLS: {0}")]
    Tls(String),
    /// The self-test found a setting that must not be.
    #[error("the federation TLS is not safe: {0}")]
    Unsafe(&'static str),
}

/// What all tasks of a peering share.
struct Shared<E> {
    cell: CellId,
    endpoint: Endpoint,
    identity: Identity,
    verifier: Arc<Verifier>,
    tls: ArcSwap<Tls>,
    exchange: Arc<E>,
    /// Drawn at start, so that peers can tell a restart.
    process: [u8; 16],
    keepers: Mutex<BTreeMap<CellId, Kept>>,
}

/// A keeper as the rest sees it.
struct Kept {
    peer: Arc<Peer>,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<PeerStatus>,
    line: Line,
    task: JoinHandle<()>,
}

/// The connection of the link that stands, for whoever must close it at once.
type Line = Arc<Mutex<Option<Connection>>>;

fn lock(line: &Line) -> MutexGuard<'_, Option<Connection>> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E> Shared<E> {
    fn keepers(&self) -> MutexGuard<'_, BTreeMap<CellId, Kept>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the keeper of `cell`.
    fn keeper(&self, cell: &CellId) -> Option<mpsc::Sender<Command>> {
        self.keepers().get(cell).map(|kept| kept.commands.clone())
    }

    /// Takes up a certificate that changed on disk; what is wrong with a new one is logged, once.
    fn reload(&self) {
        let changed = self.identity.reload().map_err(|error| error.to_string()).and_then(|changed| {
            if changed {
                let tls = Tls::build(&self.identity.current(), &self.verifier).map_err(|error| error.to_string())?;
                self.tls.store(Arc::new(tls));
            }
            Ok(changed)
        });
        match changed {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(until = %self.identity.not_after(), "the cell's certificate was renewed");
                // Peers that refused the old one are dialled with the new one now.
                for kept in self.keepers().values() {
                    let _ = kept.commands.try_send(Command::Retry);
                }
            }
            Err(error) => tracing::warn!(error, "the cell's certificate is not taken up"),
        }
    }
}

/// The links of one cell to its peers. Dropping it closes them at once; [`Peering::shutdown`] waits for them.
///
/// [`add`](Self::add), [`remove`](Self::remove) and [`shutdown`](Self::shutdown) wait for links to end, and those for
/// the engine's answers: whoever answers an [`Exchange`] must not wait for them.
pub struct Peering<E> {
    shared: Arc<Shared<E>>,
    book: Arc<Book>,
    stop: CancellationToken,
    /// Changes of peers, one at a time: a peer's old keeper has ended before its new one starts.
    changes: tokio::sync::Mutex<()>,
}

impl<E: Exchange> Peering<E> {
    /// Opens the endpoint and dials every peer. Must be called inside a tokio runtime.
    pub fn start(socket: Socket, identity: Identity, peers: Vec<Peer>, exchange: Arc<E>) -> Result<Self, StartError> {
        let book = Arc::new(Book::default());
        let verifier = Arc::new(Verifier::new(Arc::clone(&book), &endpoint::provider()));
        let tls = Tls::build(&identity.current(), &verifier)?;
        let mut process = [0; 16];
        aws_lc_rs::rand::fill(&mut process).map_err(|_| StartError::Tls("no randomness".into()))?;
        let shared = Arc::new(Shared {
            cell: identity.cell().clone(),
            endpoint: endpoint::open(socket, &tls)?,
            identity,
            verifier,
            tls: ArcSwap::from_pointee(tls),
            exchange,
            process,
            keepers: Mutex::default(),
        });
        let peering = Self { shared, book, stop: CancellationToken::new(), changes: tokio::sync::Mutex::default() };
        for peer in peers {
            peering.keep(Arc::new(peer));
        }
        tokio::spawn(accept::run(Arc::clone(&peering.shared), peering.stop.clone()));
        tokio::spawn(watch_identity(Arc::clone(&peering.shared), peering.stop.clone()));
        Ok(peering)
    }

    /// Where peers reach this cell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.shared.endpoint.local_addr()
    }

    /// Adds a peer, or changes one: a link that stood under other terms is closed.
    pub async fn add(&self, peer: Peer) {
        let _one = self.changes.lock().await;
        let same = self.shared.keepers().get(&peer.cell).is_some_and(|kept| *kept.peer == peer);
        if !same {
            self.end(&peer.cell).await;
            self.keep(Arc::new(peer));
        }
    }

    /// Removes a peer and closes its link; whether it was one.
    pub async fn remove(&self, cell: &CellId) -> bool {
        let _one = self.changes.lock().await;
        self.end(cell).await
    }

    /// Closes the link to a peer, whatever is on its way there; nothing more is sent over it once this returns. It
    /// comes back by itself.
    pub fn cut(&self, cell: &CellId) {
        if let Some(kept) = self.shared.keepers().get(cell)
            && let Some(connection) = lock(&kept.line).take()
        {
            connection.close(Close::Away.code(), b"what was on its way may not go any more");
        }
    }

    /// Dials a peer at once, however often it failed before; whether it is one.
    pub async fn retry(&self, cell: &CellId) -> bool {
        match self.shared.keeper(cell) {
            Some(keeper) => keeper.send(Command::Retry).await.is_ok(),
            None => false,
        }
    }

    /// How every link stands, by cell.
    pub fn list(&self) -> Vec<PeerStatus> {
        self.shared.keepers().values().map(|kept| kept.status.borrow().clone()).collect()
    }

    /// When the certificate in use ends.
    pub fn identity_until(&self) -> crate::protocol::time::Timestamp {
        self.shared.identity.not_after()
    }

    /// Closes every link, tells the peers, and waits until the engine knows.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let _one = self.changes.lock().await;
        let kept = std::mem::take(&mut *self.shared.keepers());
        for kept in kept.into_values() {
            finish(kept, Close::Away).await;
        }
        self.shared.endpoint.close(Close::Away.code(), b"the cell shuts down");
        let _ = tokio::time::timeout(FLUSH, self.shared.endpoint.wait_idle()).await;
    }

    fn keep(&self, peer: Arc<Peer>) {
        let (commands, received) = mpsc::channel(COMMANDS);
        let (status, shown) = watch::channel(PeerStatus {
            cell: peer.cell.clone(),
            state: PeerState::Connecting,
            since: self.shared.exchange.now(),
            reason: None,
        });
        self.book.insert(&peer);
        let line = Line::default();
        let keeper = Keeper::new(Arc::clone(&peer), Arc::clone(&self.shared), status, Arc::clone(&line));
        let task = tokio::spawn(keeper.run(received));
        let cell = peer.cell.clone();
        self.shared.keepers().insert(cell, Kept { peer, commands, status: shown, line, task });
    }

    /// Ends a keeper and its link; from here on its peer's handshakes are refused.
    async fn end(&self, cell: &CellId) -> bool {
        self.book.remove(cell);
        let kept = self.shared.keepers().remove(cell);
        match kept {
            Some(kept) => {
                finish(kept, Close::Removed).await;
                true
            }
            None => false,
        }
    }
}

async fn finish(kept: Kept, close: Close) {
    // A keeper that is gone has ended its link already.
    let _ = kept.commands.send(Command::Stop(close)).await;
    if let Err(error) = kept.task.await {
        tracing::error!(peer = %kept.peer.cell, %error, "a keeper did not end by itself");
    }
}

impl<E> Drop for Peering<E> {
    fn drop(&mut self) {
        self.stop.cancel();
        self.shared.endpoint.close(Close::Away.code(), b"the cell shuts down");
        // Their keepers end when nobody can tell them anything any more.
        self.shared.keepers().clear();
    }
}

/// Looks at the certificate files every now and then.
async fn watch_identity<E: Exchange>(shared: Arc<Shared<E>>, stop: CancellationToken) {
    while tokio::time::timeout(limits::RELOAD_CHECK, stop.cancelled()).await.is_err() {
        let looking = Arc::clone(&shared);
        // Two small files; off the reactor all the same.
        let _ = tokio::task::spawn_blocking(move || looking.reload()).await;
    }
}
