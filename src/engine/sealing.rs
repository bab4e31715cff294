//! Certificates of erasure: signed when the slot is overwritten and again when its epoch ends.
//!
//! A certificate of level `logical` says that a slot was overwritten and read back; it becomes `sealed` when the key of
//! the epoch in which that happened is destroyed, since whatever a device or a stolen copy still holds of the slot dies
//! with it. Where overwriting proves nothing there is none before that. Each version has its entry in the audit log,
//! and holds the path from the entry to a signed checkpoint.
//! Source: docs/spec/federation.md section 4, docs/spec/details.md section 10 and S12.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::audit;
use super::certifying::recipients_shown;
use super::core::{Batch, Engine};
use super::shared::Shared;
use super::stop::{Step, bug};
use super::tables::{ERASURES, Erasure, What};
use crate::crypto::digest::from_base64url;
use crate::crypto::json::canonical;
use crate::crypto::jws::Kind;
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, Table, View as Rows};

/// The epoch of the vault, under 0.
pub(super) const EPOCH: Table<u8, Began> = Table::new("epoch");
/// Certificates that are not sealed yet, by the epoch at whose end they are: the payload where nothing is signed yet.
const UNSEALED: Table<Waits, Option<String>> = Table::new("unsealed");
/// The vault's last write, under 0: an older copy of the vault is told from it.
pub(super) const WRITTEN: Table<u8, u64> = Table::new("written");
/// The epoch and the id of the request.
type Waits = (u64, [u8; 16]);
/// Certificates sealed in one commit, at most.
const AT_ONCE: usize = 256;

/// An epoch and when it began.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Began {
    /// Its number.
    pub epoch: u64,
    /// The moment from which `[vault] epoch` is counted.
    pub at: Timestamp,
}

impl Shared {
    /// Whether an epoch began or ended that the database does not know of yet.
    pub(super) fn unsealed(&self) -> Result<bool, Fault> {
        let rows = self.reader.snapshot()?;
        let (oldest, epoch) = (self.vault.oldest_epoch(), self.vault.epoch());
        let began = rows.get(&EPOCH, &0)?.map(|began| began.epoch);
        Ok((oldest == epoch && began != Some(epoch)) || !ended(&rows, oldest, 1)?.is_empty())
    }
}

impl Engine {
    /// Notes the vault's last write in the commit that relies on it.
    pub(super) fn note_written(&mut self, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let written = self.shared.vault.generation();
        if written != self.next.written {
            batch.put(&WRITTEN, &0, &written)?;
            self.next.written = written;
        }
        Ok(())
    }

    /// A vault older than the database brings back what was destroyed since: it is refused. Where slots are damaged the
    /// last write may have been in one of them.
    pub(super) fn not_older(&self) -> Result<(), Fault> {
        let (found, known) = (self.shared.vault.generation(), self.next.written);
        if found >= known || self.shared.vault.damaged() > 0 {
            return Ok(());
        }
        let reason = format!(
            "it is an older copy: its last write is number {found}, the database relies on number {known}; put the newer one back"
        );
        Err(Fault::Damaged { place: "vault".to_owned(), reason })
    }

    /// An erasure is done: it is certified, where overwriting proves something at once, else at the end of the epoch.
    pub(super) fn conclude(
        &mut self,
        batch: &mut Batch<'_>,
        request: Uuid,
        erasure: &mut Erasure,
        payload: Value,
    ) -> Step<()> {
        // The slots were overwritten before this was asked: in this epoch or an earlier one.
        let waits = (self.shared.vault.epoch(), request.into_bytes());
        if self.shared.media.1 {
            batch.put(&UNSEALED, &waits, &None)?;
            return self.certify_again(batch, request, erasure, payload);
        }
        let unsigned = canonical(&payload);
        let (organisation, tag) = (erasure.organisation.to_string(), erasure.tag.to_string());
        self.audit(batch, "erasure", &organisation, &tag, unsigned.as_bytes())?;
        batch.put(&UNSEALED, &waits, &Some(unsigned))?;
        batch.put(&ERASURES, request.as_bytes(), erasure)?;
        Ok(())
    }

    /// Signs a certificate as things stand now and keeps it, with its entry in the audit log and the path to it.
    ///
    /// The entry's digest is that of the payload without `inclusion`, in canonical form (RFC 8785).
    pub(super) fn certify_again(
        &mut self,
        batch: &mut Batch<'_>,
        request: Uuid,
        erasure: &mut Erasure,
        mut payload: Value,
    ) -> Step<()> {
        let index = self.next.audit;
        if let Value::Object(members) = &mut payload {
            members.remove("inclusion");
            members.insert("recipients".to_owned(), recipients_shown(erasure));
        }
        let (organisation, tag) = (erasure.organisation.to_string(), erasure.tag.to_string());
        self.audit(batch, "erasure", &organisation, &tag, canonical(&payload).as_bytes())?;
        let included = audit::included(&self.shared, &batch.txn, index)?;
        let (entry, mut inclusion) = included.ok_or_else(|| bug("an audit entry just written is not there"))?;
        if let (Value::Object(members), Value::Object(path)) = (&mut payload, &mut inclusion) {
            path.insert("entry".to_owned(), entry);
            members.insert("inclusion".to_owned(), inclusion);
        }
        erasure.certificate = Some(self.shared.sign(Kind::Erasure, &payload));
        batch.put(&ERASURES, request.as_bytes(), erasure)?;
        Ok(())
    }

    /// What the end of an epoch changes: its entry in the audit log, and the certificates of what was erased in it,
    /// some of them; `more` tells whether others are left. Repeating it changes nothing more.
    pub(super) fn epoch_ended(&mut self, batch: &mut Batch<'_>) -> Step<Value> {
        let (oldest, epoch) = (self.shared.vault.oldest_epoch(), self.shared.vault.epoch());
        let known = batch.txn.get(&EPOCH, &0)?;
        if oldest == epoch && known.map(|began| began.epoch) != Some(epoch) {
            // The first epoch replaces no key.
            if let Some(ended) = known.map(|began| began.epoch) {
                let cell = self.shared.settings.cell.to_string();
                let what = json!({"began": epoch, "ended": ended});
                self.audit(batch, "key", &cell, &format!("epoch {epoch}"), canonical(&what).as_bytes())?;
            }
            batch.put(&EPOCH, &0, &Began { epoch, at: batch.now })?;
        }
        let waiting = ended(&batch.txn, oldest, AT_ONCE)?;
        let more = waiting.len() == AT_ONCE;
        let sealed = waiting.len();
        for (key, unsigned) in waiting {
            batch.remove(&UNSEALED, &key);
            self.seal(batch, Uuid::from_bytes(key.1), unsigned)?;
        }
        Ok(json!({"epoch": epoch, "at": batch.now, "sealed": sealed, "more": more}))
    }

    fn seal(&mut self, batch: &mut Batch<'_>, request: Uuid, unsigned: Option<String>) -> Step<()> {
        let Some(mut erasure) = batch.txn.get(&ERASURES, request.as_bytes())? else { return Ok(()) };
        let unsigned = unsigned.and_then(|text| serde_json::from_str(&text).ok());
        let payload = unsigned.or_else(|| erasure.certificate.as_deref().and_then(payload));
        let mut payload = payload.ok_or_else(|| bug(format!("the certificate of {request} cannot be read")))?;
        if let Value::Object(members) = &mut payload {
            members.insert("level".to_owned(), json!("sealed"));
        }
        self.certify_again(batch, request, &mut erasure, payload)?;
        if let (Some(peer), Some(certificate)) = (&erasure.ordered, erasure.certificate) {
            self.queue(batch, peer, What::Erased { request, certificate })?;
        }
        batch.effects.erasures.insert(request);
        Ok(())
    }
}

/// Certificates whose epoch has ended: all before `oldest`, at most `limit`.
fn ended(rows: &impl Rows, oldest: u64, limit: usize) -> Result<Vec<(Waits, Option<String>)>, Fault> {
    rows.range(&UNSEALED, ..(oldest, [0; 16]), Order::Forward, limit)
}

/// What a certificate of this cell says.
pub(super) fn payload(certificate: &str) -> Option<Value> {
    let payload = certificate.split('.').nth(1).and_then(from_base64url)?;
    serde_json::from_slice(&payload).ok()
}

/// Where an erasure stands: `pending`, `logical` or `sealed`.
pub(super) fn level(erasure: &Erasure) -> String {
    let payload = erasure.certificate.as_deref().and_then(payload);
    let level = payload.as_ref().and_then(|payload| payload.get("level")?.as_str());
    level.unwrap_or("pending").to_owned()
}
