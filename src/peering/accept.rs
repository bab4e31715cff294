//! The door: handshakes of whoever comes, a bounded number at a time, and the way to the peer's keeper.
//!
//! A handshake proves a peer of the book before anything of it is kept; its keeper checks the certificate again
//! against its own peer, so a change of the book between the two lets nobody in. Source: docs/spec/federation.md
//! section 1.

use std::sync::Arc;

use quinn::{Connection, Incoming};
use rustls_pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::certificate::Claim;
use super::ending::Close;
use super::exchange::Exchange;
use super::greeting::Fresh;
use super::keeper::Command;
use super::limits::{HANDSHAKE_TIME, HANDSHAKES, HANDSHAKES_UNVALIDATED};
use crate::protocol::time::Timestamp;

/// Accepts connections until the endpoint closes or `stop` is cancelled.
pub(super) async fn run<E: Exchange>(shared: Arc<Shared<E>>, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let incoming = tokio::select! {
            incoming = shared.endpoint.accept() => incoming,
            () = stop.cancelled() => return,
        };
        let Some(incoming) = incoming else { return };
        let busy = HANDSHAKES.saturating_sub(room.available_permits()) >= HANDSHAKES_UNVALIDATED;
        if busy && !incoming.remote_address_validated() {
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            continue;
        }
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            welcome(incoming, &shared).await;
            drop(permit);
        });
    }
}

/// One handshake; a failure is told to the other side by TLS itself.
async fn welcome<E: Exchange>(incoming: Incoming, shared: &Shared<E>) {
    let from = incoming.remote_address();
    let tls = shared.tls.load_full();
    let Ok(connecting) = incoming.accept_with(Arc::clone(&tls.server)) else { return };
    match timeout(HANDSHAKE_TIME, connecting).await {
        Ok(Ok(connection)) => route(&connection, tls.not_after, shared),
        Ok(Err(error)) => tracing::debug!(%from, %error, "handshake refused"),
        Err(_) => tracing::debug!(%from, "handshake not ended in time"),
    }
}

/// Hands the connection to the keeper of the peer that its certificate names.
fn route<E: Exchange>(connection: &Connection, own_until: Timestamp, shared: &Shared<E>) {
    let chain = connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let leaf = chain.as_ref().and_then(|chain| chain.first());
    let keeper = leaf.and_then(|leaf| Claim::read(leaf).ok()).and_then(|claim| shared.keeper(&claim.cell));
    let fresh = Fresh { connection: connection.clone(), dialled: false, own_until };
    match keeper.map(|keeper| keeper.try_send(Command::Accepted(fresh))) {
        Some(Ok(())) => {}
        Some(Err(_)) => connection.close(Close::Away.code(), b"busy"),
        None => connection.close(Close::Removed.code(), b"no peer of this cell"),
    }
}
