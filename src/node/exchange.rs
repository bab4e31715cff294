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
use crate::store::Fault;
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
    /// The last number given before this process to a frame for each peer that it has not had a link to. What was
    /// given since was never sent: a peer that has more has what this cell lost.
    before: Mutex<HashMap<CellId, u64>>,
}

impl Crossing {
    /// Over a running engine that no agent or operator talks to yet.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn new(handle: Handle, face: Face) -> Result<Self, Fault> {
        let before = Mutex::new(handle.given_to_each()?);
        Ok(Self { handle, face, streams: Mutex::default(), before })
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<CellId, [u8; 16]>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn before(&self) -> MutexGuard<'_, HashMap<CellId, u64>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
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
        let before = self.before().get(peer).copied();
        let sent = before.map_or_else(|| self.handle.given_to(peer), Ok)?;
        let known = (sent, self.handle.confirmed_by(peer)?);
        if let Some((has, refusal)) = contradiction(peer, hello, self.handle.stream_id(), known) {
            self.handle.forward(peer, has, refusal).await?;
        }
        let said = PeerSaid { jwks: hello.jwks.text().to_owned(), public_url: hello.public_url.clone() };
        self.handle.link_up(peer, said).await?;
        self.before().remove(peer);
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

/// What `peer` has of the stream `own`, and the refusal to link with it, if that and what this cell knows (the last
/// number it may have sent, the last confirmed) cannot both be so.
fn contradiction(
    peer: &CellId,
    hello: &Hello,
    own: [u8; 16],
    (given, confirmed): (u64, u64),
) -> Option<(u64, Refusal)> {
    let has = hello.wants_from(own).saturating_sub(1);
    let ours = hello.expects.is_some_and(|expects| expects.stream == own);
    let detail = if has > given {
        format!(
            "restore_behind: {peer} has frame {has} of this cell's, which knows of {given}: this cell was restored from \
             a backup older than what it has sent; restore a newer one, or both operators say `peer forward`"
        )
    } else if ours && has < confirmed {
        format!(
            "restore_behind: {peer} had confirmed frame {confirmed} of this cell's and now knows of {has}: it was \
             restored from an older backup, and what it lacks is no longer queued here; its operator restores a newer \
             one, or both operators say `peer forward`"
        )
    } else {
        return None;
    };
    let refusal = Refusal::new(Code::EscalationRequired, detail);
    Some((has, refusal.with("reason", "restore_behind".into()).with("cell", peer.as_str().into())))
}
