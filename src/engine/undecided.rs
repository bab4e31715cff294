//! Sessions that would stand still because a decision or a record was lost: what was said of disputes is told again, a
//! member asks its host for what should have come long ago, and ends by itself what time alone can have decided.
//!
//! Source: docs/spec/details.md section 6, docs/decisions.md ("Disputes").

use super::core::{Batch, Engine};
use super::disputes::verdicts;
use super::live::Live;
use super::stop::{Step, Stop};
use super::tables::What;
use crate::crypto::digest::Digest;
use crate::protocol::ids::CellId;
use crate::protocol::session::Dispute;
use crate::protocol::time::Span;
use crate::protocol::verdict::{Ground, Ruling, Verdict};
use crate::wire::frame::Said;

/// A member whose host does not answer asks it again after so long.
pub(super) const ASK_AGAIN: Span = Span::seconds(3_600);
/// Frames that wait for a peer before more is told again.
const BACKLOG: usize = 1024;

impl Engine {
    /// Tells a cell of the session again what was said of its disputes: the host verdicts and decisions, a member its
    /// own verdicts on what is still open here, and that to the host alone.
    pub(super) fn tell_verdicts_again(&mut self, batch: &mut Batch<'_>, live: &Live, peer: &CellId) -> Step<()> {
        let own = self.shared.settings.cell.clone();
        let session = &live.kept.session;
        let hosted = session.host == own;
        if (!hosted && session.host != *peer) || self.backlog(batch, peer)? > BACKLOG {
            return Ok(());
        }
        for dispute in session.disputes.iter().filter(|dispute| hosted || dispute.is_open()) {
            for (given, jws) in verdicts(&batch.txn, session.id, dispute.id)? {
                let said = if given.decides { Said::Decision } else { Said::Verdict };
                if given.cell == *peer || (!hosted && given.cell != own) {
                    continue;
                }
                match self.state_to(batch, live, peer, said, jws) {
                    // What no consent covers now is told when one does.
                    Ok(()) | Err(Stop::Refused(_)) => {}
                    Err(Stop::Fault(fault)) => return Err(fault.into()),
                }
            }
        }
        Ok(())
    }

    /// At a member: what fell due is `grace` ago, and the host has said nothing. It is asked for whatever it has, also by
    /// a cell that is no party of the dispute which freezes its money; after the end some disputes end by time alone.
    pub(super) fn overdue(&mut self, batch: &mut Batch<'_>, live: &mut Live) -> Step<()> {
        if self.shared.clock_off().is_some() || live.kept.frozen.is_some() {
            return Ok(());
        }
        let session = &live.kept.session;
        let late: Vec<Dispute> = session.overdue(batch.now).cloned().collect();
        for dispute in late {
            if self.by_time_alone(batch, live, &dispute)? {
                let at = dispute.opened.at + live.kept.session.windows.dispute;
                // What it books names this cell's word for it.
                let (_, jws) =
                    self.signed_verdict(batch, live, dispute.id, &Verdict::DISMISSED, Ground::Time, false)?;
                let changes = live.kept.session.decide_beside(dispute.id, at);
                self.changed_beside(batch, live, &changes, Digest::of(&[jws.as_bytes()]))?;
            }
        }
        let session = &live.kept.session;
        let host = session.host.clone();
        if session.silent_at().is_none_or(|at| at > batch.now) || self.backlog(batch, &host)? > BACKLOG {
            return Ok(());
        }
        self.tell_verdicts_again(batch, live, &host)?;
        self.queue(batch, &host, What::Want { session: session.id, after: session.head.sequence })?;
        Ok(())
    }

    /// Whether nothing but time can have decided against the claim: a decision that it holds takes the verdict of every
    /// party's cell, and this one, a party's, never gave one.
    fn by_time_alone(&self, batch: &Batch<'_>, live: &Live, dispute: &Dispute) -> Step<bool> {
        let own = &self.shared.settings.cell;
        let given = verdicts(&batch.txn, live.kept.session.id, dispute.id)?;
        let upheld = given.iter().any(|(given, _)| given.cell == *own && given.outcome == Ruling::Resolved);
        Ok(live.kept.session.verdict_cells(dispute).contains(own) && !upheld)
    }
}
