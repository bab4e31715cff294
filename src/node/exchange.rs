//! The engine behind a link: what `peering` asks for, in the engine's words.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::Handle;
use crate::engine::command::PeerSaid;
use crate::peering::{Exchange, Outgoing};
use crate::protocol::ids::CellId;
use crate::protocol::json::Json;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::wire::link::{Expected, Hello, VERSION};

/// What this cell says of itself in each hello.
#[derive(Debug, Clone)]
pub struct Face {
    /// Its region.
    pub region: String,
    /// Its legal zone.
    pub zone: String,
    /// Its keys, a JWK set.
    pub jwks: Json,
}

/// The engine, and which outbox each peer sends from.
pub struct Crossing {
    handle: Handle,
    face: Face,
    streams: Mutex<HashMap<CellId, [u8; 16]>>,
}

impl Crossing {
    /// Over a running engine.
    pub fn new(handle: Handle, face: Face) -> Self {
        Self { handle, face, streams: Mutex::default() }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<CellId, [u8; 16]>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange for Crossing {
    fn now(&self) -> Timestamp {
        self.handle.now()
    }

    async fn hello(&self, peer: &CellId) -> Hello {
        // A store that cannot be read stops the cell; until then nothing is expected, and numbers seen are passed over.
        let taken = self.handle.taken_from(peer).ok().flatten();
        Hello {
            versions: vec![VERSION],
            cell: self.handle.cell().clone(),
            region: self.face.region.clone(),
            zone: self.face.zone.clone(),
            public_url: self.handle.public_url(),
            jwks: self.face.jwks.clone(),
            clock: self.handle.now(),
            stream: self.handle.stream_id(),
            expects: taken.map(|(stream, number)| Expected { stream, next: number.saturating_add(1) }),
        }
    }

    async fn up(&self, peer: &CellId, hello: &Hello) -> Result<(), Refusal> {
        let (has, given) = (hello.wants_from(self.handle.stream_id()).saturating_sub(1), self.handle.given_to(peer)?);
        if has > given {
            let detail = format!(
                "restore_behind: {peer} has frame {has} of this cell's, which knows of {given}: this cell was restored \
                 from a backup older than what it has sent; restore a newer one, or what comes next would be taken for \
                 what {peer} has"
            );
            return Err(behind(detail, peer));
        }
        let confirmed = self.handle.confirmed_by(peer)?;
        if hello.expects.is_some_and(|expects| expects.stream == self.handle.stream_id()) && has < confirmed {
            let detail = format!(
                "restore_behind: {peer} had confirmed frame {confirmed} of this cell's and now knows of {has}: it was \
                 restored from an older backup, and what it lacks is no longer queued here; its operator must restore a \
                 newer one"
            );
            return Err(behind(detail, peer));
        }
        let said = PeerSaid { jwks: hello.jwks.text().to_owned(), public_url: hello.public_url.clone() };
        self.handle.link_up(peer, said).await?;
        self.streams().insert(peer.clone(), hello.stream);
        Ok(())
    }

    fn down(&self, peer: &CellId) {
        self.streams().remove(peer);
    }

    async fn outbound(&self, peer: &CellId, after: u64, max_bytes: usize) -> Vec<Outgoing> {
        let frames = self.handle.outbound(peer, after, max_bytes).await;
        frames.into_iter().map(|(number, bytes)| Outgoing { number, bytes }).collect()
    }

    async fn inbound(&self, peer: &CellId, frames: Vec<(u64, Vec<u8>)>) -> Result<u64, Refusal> {
        let stream = self.streams().get(peer).copied();
        let stream = stream.ok_or_else(|| Refusal::new(Code::Unspecified, "frames before a hello"))?;
        self.handle.inbound(peer, stream, frames).await
    }

    fn urgent(&self, peer: &CellId) -> Vec<([u8; 16], Vec<u8>)> {
        self.handle.urgent(peer)
    }

    fn urgent_taken(&self, peer: &CellId, key: [u8; 16]) -> impl Future<Output = ()> + Send {
        self.handle.urgent_taken(peer, key)
    }

    fn take_urgent(&self, peer: &CellId, bytes: Vec<u8>) -> impl Future<Output = Result<(), Refusal>> + Send {
        self.handle.take_urgent(peer, bytes)
    }

    fn acked(&self, peer: &CellId, upto: u64) {
        self.handle.acked(peer, upto);
    }

    fn woken(&self, peer: &CellId) -> impl Future<Output = ()> + Send {
        self.handle.woken(peer)
    }
}

fn behind(detail: String, peer: &CellId) -> Refusal {
    Refusal::new(Code::EscalationRequired, detail)
        .with("reason", "restore_behind".into())
        .with("cell", peer.as_str().into())
}
