//! What no agent's message causes: deadlines, silence, revocation, operators. Each is a record by the host, so that
//! order decides and never two clocks. Source: docs/spec/details.md section 2.

use serde_json::Value;

use super::asking;
use super::border::Load;
use super::core::{Batch, Engine};
use super::live::Live;
use super::operation::Resolution;
use super::placing::{Arriving, head_of};
use super::sending::{frozen, next_place};
use super::stop::{Step, Stop};
use super::tables;
use crate::protocol::envelope::Envelope;
use crate::protocol::ids::SessionId;
use crate::protocol::json::Json;
use crate::protocol::record::Record;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Event as SessionEvent, State};
use crate::protocol::statement::{Statement as _, SystemProof};
use crate::protocol::terms::SystemEvent;
use crate::protocol::time::{Span, Timestamp};
use crate::store::Fault;
use crate::wire::frame::Crossing;

/// How often what holds keep is looked at for disputes that nobody ended in time.
const LOOK_AGAIN: Span = Span::seconds(3600);

/// Sessions seen to in one tick; the rest follow in the next.
const AT_ONCE: usize = 256;

impl Engine {
    /// Sees to every session that fell due, and forgets spent proofs.
    pub(super) fn tick(&mut self, batch: &mut Batch<'_>) -> Result<(), Fault> {
        self.forget_proofs(batch)?;
        if self.forgot_at == batch.now {
            self.offer_checkpoints(batch)?;
        }
        self.retire(batch)?;
        if batch.now - self.looked_at >= LOOK_AGAIN {
            self.looked_at = batch.now;
            self.look_again_everywhere();
        }
        let due: Vec<(Timestamp, SessionId)> =
            self.due.range(..=(batch.now, SessionId(uuid::Uuid::max()))).take(AT_ONCE).copied().collect();
        for (at, session) in due {
            let mut live = match self.take_out(batch, session) {
                Ok(live) => live,
                Err(Stop::Fault(fault)) => return Err(fault),
                Err(Stop::Refused(_)) => {
                    self.due.remove(&(at, session));
                    batch.remove(&tables::DEADLINES, &(at.0.cast_unsigned(), session));
                    continue;
                }
            };
            let hosted = live.kept.session.host == self.shared.settings.cell;
            let step = if hosted { self.fall_due(batch, &mut live) } else { self.overdue(batch, &mut live) };
            self.put_changed(batch, live);
            if let Err(Stop::Fault(fault)) = step {
                return Err(fault);
            }
        }
        Ok(())
    }

    pub(super) fn fall_due(&mut self, batch: &mut Batch<'_>, live: &mut Live) -> Step<()> {
        if self.shared.clock_off().is_some() {
            return Ok(());
        }
        // A frozen session takes nothing, of its host's own neither.
        while let Some(event) = live.kept.session.due(batch.now).filter(|_| live.kept.frozen.is_none()) {
            if let SystemEvent::DisputeDecided { dispute, .. } = event {
                self.dispute_due(batch, live, dispute)?;
            } else {
                self.place_system(batch, live, &event)?;
            }
        }
        Ok(())
    }

    /// Places a system record: this cell is the host.
    pub(super) fn place_system(&mut self, batch: &mut Batch<'_>, live: &mut Live, event: &SystemEvent) -> Step<()> {
        let session = live.kept.session.id;
        let message = self.message_id(batch.now);
        let terms = Json::of(&event.terms());
        let envelope = Envelope::of_system(session, message, &self.shared.settings.cell, &terms).hash();
        let proof =
            SystemProof { session_id: session, message_id: message, hash: envelope }.sign(&self.shared.signer.key);
        let record = Record::of_system(session, message, terms, &proof, next_place(live, batch.now));
        let (hash, previous) = Self::link(live, &record);
        let crossings = self.crossings_of_system(batch, live)?;
        let changes = live.kept.session.apply(&SessionEvent::System(*event), head_of(&record, hash));
        let arriving = Arriving {
            record,
            hash,
            previous,
            envelope,
            parts: std::collections::BTreeMap::new(),
            boxed: None,
            system: Some(proof),
            crossings,
            profile: None,
            seats: Vec::new(),
        };
        if let Some(inviter) = live.kept.session.participants.first().map(|p| p.home.organisation.clone()) {
            self.exported_all(batch, &arriving, &inviter)?;
        }
        self.file(batch, live, arriving, &changes)
    }

    /// Where what the host itself says may go: it is the inviter's organisation's. A cell that it may not go to now is
    /// left out, and asked for again when it is sent.
    fn crossings_of_system(&self, batch: &Batch<'_>, live: &Live) -> Step<Vec<Crossing>> {
        let session = &live.kept.session;
        let Some(inviter) = session.participants.first().map(|p| &p.home.organisation) else { return Ok(Vec::new()) };
        let names = self.names(batch, session.id)?;
        let passage = self.passage(session, &names, inviter, None, batch);
        let cells = live.cells(&self.shared.settings.cell);
        Ok(cells.iter().filter_map(|cell| passage.to(cell, Load::default()).ok()).collect())
    }

    /// `session resolve`: the host's operator ends an escalation.
    pub(super) fn resolve(
        &mut self,
        batch: &mut Batch<'_>,
        session: SessionId,
        resolution: &Resolution,
        reason: &str,
    ) -> Step<Value> {
        let mut live = self.take_out(batch, session)?;
        let step = self.resolve_live(batch, &mut live, resolution, reason);
        self.put_changed(batch, live);
        step
    }

    fn resolve_live(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        resolution: &Resolution,
        reason: &str,
    ) -> Step<Value> {
        let session = live.kept.session.id;
        let outcome = match resolution {
            Resolution::Request => return self.ask_host(batch, live, reason),
            Resolution::Resume => None,
            Resolution::Close(word) => {
                let expected = "success, partialSuccess, failure, timeout, escalation or cancellation";
                Some(word.parse().map_err(|_| Refusal::invalid("/outcome", expected))?)
            }
        };
        if live.kept.session.host != self.shared.settings.cell {
            let detail =
                format!("only the operator of the host cell {} resolves; --request asks it to", live.kept.session.host);
            return Err(Refusal::new(Code::EscalationRequired, detail).into());
        }
        if live.kept.session.state != State::Escalated {
            return Err(asking::not_escalated(&live.kept).into());
        }
        frozen(live)?;
        if outcome.is_none() {
            // After a revocation only --close, until a new consent is active: docs/spec/details.md section 3.
            for cell in live.cells(&self.shared.settings.cell) {
                self.own_passage(batch, live, &cell)?;
            }
        }
        self.audit(batch, "operator", "operator", &session.to_string(), reason.as_bytes())?;
        self.place_system(batch, live, &SystemEvent::OperatorResolved { outcome })?;
        Ok(asking::shown(&self.shared, &batch.txn, &live.kept, batch.now)?)
    }
}
