//! What the links to peers ask of a running engine: frames to send, frames that came, how far each side is.
//!
//! Source: docs/spec/federation.md section 3; the calls are those of `peering::Exchange`.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::command::{Command, Outcome, PeerSaid};
use super::handle::{Handle, lock, unexpected};
use super::inbound::{Checked, Passed};
use super::view::unavailable;
use super::writer::Job;
use super::{outbox, outgoing, revoking};
use crate::protocol::ids::CellId;
use crate::protocol::refusal::{Code, Refusal};
use crate::store::{Fault, View as _};

/// How often a frame is entered anew before it is left for the next time: consents may change meanwhile.
const ANEW: u32 = 3;

impl Handle {
    /// A link is up: what the peer says of itself.
    pub async fn link_up(&self, peer: &CellId, said: PeerSaid) -> Result<(), Refusal> {
        self.ask_patiently(Command::LinkUp(peer.clone(), said)).await.map(|_| ())
    }

    /// `peer` has this cell's frames up to `has`, which contradicts what this cell knows; on from there if its operator
    /// agreed (`peer forward`).
    ///
    /// # Errors
    /// `refusal` if it did not.
    #[allow(clippy::wildcard_enum_match_arm, reason = "any other outcome is one mistake")]
    pub async fn forward(&self, peer: &CellId, has: u64, refusal: Refusal) -> Result<(), Refusal> {
        match self.ask_patiently(Command::Forward(peer.clone(), has, refusal)).await? {
            Outcome::Operated(done) => done.map(|_| ()),
            other => Err(unexpected(&other)),
        }
    }

    /// The stream of `peer` that frames were last taken from, and the last number taken.
    pub fn taken_from(&self, peer: &CellId) -> Result<Option<([u8; 16], u64)>, Refusal> {
        let row = self.rows()?.get(&super::tables::INBOX, peer).map_err(|fault| unavailable(&fault))?;
        Ok(row.map(|row| (row.stream, row.number)))
    }

    /// The last number given to a frame for `peer`.
    pub fn given_to(&self, peer: &CellId) -> Result<u64, Refusal> {
        outbox::given(&self.rows()?, peer).map_err(|fault| unavailable(&fault))
    }

    /// The last number given to a frame for each peer that this cell knows.
    pub fn given_to_each(&self) -> Result<HashMap<CellId, u64>, Fault> {
        let (facts, rows) = (self.shared.facts.load(), self.shared.reader.snapshot()?);
        let peers = self.shared.settings.peers.keys().chain(facts.peers.keys());
        peers.map(|peer| Ok((peer.clone(), outbox::given(&rows, peer)?))).collect()
    }

    /// The last frame that `peer` confirmed.
    pub fn confirmed_by(&self, peer: &CellId) -> Result<u64, Refusal> {
        let row = self.rows()?.get(&super::tables::ACKED, peer).map_err(|fault| unavailable(&fault))?;
        Ok(row.unwrap_or_default())
    }

    /// The id of this cell's stream: the same as long as its store lives.
    pub fn stream_id(&self) -> [u8; 16] {
        self.shared.stream
    }

    /// This cell's keys as a JWK set, for the hello.
    pub fn jwks(&self) -> String {
        self.shared.signer.jwks.to_string()
    }

    /// Frames for `peer` after this number; what may not be sent any more is moved to the dead letters.
    pub async fn outbound(&self, peer: &CellId, after: u64, max_bytes: usize) -> Vec<(u64, Vec<u8>)> {
        let mut from = after;
        let mut anew = (0, 0);
        loop {
            let (shared, to, now) = (Arc::clone(&self.shared), peer.clone(), self.now());
            let built = tokio::task::spawn_blocking(move || outgoing::ready(&shared, &to, from, max_bytes, now)).await;
            let ready = match built {
                Ok(Ok(ready)) => ready,
                Ok(Err(fault)) => {
                    tracing::error!(%fault, "frames could not be built");
                    return Vec::new();
                }
                Err(_) => return Vec::new(),
            };
            let Some((last, _)) = ready.last() else { return Vec::new() };
            from = *last;
            let mut frames = Vec::new();
            for (number, made) in ready {
                match made {
                    outgoing::Ready::Frame(bytes) => frames.push((number, bytes)),
                    // Frames before it go first.
                    outgoing::Ready::Stale if !frames.is_empty() => {}
                    outgoing::Ready::Stale if anew == (number, ANEW) => {
                        tracing::error!(peer = %peer, number, "a frame does not go as its ledger entry says");
                        return Vec::new();
                    }
                    outgoing::Ready::Stale => {
                        anew = (number, if anew.0 == number { anew.1 + 1 } else { 1 });
                        from = number - 1;
                        drop(self.ask_patiently(Command::Stale(peer.clone(), number)).await);
                    }
                    outgoing::Ready::Spent => drop(self.ask_patiently(Command::Spent(peer.clone(), number)).await),
                    outgoing::Ready::Dead(refusal) => {
                        tracing::info!(peer = %peer, number, code = refusal.code.name(), "dead letter");
                        drop(self.ask_patiently(Command::Dead(peer.clone(), number, refusal)).await);
                    }
                }
            }
            if !frames.is_empty() {
                return frames;
            }
        }
    }

    /// Takes a peer's frames; durable when it returns the last number taken.
    #[allow(clippy::wildcard_enum_match_arm, reason = "any other outcome is one mistake")]
    pub async fn inbound(&self, peer: &CellId, stream: [u8; 16], frames: Vec<(u64, Vec<u8>)>) -> Result<u64, Refusal> {
        let (shared, from, now) = (Arc::clone(&self.shared), peer.clone(), self.now());
        let checked = tokio::task::spawn_blocking(move || {
            let check = |(number, bytes): (u64, Vec<u8>)| (number, Checked::of(&shared, &from, &bytes, now));
            frames.into_iter().map(check).collect::<Vec<_>>()
        });
        let checked = checked.await.map_err(|_| Refusal::new(Code::Unspecified, "a frame's check stopped"))?;
        match self.ask_patiently(Command::Inbound(peer.clone(), stream, checked)).await? {
            Outcome::Inbound(number) => Ok(number),
            other => Err(unexpected(&other)),
        }
    }

    /// A peer has everything up to this number.
    pub fn acked(&self, peer: &CellId, upto: u64) {
        let (answer, _) = oneshot::channel();
        // Lost when the queue is full; the next acknowledgement covers it.
        drop(self.jobs.try_send(Job { command: Command::Acked(peer.clone(), upto), answer }));
    }

    /// Resolves when there may be something new for `peer`.
    pub async fn woken(&self, peer: &CellId) {
        let notify = Arc::clone(lock(&self.wakes.peers).entry(peer.clone()).or_default());
        notify.notified().await;
    }

    /// What goes to `peer` before its outbox: key and frame of each.
    pub fn urgent(&self, peer: &CellId) -> Vec<revoking::Urgent> {
        revoking::urgent(&self.shared, peer).unwrap_or_else(|refusal| {
            tracing::error!(%refusal, "an urgent frame could not be built");
            Vec::new()
        })
    }

    /// Takes what a peer put before its outbox; it holds when it returns.
    pub async fn take_urgent(&self, peer: &CellId, bytes: Vec<u8>) -> Result<(), Refusal> {
        let (shared, from, now) = (Arc::clone(&self.shared), peer.clone(), self.now());
        let checked = tokio::task::spawn_blocking(move || Checked::of(&shared, &from, &bytes, now)).await;
        let checked = checked.map_err(|_| Refusal::new(Code::Unspecified, "a frame's check stopped"))?;
        if !matches!(checked, Checked(Passed::Revocation { .. } | Passed::Held(_) | Passed::Told(_))) {
            return Err(Refusal::new(Code::PolicyViolation, "only what concerns consents goes before the outbox"));
        }
        self.ask_patiently(Command::Urgent(peer.clone(), checked)).await.map(|_| ())
    }

    /// A peer has taken the urgent frame of this key.
    pub async fn urgent_taken(&self, peer: &CellId, key: [u8; 16]) {
        // Fails only when the writer has stopped.
        drop(self.ask_patiently(Command::UrgentTaken(peer.clone(), key)).await);
    }
}
