//! Disputes as they are read: by agents (S9), by operators, and as a pack that verifies off line.
//!
//! Source: docs/spec/details.md section 6 and S9.

use serde_json::{Map, Value, json};

use super::disputes::{no_dispute, session_of, verdicts};
use super::request::Caller;
use super::scopes;
use super::shared::Shared;
use super::tables::{DISPUTES, Kept, Noted};
use super::transcript;
use super::view::{Reading, View, unavailable};
use crate::protocol::beside::Beside;
use crate::protocol::dispute::{CLAIM, Filing, RESOLUTION};
use crate::protocol::ids::{DisputeId, MessageId, OrgName, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::protocol::verdict::Given;
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::Boxed;

impl<R: Rows> View<'_, R> {
    /// One dispute as a participant reads it.
    pub fn dispute(&self, caller: &Caller, session: SessionId, id: DisputeId) -> Reading<Value> {
        self.seat(caller, session)?;
        let holder = caller.agent.organisation();
        let read = || -> Result<Option<Value>, Fault> {
            let Some(kept) = self.kept(session)? else { return Ok(None) };
            self.disputed(&kept, &holder, id)
        };
        let unknown = || Refusal::new(Code::NotFound, "no such dispute in this session");
        read().map_err(|fault| unavailable(&fault))?.ok_or_else(unknown)
    }

    /// All disputes of a session, as `holder` reads them.
    pub fn all_disputed(&self, kept: &Kept, holder: &OrgName) -> Result<Vec<Value>, Fault> {
        let ids = kept.session.disputes.iter().map(|dispute| dispute.id);
        ids.filter_map(|id| self.disputed(kept, holder, id).transpose()).collect()
    }

    fn disputed(&self, kept: &Kept, holder: &OrgName, id: DisputeId) -> Result<Option<Value>, Fault> {
        let Some(dispute) = kept.session.dispute(id) else { return Ok(None) };
        let Value::Object(mut shown) = kept.session.dispute_view(dispute) else { return Ok(None) };
        let row = self.noted(kept.session.id, MessageId(id.0))?;
        match row.as_ref().map(|row| (row, &row.said)) {
            Some((row, Beside::Dispute(filing))) => self.filed(row, filing, holder, &mut shown)?,
            Some((_, Beside::Rating(_))) | None => {
                // The REJECT of a fulfilment, which stands in the chain, is its filing.
                shown.insert("references".into(), json!([id]));
                shown.insert("evidence".into(), json!([]));
            }
        }
        let mut given = Vec::new();
        for (verdict, jws) in verdicts(self.rows, kept.session.id, id)? {
            if verdict.decides {
                shown.insert("decision".into(), json!(jws));
            } else {
                given.push(given_view(&verdict, &jws));
            }
        }
        shown.insert("verdicts".into(), Value::Array(given));
        Ok(Some(Value::Object(shown)))
    }

    /// What its party filed: references, evidence, texts, and what proves them.
    fn filed(
        &self,
        row: &Noted,
        filing: &Filing,
        holder: &OrgName,
        shown: &mut Map<String, Value>,
    ) -> Result<(), Fault> {
        shown.insert("references".into(), json!(filing.references));
        shown.insert("evidence".into(), filing.evidence.value());
        let parts = self.noted_parts(row, holder)?;
        for name in [CLAIM, RESOLUTION] {
            if let (Some(part), Some(Value::Object(member))) = (parts.get(name), shown.get_mut(name)) {
                let (key, value) = match part.get("value") {
                    Some(text) => ("text", text),
                    None => ("textStatus", part.get("status").unwrap_or(&Value::Null)),
                };
                member.insert(key.into(), value.clone());
            }
        }
        shown.insert("parts".into(), Value::Object(parts));
        let envelope = serde_json::from_str(&filing.envelope()).unwrap_or(Value::Null);
        shown.insert("envelope".into(), envelope);
        let place = scopes::place(filing.session_id, row.said.id().bytes(), "");
        match scopes::open::<Boxed>(self.shared, &place, holder, &row.boxed)? {
            Some(boxed) => {
                shown.insert("proof".into(), json!(boxed.proof));
                shown.insert("admittedAt".into(), json!(boxed.admitted_at));
            }
            None => {
                shown.insert("proofStatus".into(), json!("erased"));
            }
        }
        Ok(())
    }

    /// The proof's box of a dispute, for its sender's key.
    pub(super) fn filing_box(
        &self,
        session: SessionId,
        id: DisputeId,
        holder: &OrgName,
    ) -> Result<Option<Boxed>, Fault> {
        let Some(row) = self.noted(session, MessageId(id.0))? else { return Ok(None) };
        let place = scopes::place(session, row.said.id().bytes(), "");
        scopes::open::<Boxed>(self.shared, &place, holder, &row.boxed)
    }
}

fn given_view(given: &Given, jws: &str) -> Value {
    let mut shown =
        json!({"cell": given.cell, "outcome": given.outcome, "by": given.by, "at": given.at, "signature": jws});
    if let Value::Object(members) = &mut shown {
        let said = [
            ("severity", given.severity.map(|severity| json!(severity))),
            ("escrow", given.escrow.map(|escrow| json!(escrow))),
            ("payeeAmount", given.payee_amount.as_ref().map(|amount| json!(amount))),
        ];
        members.extend(said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    shown
}

/// `dispute list`: newest first.
pub(super) fn list(rows: &impl Rows) -> Result<Value, Fault> {
    let mut disputes = Vec::new();
    for ((id, session), ()) in rows.range(&DISPUTES, .., Order::Backward, usize::MAX)? {
        if let Some(kept) = rows.get(&super::tables::SESSIONS, &session)?
            && let Some(dispute) = kept.session.dispute(DisputeId(id.0))
        {
            disputes.push(kept.session.dispute_view(dispute));
        }
    }
    Ok(json!({"disputes": disputes}))
}

type Shown = Result<Result<Value, Refusal>, Fault>;

/// `dispute show`.
pub(super) fn show(shared: &Shared, rows: &impl Rows, id: DisputeId) -> Shown {
    let view = View { shared, rows };
    let Some((kept, holder)) = found(&view, id)? else { return Ok(Err(no_dispute(id))) };
    Ok(view.disputed(&kept, &holder, id)?.ok_or_else(|| no_dispute(id)))
}

/// `dispute show --pack`: the dispute and its session's transcript, in which it stands with its verdicts.
pub(super) fn pack(shared: &Shared, rows: &impl Rows, id: DisputeId, now: Timestamp) -> Shown {
    let view = View { shared, rows };
    let Some((kept, _)) = found(&view, id)? else { return Ok(Err(no_dispute(id))) };
    let transcript = transcript::for_operator(shared, rows, kept.session.id, now)?;
    Ok(transcript.map(
        |transcript| json!({"type": crate::protocol::transcript::PACK, "disputeId": id, "transcript": transcript}),
    ))
}

/// The session of a dispute, and the organisation of this cell with whose eyes it is shown.
fn found<R: Rows>(view: &View<'_, R>, id: DisputeId) -> Result<Option<(Kept, OrgName)>, Fault> {
    let Some(session) = session_of(view.rows, id)? else { return Ok(None) };
    let Some(kept) = view.kept(session)? else { return Ok(None) };
    let own = super::border::orgs_in(&kept.session, &view.shared.settings.cell);
    Ok(own.into_iter().next().map(|holder| (kept, holder)))
}
