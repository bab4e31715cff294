//! Consents between organisations: offered, countered, accepted, signed; the same document in both cells.
//!
//! The rules are `protocol::consent::negotiation`'s; here they meet the store, the keys and the peers.
//! Source: docs/spec/federation.md section 2, docs/spec/details.md sections 8 and S21.

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::operation::ConsentTerms;
use super::registry::{consent_public, held_key, zone};
use super::stop::Step;
use super::tables::{CONSENTS, PEERS, What};
use crate::crypto::digest::Digest;
use crate::crypto::jwk::PublicKey;
use crate::protocol::class::ClassSet;
use crate::protocol::consent::document::{Clauses, Direction, Document, Party};
use crate::protocol::consent::negotiation::{self, Home, Negotiation, Status};
use crate::protocol::consent::{self, Consent};
use crate::protocol::ids::{CellId, ConsentId, OrgName};
use crate::protocol::json::Json;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;

/// Offers of one peer that may wait for an answer at once.
const MAX_OFFERS: usize = 256;

impl Engine {
    /// `consent offer`.
    pub(super) fn consent_offer(&mut self, batch: &mut Batch<'_>, org: &OrgName, terms: &ConsentTerms) -> Step<Value> {
        let peer = self.home_of_peer_org(&terms.peer_org)?;
        let consent_id = ConsentId(self.uuid7(batch.now));
        let document = self.document(batch.now, org, terms, &peer, consent_id, 1, None)?;
        self.within_policy(org, &document)?;
        let negotiation = Negotiation::offer(document, org)?;
        self.sign_and_send(batch, org, negotiation)
    }

    /// `consent counter`.
    pub(super) fn consent_counter(
        &mut self,
        batch: &mut Batch<'_>,
        id: ConsentId,
        org: &OrgName,
        terms: &ConsentTerms,
    ) -> Step<Value> {
        let known = self.negotiation(id)?;
        let (version, previous) = known.next();
        let other = known.latest().document.other_party(org).ok_or_else(|| not_a_party(org))?;
        let peer = other.cell.clone();
        let document = self.document(batch.now, org, terms, &peer, id, version, Some(previous))?;
        self.within_policy(org, &document)?;
        let countered = known.counter(document, org, batch.now)?;
        self.sign_and_send(batch, org, countered)
    }

    /// `consent accept`: signs what the other side offered.
    pub(super) fn consent_accept(&mut self, batch: &mut Batch<'_>, id: ConsentId, org: &OrgName) -> Step<Value> {
        let known = self.negotiation(id)?;
        self.within_policy(org, &known.latest().document)?;
        self.sign_and_send(batch, org, known)
    }

    /// `consent sign`: takes a signature that the organisation made off line.
    pub(super) fn consent_sign(
        &mut self,
        batch: &mut Batch<'_>,
        id: ConsentId,
        org: &OrgName,
        signature: &str,
    ) -> Step<Value> {
        let known = self.negotiation(id)?;
        self.within_policy(org, &known.latest().document)?;
        let key = consent_public(&self.org(org)?)?;
        let signed = known.attach(org, signature.trim(), key, batch.now)?;
        self.settle_consent(batch, org, signed)
    }

    fn sign_and_send(&mut self, batch: &mut Batch<'_>, org: &OrgName, negotiation: Negotiation) -> Step<Value> {
        let row = self.org(org)?;
        let Some(key) = held_key(&row)? else {
            // The organisation keeps its key: the document waits here for `consent sign`.
            return self.settle_consent(batch, org, negotiation);
        };
        let jws = consent::sign(&negotiation.latest().document, &key);
        let signed = negotiation.attach(org, &jws, *key.public(), batch.now)?;
        self.settle_consent(batch, org, signed)
    }

    /// Keeps a negotiation and sends its newest version to the other cell once this side has signed it.
    fn settle_consent(&mut self, batch: &mut Batch<'_>, org: &OrgName, negotiation: Negotiation) -> Step<Value> {
        let latest = negotiation.latest();
        let clauses = latest.document.clauses();
        if latest.signatures.contains_key(org)
            && let Some(other) = latest.document.other_party(org)
        {
            let what = What::Consent { consent: clauses.consent_id, version: clauses.version };
            self.queue(batch, &other.cell.clone(), what)?;
        }
        self.audit(batch, "consent", org.as_str(), &clauses.consent_id.to_string(), latest.document.digest().bytes())?;
        let shown = negotiation.to_json(batch.now);
        self.keep_consent(batch, negotiation)?;
        Ok(shown)
    }

    fn keep_consent(&mut self, batch: &mut Batch<'_>, negotiation: Negotiation) -> Step<()> {
        let id = negotiation.consent_id();
        let active =
            negotiation.agreed().next_back().is_some_and(|c| negotiation.status(c, batch.now) == Status::Active);
        batch.put(&CONSENTS, &id, &negotiation)?;
        self.change_facts(batch, |facts| {
            facts.consents.insert(id, negotiation);
        });
        if active {
            self.catch_up(batch, id)?;
        }
        Ok(())
    }

    /// What a peer's cell sent: an offer, a counter or an acceptance; `again`: what this cell may have had and lost.
    pub(super) fn take_consent(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        consent: &Json,
        again: bool,
    ) -> Step<()> {
        let consent = Consent::read(&consent.value()).map_err(|why| why.refusal("/consent"))?;
        let clauses = consent.document.clauses();
        let id = clauses.consent_id;
        let theirs = clauses.parties.iter().find(|party| party.cell == *peer);
        let from = theirs.ok_or_else(|| not_a_party_cell(peer))?.organisation.clone();
        // What others agree among themselves is not kept here.
        if clauses.parties.iter().all(|party| !self.facts.orgs.contains_key(&party.organisation)) {
            return Err(not_a_party_cell(&self.shared.settings.cell).into());
        }
        for party in &clauses.parties {
            self.home_facts(party, peer)?.check(&consent.document)?;
            self.one_home(&party.organisation, peer, batch.now)?;
        }
        let digest = consent.document.digest();
        if !self.facts.consents.contains_key(&id) {
            self.room_for_offers(peer, batch.now)?;
        }
        let known = self.facts.consents.get(&id);
        let received = if again {
            let own = consent.document.other_party(&from).map(|party| party.organisation.clone());
            let taken = Negotiation::recall(known, consent, &from, batch.now)?;
            // What was agreed may be beyond what the organisation's policy was when the backup was made.
            match own.as_ref().and_then(|own| Some((own, self.facts.orgs.get(own)?))) {
                Some((own, row)) => taken.under(own, &row.policy),
                None => taken,
            }
        } else {
            Negotiation::receive(known, consent, &from, batch.now)?
        };
        if known == Some(&received) {
            return Ok(());
        }
        self.audit(batch, "consent", from.as_str(), &id.to_string(), digest.bytes())?;
        self.keep_consent(batch, received)
    }

    /// A peer's offers wait for an operator, so many of them at most; those that are over or revoked do not count.
    fn room_for_offers(&self, peer: &CellId, now: Timestamp) -> Step<()> {
        let waiting = |known: &&Negotiation| {
            let clauses = known.latest().document.clauses();
            known.agreed().next().is_none()
                && known.revoked().is_none()
                && clauses.not_after > now
                && clauses.parties.iter().any(|party| party.cell == *peer)
        };
        if self.facts.consents.values().filter(waiting).count() < MAX_OFFERS {
            return Ok(());
        }
        let detail =
            format!("{MAX_OFFERS} offers between this cell and {peer} wait for an answer; answer or revoke some");
        Err(Refusal::new(Code::CapacityUnavailable, detail).into())
    }

    /// What this cell knows of where a party is at home: its own organisations, or the peer's as configured.
    fn home_facts(&self, party: &Party, peer: &CellId) -> Step<Home> {
        let settings = &self.shared.settings;
        let organisation = party.organisation.clone();
        if let Some(org) = self.facts.orgs.get(&organisation) {
            return Ok(Home {
                organisation,
                cell: settings.cell.clone(),
                region: settings.region.clone(),
                zone: zone(&settings.zone)?,
                kid: Some(consent_public(org)?.thumbprint()),
            });
        }
        let place = settings.place_of(&self.facts, peer).ok_or_else(|| not_a_party_cell(peer))?;
        Ok(Home { organisation, cell: peer.clone(), region: place.0, zone: zone(&place.1)?, kid: None })
    }

    /// An organisation belongs to one cell: a peer may not make offers for one that is bound from another cell, or
    /// that another peer says is its own.
    fn one_home(&self, org: &OrgName, peer: &CellId, now: Timestamp) -> Step<()> {
        if self.facts.orgs.contains_key(org) {
            return Ok(());
        }
        let bound = self.facts.consents.values().filter(|known| known.stands(now)).filter_map(|known| {
            let agreed = known.agreed().next_back()?;
            Some(&agreed.document.party(org)?.cell)
        });
        let bound: Vec<&CellId> = bound.collect();
        let claimed = self.facts.peers.iter().filter(|(_, row)| row.organisations.contains_key(org));
        let claimed: Vec<&CellId> = claimed.map(|(cell, _)| cell).collect();
        let homes = if bound.is_empty() { claimed } else { bound };
        match homes.into_iter().find(|home| *home != peer) {
            None => Ok(()),
            Some(home) => {
                let detail = format!("{org} is at home in {home}; {peer} cannot offer or accept in its name");
                Err(Refusal::new(Code::Unauthorized, detail).into())
            }
        }
    }

    /// A consent has come into force: sessions that waited for one go on, and what was missed is queued again.
    fn catch_up(&mut self, batch: &mut Batch<'_>, id: ConsentId) -> Step<()> {
        let parties = self.negotiation(id)?.latest().document.clauses().parties.clone();
        let [one, other] = &parties;
        let own = &self.shared.settings.cell.clone();
        for session in self.between(batch, &one.organisation, &other.organisation)? {
            let mut live = self.take_out(batch, session)?;
            let peer = if one.cell == *own { &other.cell } else { &one.cell };
            let covered = self.own_passage(batch, &live, peer).is_ok();
            if covered {
                // Before the records that follow from them.
                self.tell_verdicts_again(batch, &live, peer)?;
            }
            if covered && live.kept.session.host == *own {
                let known = live.kept.replicas.get(peer).copied().unwrap_or_default();
                let known = known.max(super::newcomers::begins_in(&live.kept.session, peer).saturating_sub(1));
                for sequence in known + 1..=live.kept.session.head.sequence {
                    self.queue(batch, peer, What::Record { session, sequence })?;
                }
            } else if covered {
                live.kept.session.suspended = false;
            }
            self.put_changed(batch, live);
        }
        for party in parties.iter().filter(|party| party.cell != *own) {
            self.compare_with(batch, &party.cell)?;
        }
        Ok(())
    }

    /// A tightened policy suspends the consents beyond it, in the same commit.
    pub(super) fn suspend_beyond_policy(&mut self, batch: &mut Batch<'_>, org: &OrgName) -> Step<()> {
        let policy = self.org(org)?.policy;
        let concerned: Vec<Negotiation> = self
            .facts
            .consents
            .values()
            .filter(|known| known.latest().document.party(org).is_some())
            .cloned()
            .collect();
        for known in concerned {
            let now = known.under(org, &policy);
            if now != known {
                self.audit(batch, "consent", org.as_str(), &known.consent_id().to_string(), b"policy")?;
                self.keep_consent(batch, now)?;
            }
        }
        Ok(())
    }

    /// The one peer that says the organisation is at home in it.
    fn home_of_peer_org(&self, org: &OrgName) -> Step<CellId> {
        let claims = self.facts.peers.iter().filter(|(_, row)| row.organisations.contains_key(org));
        let cells: Vec<&CellId> = claims.map(|(cell, _)| cell).collect();
        match cells.as_slice() {
            [cell] => Ok((*cell).clone()),
            [] => Err(unknown_org(org).into()),
            several => {
                let detail = format!("{org} is claimed by several peers ({several:?}); it can be at home in one only");
                Err(Refusal::new(Code::PolicyViolation, detail).into())
            }
        }
    }

    /// What a peer says of the organisations at home in it; an organisation of this cell is never the peer's.
    pub(super) fn take_organisations(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        organisations: Vec<(OrgName, PublicKey)>,
    ) -> Step<()> {
        let mut row = self.facts.peers.get(peer).cloned().unwrap_or_default();
        let told = organisations.into_iter().filter(|(org, _)| !self.facts.orgs.contains_key(org)).collect();
        if row.organisations == told {
            return Ok(());
        }
        row.organisations = told;
        batch.put(&PEERS, peer, &row)?;
        self.change_facts(batch, |facts| {
            facts.peers.insert(peer.clone(), row);
        });
        Ok(())
    }

    fn within_policy(&self, org: &OrgName, document: &Document) -> Step<()> {
        Ok(negotiation::check_policy(document, org, &self.org(org)?.policy)?)
    }

    pub(super) fn negotiation(&self, id: ConsentId) -> Step<Negotiation> {
        let known = self.facts.consents.get(&id).cloned();
        known.ok_or_else(|| Refusal::new(Code::NotFound, format!("no consent {id}; see `consent list`")).into())
    }

    #[allow(clippy::too_many_arguments, reason = "a document is all of these")]
    fn document(
        &self,
        now: Timestamp,
        org: &OrgName,
        terms: &ConsentTerms,
        peer: &CellId,
        consent_id: ConsentId,
        version: u64,
        previous: Option<Digest>,
    ) -> Step<Document> {
        let settings = &self.shared.settings;
        let row = self.org(org)?;
        let place = settings.place_of(&self.facts, peer).ok_or_else(|| {
            let detail = format!("no peer {peer}; `peer add` names it");
            Refusal::new(Code::PeerUnreachable, detail).with("cell", json!(peer))
        })?;
        let own = Party {
            organisation: org.clone(),
            cell: settings.cell.clone(),
            region: settings.region.clone(),
            zone: zone(&settings.zone)?,
            kid: consent_public(&row)?.thumbprint(),
        };
        let known = self.facts.peers.get(peer).and_then(|row| row.organisations.get(&terms.peer_org));
        let kid = known.ok_or_else(|| unknown_org(&terms.peer_org))?.thumbprint();
        let other = Party {
            organisation: terms.peer_org.clone(),
            cell: peer.clone(),
            region: place.0,
            zone: zone(&place.1)?,
            kid,
        };
        let mut directions = Vec::new();
        if terms.outward {
            directions.push(Direction { from: org.clone(), to: terms.peer_org.clone() });
        }
        if terms.inward {
            directions.push(Direction { from: terms.peer_org.clone(), to: org.clone() });
        }
        let classes: Result<ClassSet, _> = terms.classes.iter().map(|name| name.parse()).collect();
        let clauses = Clauses {
            consent_id,
            version,
            previous,
            parties: [own, other],
            directions,
            classes: classes.map_err(|bad| Refusal::invalid("/classes", format!("{bad}")))?,
            purposes: terms.purposes.clone(),
            agents: terms.agents.clone(),
            retention: terms.retention,
            transfer_basis: terms.basis.clone(),
            not_before: terms.not_before.unwrap_or(now),
            not_after: terms.not_after,
        };
        Ok(Document::of(clauses).map_err(|why| why.refusal("/document"))?)
    }
}

fn unknown_org(org: &OrgName) -> Refusal {
    let detail = format!("no peer has said that {org} is at home in it; see `peer list`, or ask its operator");
    Refusal::new(Code::NotFound, detail).at("/peerOrg")
}

pub(super) fn not_a_party(org: &OrgName) -> Refusal {
    Refusal::new(Code::NotFound, format!("{org} is not a party of this consent"))
}

pub(super) fn not_a_party_cell(cell: &CellId) -> Refusal {
    Refusal::new(Code::Unauthorized, format!("no party of this consent is at home in {cell}"))
}
