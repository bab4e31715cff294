//! Endorsements: one agent's word for another it has dealt with, weighed by the endorser's own published score.
//!
//! The endorser's cell signs it; the endorsed agent's cell books it. What stays is a keyed hash, an organisation, a
//! score and a rating, so an erased endorser leaves its weight and no name. Source: docs/spec/details.md section 5 "PE".

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::inbound::Stated;
use super::reputation::About;
use super::request::Endorsing;
use super::stated::Words;
use super::stop::Step;
use super::tables::{BOOKED, ENDORSED, MET, REPUTATIONS, Tag, What};
use super::{border, registry, trust};
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;
use crate::protocol::class::DataClass;
use crate::protocol::ids::{AgentId, CellId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::Session;
use crate::protocol::time::Span;
use crate::protocol::trust::{Endorsement, Fact, Score, admit};
use crate::store::View as _;
use crate::wire::frame::{About as Topic, Said};

impl Engine {
    /// Remembers that two agents have closed a session with each other.
    pub(super) fn meet_each_other(&self, batch: &mut Batch<'_>, session: &Session, agents: &[Tag]) -> Step<()> {
        for one in agents {
            for other in agents.iter().filter(|other| *other != one) {
                batch.put(&MET, &(*one, *other), &session.closed_at.unwrap_or(batch.now))?;
            }
        }
        Ok(())
    }

    fn since_closed(&self, batch: &Batch<'_>, by: &AgentId, of: &AgentId) -> Step<Option<Span>> {
        let met = batch.txn.get(&MET, &(self.shared.agent_tag(by), self.shared.agent_tag(of)))?;
        Ok(met.map(|closed| batch.now - closed))
    }

    /// An own agent endorses another.
    pub(super) fn endorse(&mut self, batch: &mut Batch<'_>, endorsing: Endorsing) -> Step<Value> {
        let Endorsing { caller, of, rating, spent } = endorsing;
        let by = caller.agent;
        if !self.spend(batch, spent)? {
            return Err(Refusal::new(Code::ProofReplayed, "this proof's jti was used before; make a new proof").into());
        }
        admit(&by, &of, self.since_closed(batch, &by, &of)?)?;
        let known = registry::agent(&self.shared, &batch.txn, &by)?;
        let known = known.ok_or_else(|| Refusal::new(Code::Unauthorized, "this agent is not registered"))?;
        let score = trust::facts(&self.shared, &batch.txn, &known)?.score(&by.organisation(), batch.now);
        let payload = json!({
            "type": Kind::Endorsement.payload_type(), "by": by, "of": of, "rating": rating, "score": score.value(),
            "at": batch.now, "cell": self.shared.settings.cell,
        });
        let jws = self.shared.sign(Kind::Endorsement, &payload);
        if self.facts.orgs.contains_key(&of.organisation()) {
            self.book_endorsement(batch, &by, &of, score, rating)?;
        } else {
            let unknown = || Refusal::new(Code::NotFound, format!("no agent {of} is known here"));
            let home = self.facts.counterpart(&by.organisation(), &of.organisation()).ok_or_else(unknown)?;
            let zone = border::zone_of(&self.shared.settings, &self.facts, &home)?;
            let relied = border::trust_between((&self.facts, &by, &of), &home, &zone, batch.now)?;
            let words = Words { class: DataClass::Trust, session: None, jws: &jws, relied: &[relied] };
            self.exported_statement(batch, &home, words)?;
            let about = Topic::Agents { from: by.clone(), to: of.clone() };
            self.queue(batch, &home, What::Statement { said: Said::Endorsement, about, jws: jws.clone() })?;
        }
        Ok(
            json!({"agentId": of, "by": by, "rating": rating, "score": score.value(), "at": batch.now, "endorsement": jws}),
        )
    }

    fn book_endorsement(
        &mut self,
        batch: &mut Batch<'_>,
        by: &AgentId,
        of: &AgentId,
        score: Score,
        rating: u8,
    ) -> Step<()> {
        if registry::agent(&self.shared, &batch.txn, of)?.is_none() {
            return Err(Refusal::new(Code::NotFound, format!("no agent {of} in this cell")).into());
        }
        let (whose, tag) = (self.shared.agent_tag(of), self.shared.agent_tag(by));
        let endorsement = Endorsement { by: Digest(tag.0), organisation: by.organisation(), score, rating };
        let about = About { agent: whose, session: None, participant: None, at: batch.now };
        // One fact an endorser, however often it changes its mind; what counts nothing leaves none.
        if let Some(before) = batch.txn.get(&ENDORSED, &(whose, tag))? {
            batch.remove(&BOOKED, &(whose, before));
            batch.remove(&ENDORSED, &(whose, tag));
        }
        if !endorsement.counts() {
            return self.forget_endorsement(batch, whose, &endorsement);
        }
        let place = self.learn(batch, &about, Fact::Endorsed(endorsement))?;
        batch.put(&ENDORSED, &(whose, tag), &place)?;
        Ok(())
    }

    /// An endorsement that counts nothing takes the place of an earlier one that did.
    fn forget_endorsement(&self, batch: &mut Batch<'_>, whose: Tag, nothing: &Endorsement) -> Step<()> {
        if let Some(mut reputation) = batch.txn.get(&REPUTATIONS, &whose)? {
            reputation.facts.book(&Fact::Endorsed(nothing.clone()), batch.now);
            batch.put(&REPUTATIONS, &whose, &reputation)?;
        }
        Ok(())
    }

    /// Takes a peer's endorsement of an own agent.
    pub(super) fn take_endorsement(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        stated: &Stated,
        by: &AgentId,
        of: &AgentId,
    ) -> Step<()> {
        let home = self.facts.cell_of(&by.organisation());
        if stated.signer != *peer || home.as_ref() != Some(peer) {
            let detail = format!("an endorsement by {by}, who is not at home in {peer}");
            return Err(Refusal::new(Code::Unauthorized, detail).into());
        }
        border::trust_from(&self.shared.settings, &self.facts, (by, of), batch.now)?;
        let text = |member: &str| stated.payload.get(member).and_then(Value::as_str);
        if text("by") != Some(by.as_str()) || text("of") != Some(of.as_str()) {
            return Err(Refusal::invalid("/statement", "the agents that the frame names").into());
        }
        let rating = stated.payload.get("rating").and_then(Value::as_u64).and_then(|rating| u8::try_from(rating).ok());
        let rating = rating.filter(|rating| (1..=5).contains(rating));
        let rating = rating.ok_or_else(|| Refusal::invalid("/statement/rating", "an integer from 1 to 5"))?;
        let score = stated.payload.get("score").and_then(Value::as_f64);
        let score = score.ok_or_else(|| Refusal::invalid("/statement/score", "the endorser's score"))?;
        admit(by, of, self.since_closed(batch, by, of)?)?;
        self.book_endorsement(batch, by, of, Score::floored(score), rating)?;
        let words = Words { class: DataClass::Trust, session: None, jws: &stated.jws, relied: &stated.relied };
        self.imported_statement(batch, peer, (words, stated.at), &[by.organisation()])
    }
}
