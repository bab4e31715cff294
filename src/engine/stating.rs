//! What cells sign and tell each other beside records: outcomes, and whatever else stands by its own signature.
//!
//! One way out and one way in: consent for the statement's class is asked when it is queued, when it is sent
//! (`outgoing`) and when it is taken. A host hands a member's statement on to the other members; nobody else passes on
//! what is not its own. Source: docs/spec/federation.md sections 2 and 3, docs/spec/details.md section 2.

use super::core::{Batch, Engine};
use super::inbound::Stated;
use super::live::Live;
use super::stated::Words;
use super::stop::{Step, Stop};
use super::tables::{OUTCOMES, What};
use super::{admitting, border};
use crate::protocol::ids::{CellId, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::store::View as _;
use crate::wire::frame::{About, Said};

impl Engine {
    /// Queues a statement about a session for another cell of it; a refusal where no consent covers its class.
    pub(super) fn state_to(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        peer: &CellId,
        said: Said,
        jws: String,
    ) -> Step<()> {
        let session = live.kept.session.id;
        if let Some(class) = said.class() {
            let names = self.names(batch, session)?;
            let here = (&self.shared.settings, &*self.facts);
            let relied = border::class_out(here, &live.kept.session, &names, peer, class, batch.now)?;
            let words = Words { class, session: Some(session), jws: &jws, relied: &relied };
            self.exported_statement(batch, peer, words)?;
        }
        self.queue(batch, peer, What::Statement { said, about: About::Session(session), jws })?;
        Ok(())
    }

    /// Takes a statement: from its signer, or from the host of the session it is about.
    pub(super) fn take_statement(&mut self, batch: &mut Batch<'_>, peer: &CellId, stated: Stated) -> Step<()> {
        match &stated.about {
            About::Agents { from, to } => match stated.said {
                Said::Endorsement => self.take_endorsement(batch, peer, &stated, from, to),
                Said::Outcome
                | Said::Settlement
                | Said::Netting
                | Said::Imports
                | Said::Checkpoints
                | Said::Verdict
                | Said::Decision
                | Said::Request
                | Said::Escrow => Err(misplaced().into()),
            },
            About::Session(session) => {
                let mut live = self.take_out(batch, *session)?;
                let step = self.take_session_statement(batch, peer, &mut live, &stated);
                let step = step.and_then(|()| self.enter_statement(batch, peer, &live, &stated));
                self.put_changed(batch, live);
                step
            }
            About::Cells => match stated.said {
                Said::Netting => self.take_netting(batch, peer, stated.jws),
                Said::Imports => self.take_imports(batch, peer, stated.jws),
                Said::Checkpoints => self.take_checkpoints(batch, peer, &stated.jws),
                Said::Outcome
                | Said::Settlement
                | Said::Endorsement
                | Said::Verdict
                | Said::Decision
                | Said::Request
                | Said::Escrow => Err(misplaced().into()),
            },
        }
    }

    fn take_session_statement(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        live: &mut Live,
        stated: &Stated,
    ) -> Step<()> {
        let own = self.shared.settings.cell.clone();
        let session = live.kept.session.id;
        let cells = live.cells(&own);
        let may_bring = stated.signer == *peer || live.kept.session.host == *peer;
        if !cells.contains(peer) || !cells.contains(&stated.signer) || !may_bring {
            let detail = format!("a statement of cell {} about session {session} from {peer}", stated.signer);
            return Err(Refusal::new(Code::Unauthorized, detail).into());
        }
        about_it(&stated.payload, session)?;
        if let Some(class) = stated.said.class() {
            let names = self.names(batch, session)?;
            let here = (&self.shared.settings, &*self.facts);
            admitting::class_from(here, &live.kept.session, &names, peer, class, batch.now)?;
        }
        match stated.said {
            Said::Outcome => {
                let key = (session, stated.signer.clone());
                // Told again: nobody needs to hear it again.
                if batch.txn.get(&OUTCOMES, &key)?.as_ref() == Some(&stated.jws) {
                    return Ok(());
                }
                batch.put(&OUTCOMES, &key, &stated.jws)?;
            }
            // From one cell to another, and nobody else's business.
            Said::Settlement => return self.take_order_of(batch, live, peer, &stated.jws),
            Said::Request => return self.take_request(batch, peer, live, &stated.jws),
            Said::Escrow => return self.take_unlocking(batch, live, stated),
            Said::Endorsement | Said::Netting | Said::Imports | Said::Checkpoints => return Err(misplaced().into()),
            Said::Verdict | Said::Decision => self.take_verdict(batch, live, stated)?,
        }
        if live.kept.session.host == own {
            for cell in cells.into_iter().filter(|cell| *cell != stated.signer) {
                match self.state_to(batch, live, &cell, stated.said, stated.jws.clone()) {
                    // What may not go to one of them keeps nobody else from it.
                    Ok(()) | Err(Stop::Refused(_)) => {}
                    Err(Stop::Fault(fault)) => return Err(fault.into()),
                }
            }
        }
        self.weigh_verdict(batch, live, stated)
    }
}

impl Engine {
    /// What was taken of a peer is entered in the import ledger.
    fn enter_statement(&mut self, batch: &mut Batch<'_>, peer: &CellId, live: &Live, stated: &Stated) -> Step<()> {
        let Some(class) = stated.said.class() else { return Ok(()) };
        let session = Some(live.kept.session.id);
        let words = Words { class, session, jws: &stated.jws, relied: &stated.relied };
        let organisations = border::orgs_in(&live.kept.session, peer);
        self.imported_statement(batch, peer, (words, stated.at), &organisations)
    }
}

fn misplaced() -> Refusal {
    Refusal::invalid(
        "/about",
        "what a statement of that kind is about: an outcome a session, an endorsement two agents",
    )
}

/// The payload names the session that the frame does.
fn about_it(payload: &serde_json::Value, session: SessionId) -> Result<(), Refusal> {
    let named = payload.get("sessionId").and_then(|id| id.as_str()).and_then(|id| id.parse().ok());
    if named == Some(session) {
        return Ok(());
    }
    Err(Refusal::invalid("/statement/sessionId", "the session that the frame names"))
}
