//! `session resolve --request`: a member's operator asks the host's to resolve a session that stands still.
//!
//! Each member's newest request is kept while the session is ESCALATED, in the host and in the member that asked; the
//! first of an escalation is audited and told the host's operator. It needs no consent: it names a session that both
//! cells have and nothing said in it, and what a revocation suspended must be asked for too.
//! Source: docs/spec/details.md section 3 ("ESCALATED").

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::live::Live;
use super::shared::Shared;
use super::stop::Step;
use super::tables::{Kept, REQUESTS, What};
use crate::protocol::ids::{CellId, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::request::Request;
use crate::protocol::session::{Changes, Reader, State};
use crate::protocol::statement::Statement as _;
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::{About, Said};

impl Engine {
    /// Asks the host's operator, from this member cell.
    pub(super) fn ask_host(&mut self, batch: &mut Batch<'_>, live: &Live, reason: &str) -> Step<Value> {
        let own = self.shared.settings.cell.clone();
        let host = live.kept.session.host.clone();
        if host == own {
            let detail = "this cell is the session's host: resolve it here with --resume or --close OUTCOME";
            return Err(Refusal::new(Code::PolicyViolation, detail).at("/resolution").into());
        }
        let session = live.kept.session.id;
        if live.kept.session.shown_state() != State::Escalated {
            return Err(not_escalated(&live.kept).into());
        }
        let request = Request {
            cell: own.clone(),
            to: host.clone(),
            session_id: session,
            reason: reason.to_owned(),
            at: batch.now,
        };
        request.check()?;
        let jws = request.sign(&self.shared.signer.key);
        self.queue(batch, &host, What::Statement { said: Said::Request, about: About::Session(session), jws })?;
        batch.put(&REQUESTS, &(session, own), &(request.reason, request.at))?;
        self.audit(batch, "operator", "operator", &session.to_string(), reason.as_bytes())?;
        Ok(shown(&self.shared, &batch.txn, &live.kept, batch.now)?)
    }

    /// Takes a member's request: this cell is the host. One that comes when the session goes on again asks nothing.
    pub(super) fn take_request(&mut self, batch: &mut Batch<'_>, peer: &CellId, live: &Live, jws: &str) -> Step<()> {
        let request = Request::unproven(jws).map_err(|why| Refusal::invalid("/statement", why.to_string()))?;
        let own = &self.shared.settings.cell;
        if request.cell != *peer || request.to != *own || live.kept.session.host != *own {
            let detail = format!("a request of cell {} to {}, from {peer}", request.cell, request.to);
            return Err(Refusal::new(Code::Unauthorized, detail).into());
        }
        request.check()?;
        if live.kept.session.state != State::Escalated {
            return Ok(());
        }
        let session = request.session_id;
        let before = batch.txn.get(&REQUESTS, &(session, peer.clone()))?;
        if before.as_ref().is_some_and(|(_, at)| *at >= request.at) {
            return Ok(());
        }
        if before.is_none() {
            self.audit(batch, "operator", peer.as_str(), &session.to_string(), request.reason.as_bytes())?;
            let told = format!("the operator of {peer} asks that session {session} be resolved; see `session show`");
            batch.effects.alarms.push(told);
        }
        batch.put(&REQUESTS, &(session, peer.clone()), &(request.reason, request.at))?;
        Ok(())
    }

    /// The escalation is over: what was asked for is settled.
    pub(super) fn requests_end(&self, batch: &mut Batch<'_>, live: &Live, changes: &Changes) -> Result<(), Fault> {
        if changes.from != State::Escalated || changes.to == State::Escalated {
            return Ok(());
        }
        for (key, _) in batch.txn.under(&REQUESTS, &(live.kept.session.id,), Order::Forward, usize::MAX)? {
            batch.remove(&REQUESTS, &key);
        }
        Ok(())
    }
}

/// The refusal to resolve what does not stand still.
pub(super) fn not_escalated(kept: &Kept) -> Refusal {
    let state = kept.session.shown_state().name();
    Refusal::new(Code::StateViolation, format!("the session is {state}, not ESCALATED")).with("state", json!(state))
}

/// A session as its cell's operator sees it: S8b, with what members' operators ask for.
pub(super) fn shown(shared: &Shared, rows: &impl Rows, kept: &Kept, now: Timestamp) -> Result<Value, Fault> {
    let session = kept.session.id;
    let names = super::sending::names(shared, rows, session)?;
    let mut view = kept.view(&Reader { you: None, now, agent: &|id| names.get(&id).cloned() });
    let requests = requests(rows, session)?;
    if let Value::Object(members) = &mut view {
        members.insert("requests".to_owned(), Value::Array(requests));
    }
    Ok(view)
}

fn requests(rows: &impl Rows, session: SessionId) -> Result<Vec<Value>, Fault> {
    let rows = rows.under(&REQUESTS, &(session,), Order::Forward, usize::MAX)?;
    let shown = |((_, cell), (reason, at)): ((SessionId, CellId), (String, Timestamp))| json!({"cell": cell, "reason": reason, "at": at});
    Ok(rows.into_iter().map(shown).collect())
}
