//! Epochs of the vault while the cell runs: ended by command and by time, beside the writer, never on a task's thread.
//!
//! Source: docs/spec/federation.md section 4 (`[vault] epoch`), docs/spec/details.md section 10.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout_at};
use uuid::Uuid;

use super::certifying;
use super::command::Command;
use super::handle::Handle;
use super::operation::Operation;
use super::sealing::{self, EPOCH};
use super::tables::{ERASURES, Erasure};
use super::view::unavailable;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Span;
use crate::store::{Fault, View as _};

/// How long `erase` waits for the peers' certificates before it shows what there is.
const PEERS_CERTIFY: Duration = Duration::from_secs(3);
/// How often the wall clock is looked at: a machine that slept has no steady clock to tell it.
const LOOK: Duration = Duration::from_secs(30);
/// When the keys could not be replaced, it is tried again after this.
const AGAIN: Duration = Duration::from_mins(1);

impl Handle {
    /// The verbs of epochs; `None` for all others.
    pub(super) async fn epochs(&self, operation: &Operation) -> Option<Result<Value, Refusal>> {
        if let Operation::EraseAwait { request } = operation {
            return Some(self.sealed(*request).await);
        }
        if *operation == Operation::KeysRotateEpoch { Some(self.rotate_epoch().await) } else { None }
    }

    /// Ends the epoch now: the number of the ended one and of the one that began, and how many certificates it sealed.
    async fn rotate_epoch(&self) -> Result<Value, Refusal> {
        let shared = Arc::clone(&self.shared);
        let rotated = tokio::task::spawn_blocking(move || shared.vault.rotate(&*shared.epochs)).await;
        let stopped = || Refusal::new(Code::Unspecified, "the end of the epoch stopped at a bug");
        let ended = rotated.map_err(|_| stopped())?.map_err(|fault| self.not_ended(&fault))?;
        let mut sealed = 0;
        loop {
            let done = self.operated(Command::EpochEnded).await?;
            sealed += done.get("sealed").and_then(Value::as_u64).unwrap_or_default();
            if done.get("more") != Some(&json!(true)) {
                metrics::counter!("asp_epochs_ended_total").increment(1);
                tracing::info!(ended, sealed, "the vault's epoch ended");
                return Ok(json!({"ended": ended, "epoch": done.get("epoch"), "at": done.get("at"), "sealed": sealed}));
            }
        }
    }

    fn not_ended(&self, fault: &Fault) -> Refusal {
        metrics::counter!("asp_alarms_total").increment(1);
        tracing::error!(%fault, "alarm: the vault's epoch did not end, and its key is not destroyed");
        if self.shared.vault.is_stopped() {
            self.wakes.failed.store(true, Ordering::SeqCst);
            self.wakes.fault.notify_waiters();
        }
        let detail = format!("the epoch did not end: {fault}; the cell goes on under the keys it has and tries again");
        Refusal::new(Code::StorageUnavailable, detail)
    }

    /// Ends each epoch when it is `longest` old, counted from when it began, as the database remembers it: a cell that
    /// was down past that does it at once. Never returns.
    pub async fn keep_epochs(&self, longest: Span) {
        loop {
            let began = self.rows().and_then(|rows| rows.get(&EPOCH, &0).map_err(|fault| unavailable(&fault)));
            let Ok(Some(began)) = began else {
                sleep(AGAIN).await;
                continue;
            };
            let due = began.at + longest;
            // A wall clock that is set back keeps no key alive: the steady one ends the epoch as well.
            let left = (due - self.now()).0.clamp(0, longest.0);
            let end = tokio::time::Instant::now() + Duration::from_millis(left.unsigned_abs());
            while self.now() < due && tokio::time::Instant::now() < end {
                tokio::time::sleep_until(end.min(tokio::time::Instant::now() + LOOK)).await;
            }
            if self.rotate_epoch().await.is_err() {
                sleep(AGAIN).await;
            }
        }
    }

    /// The certificate, with the peers' own as far as they come in time.
    pub(super) async fn certified(&self, request: Uuid) -> Result<Value, Refusal> {
        let end = tokio::time::Instant::now() + PEERS_CERTIFY;
        loop {
            let changed = self.wakes.erasures.notified();
            let erasure = self.erasure(request)?;
            if certifying::answered(&erasure) || tokio::time::Instant::now() >= end {
                return Ok(certifying::shown(&self.shared, request, &erasure));
            }
            drop(timeout_at(end, changed).await);
        }
    }

    /// The certificate once the epoch has ended, however long that takes.
    async fn sealed(&self, request: Uuid) -> Result<Value, Refusal> {
        loop {
            let changed = self.wakes.erasures.notified();
            let erasure = self.erasure(request)?;
            if sealing::level(&erasure) == "sealed" {
                return Ok(certifying::shown(&self.shared, request, &erasure));
            }
            changed.await;
        }
    }

    fn erasure(&self, request: Uuid) -> Result<Erasure, Refusal> {
        let found = self.rows()?.get(&ERASURES, request.as_bytes()).map_err(|fault| unavailable(&fault))?;
        found.ok_or_else(|| Refusal::new(Code::NotFound, format!("no request {request}; see `erase status`")))
    }
}
