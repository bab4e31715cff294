//! What stands beside the chain, as a frame and as its readers see it.
//!
//! Source: docs/spec/federation.md section 2 ("when it is queued and again when it is sent"), docs/spec/details.md
//! sections 3 and 6, S7.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::border::{Load, Passage};
use super::inbound::{Checker, Passed, opens, weight};
use super::outgoing::{Builder, Built, Held};
use super::request::Caller;
use super::scopes;
use super::sending::names;
use super::tables::{BESIDE, Noted, Opened, PartRow, Stage};
use super::view::{Reading, View, no_session, unavailable};
use crate::protocol::beside::Beside;
use crate::protocol::ids::{CellId, MessageId, OrgName, SessionId};
use crate::protocol::json::Json;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::Session;
use crate::protocol::time::Timestamp;
use crate::store::{Fault, View as Rows};
use crate::wire::frame::{Body, Boxed, Crossing, Note, PartFrame};

impl Builder<'_> {
    /// The frame of something beside the chain: to the host while it waits, to the members once it stands.
    pub(super) fn note(&self, session: SessionId, id: MessageId) -> Built {
        let view = View { shared: self.shared, rows: self.rows };
        let row = self.rows.get(&BESIDE, &(session, id))?;
        let (Some(kept), Some(row)) = (view.kept(session)?, row) else { return Ok(Err(Held::Spent)) };
        let hosted = kept.session.host == self.shared.settings.cell;
        let standing = match (&row.stage, hosted) {
            (Stage::Stands(standing), true) => Some(*standing),
            (Stage::Waiting, false) => None,
            (Stage::Stands(_) | Stage::Refused(_), false) | (Stage::Waiting | Stage::Refused(_), true) => {
                return Ok(Err(Held::Spent));
            }
        };
        let crossings = match self.note_crossings(&kept.session, &row)? {
            Ok(crossings) => crossings,
            Err(held) => return Ok(Err(held)),
        };
        let Some(own) = crossings.iter().find(|crossing| crossing.cell == *self.peer) else {
            let detail = "its sender's cell permitted no crossing to this peer";
            return Ok(Err(Refusal::new(Code::ConsentMissing, detail).into()));
        };
        let place = scopes::place(session, id.bytes(), "");
        let boxed = scopes::open_any::<Boxed>(self.shared, &place, &row.boxed)?;
        if boxed.is_none() && standing.is_none() {
            let detail = "it was erased before it was sent";
            return Ok(Err(Refusal::new(Code::ContentErased, detail).into()));
        }
        let parts = self.note_parts(&row, own)?;
        let relied = own.relied.clone();
        let crossings = if standing.is_none() { crossings } else { Vec::new() };
        let note = Note { said: row.said, parts, salt: row.salt, boxed, standing, crossings, relied };
        Ok(self.encode(Some(row.organisation), Body::Beside(Box::new(note))))
    }

    /// What may go where now: what was decided when it was queued may have been narrowed since.
    fn note_crossings(&self, session: &Session, row: &Noted) -> Result<Result<Vec<Crossing>, Held>, Fault> {
        let own = &self.shared.settings.cell;
        if !self.facts.orgs.contains_key(&row.organisation) {
            let relayed = row.crossings.iter().find(|crossing| crossing.cell == *self.peer).cloned();
            let home = session.participants.iter().find(|p| p.id == row.said.sender()).map(|p| &p.home.cell);
            // Back to the cell it came from: its own data, no border is crossed by it.
            let (relied, withheld) = (Vec::new(), BTreeMap::new());
            let back = Crossing { cell: self.peer.clone(), relied, withheld, trust: false };
            return Ok(Ok(relayed.or((home == Some(self.peer)).then_some(back)).into_iter().collect()));
        }
        let names = names(self.shared, self.rows, session.id)?;
        let passage = Passage {
            settings: &self.shared.settings,
            facts: self.facts,
            session,
            names: &names,
            from: &row.organisation,
            sender: Some(row.said.sender()),
            at: self.now,
        };
        let parts: Vec<&String> = row.said.parts().keys().collect();
        let cells: Vec<CellId> = if session.host == *own {
            vec![self.peer.clone()]
        } else {
            row.crossings.iter().map(|crossing| crossing.cell.clone()).collect()
        };
        let mut crossings = Vec::new();
        for cell in cells {
            match passage.to(&cell, Load { parts: &parts, class: row.said.class(), profile: false }) {
                Ok(crossing) if !row.crossings.contains(&crossing) => return Ok(Err(Held::Stale)),
                Ok(crossing) => crossings.push(crossing),
                Err(refusal) => return Ok(Err(refusal.into())),
            }
        }
        Ok(Ok(crossings))
    }

    fn note_parts(&self, row: &Noted, crossing: &Crossing) -> Result<BTreeMap<String, PartFrame>, Fault> {
        let mut parts = BTreeMap::new();
        for (name, commitment) in row.said.parts() {
            let place = scopes::place(row.said.session(), row.said.id().bytes(), name);
            let frame = match row.parts.get(name) {
                Some(PartRow::Sealed(copies)) => {
                    let opened = scopes::open_any::<Opened>(self.shared, &place, copies)?;
                    self.part(name, *commitment, opened, crossing)
                }
                Some(PartRow::Withheld(consent_id, version)) => {
                    PartFrame::Withheld { commitment: *commitment, consent_id: *consent_id, version: *version }
                }
                Some(PartRow::Erased(at)) => PartFrame::Erased { commitment: *commitment, at: *at },
                None => PartFrame::Erased { commitment: *commitment, at: self.now },
            };
            parts.insert(name.clone(), frame);
        }
        Ok(parts)
    }
}

impl Checker<'_> {
    /// Something beside the chain: its proof covers it, its parts open to their commitments.
    pub(super) fn beside(&self, note: Box<Note>, acts_for: Option<&OrgName>) -> Result<Passed, Refusal> {
        let said = &note.said;
        match said {
            Beside::Dispute(filing) => filing.check()?,
            Beside::Rating(_) => {}
        }
        let text = said.text();
        let envelope = said.envelope();
        let bytes = weight(&text, &note.parts, None);
        let committed = |(name, commitment): (&String, &crate::crypto::digest::Digest)| {
            note.parts.get(name).is_some_and(|part| part.commitment() == *commitment)
        };
        if note.parts.len() != said.parts().len() || !said.parts().iter().all(committed) {
            return Err(Refusal::invalid("/parts", "exactly the parts whose commitments it has"));
        }
        match (&note.boxed, note.standing) {
            (Some(boxed), _) => {
                let organisation = boxed.agent.organisation();
                if acts_for != Some(&organisation) {
                    return Err(Refusal::new(Code::Unauthorized, "what is said acts for its sender's organisation"));
                }
                let facts = self.shared.facts.load();
                let home = match (note.standing, self.shared.is_home(&organisation)) {
                    (None, _) => self.peer.clone(),
                    (Some(_), true) => self.shared.settings.cell.clone(),
                    (Some(_), false) => facts.cell_of(&organisation).ok_or_else(|| {
                        Refusal::new(Code::ConsentMissing, format!("no consent of this cell names {organisation}"))
                    })?,
                };
                self.proof(boxed, &said.path(), envelope, &home)?;
                opens(&note.parts)?;
            }
            // Its box was erased before it was sent, and with a box go the parts.
            (None, Some(_)) if note.parts.values().all(|part| !matches!(part, PartFrame::Open(_))) => {}
            (None, Some(_)) => {
                return Err(Refusal::invalid("/parts", "no open part without the sender's box"));
            }
            (None, None) => return Err(Refusal::invalid("/proof", "the sender's box")),
        }
        Ok(Passed::Beside { note, envelope, bytes })
    }
}

impl<R: Rows> View<'_, R> {
    /// Something beside the chain.
    pub(super) fn noted(&self, session: SessionId, id: MessageId) -> Result<Option<Noted>, Fault> {
        self.rows.get(&BESIDE, &(session, id))
    }

    /// Its parts as `holder` reads them.
    pub(super) fn noted_parts(&self, row: &Noted, holder: &OrgName) -> Result<Map<String, Value>, Fault> {
        let mut shown = Map::new();
        for (name, commitment) in row.said.parts() {
            let place = scopes::place(row.said.session(), row.said.id().bytes(), name);
            let mut part = Map::new();
            part.insert("commitment".into(), json!(commitment));
            let opened = match row.parts.get(name) {
                Some(PartRow::Sealed(copies)) => scopes::open::<Opened>(self.shared, &place, holder, copies)?,
                Some(PartRow::Withheld(consent, version)) => {
                    part.insert("status".into(), json!("withheld"));
                    part.insert("consentId".into(), json!(consent));
                    part.insert("version".into(), json!(version));
                    shown.insert(name.clone(), Value::Object(part));
                    continue;
                }
                Some(PartRow::Erased(_)) | None => None,
            };
            match opened {
                Some(opened) => {
                    part.insert("salt".into(), json!(opened.salt));
                    part.insert("value".into(), opened.value.value());
                }
                None => {
                    part.insert("status".into(), json!("erased"));
                }
            }
            shown.insert(name.clone(), Value::Object(part));
        }
        Ok(shown)
    }

    /// The answer to whoever said it: a rating as it was given.
    pub(super) fn note_answer(
        &self,
        caller: &Caller,
        session: SessionId,
        id: MessageId,
        _now: Timestamp,
    ) -> Reading<Value> {
        self.seat(caller, session)?;
        let row = self.noted(session, id).map_err(|fault| unavailable(&fault))?.ok_or_else(no_session)?;
        let at = match row.stage {
            Stage::Stands(standing) => Some(standing.at),
            Stage::Waiting | Stage::Refused(_) => None,
        };
        match &row.said {
            Beside::Rating(rated) => {
                let terms = rated.terms.as_ref().map(Json::value).unwrap_or_default();
                let rating = terms.get("rating").and_then(Value::as_u64);
                let kept = self.kept(session).map_err(|fault| unavailable(&fault))?.ok_or_else(no_session)?;
                // Between two it needs no saying whom.
                let named = terms.get("of").and_then(Value::as_str).and_then(|of| of.parse().ok());
                let by_sender = kept.session.ratings.iter().filter(|given| given.by == rated.sender);
                let of = named.or_else(|| by_sender.map(|given| given.of).next());
                Ok(json!({"sessionId": session, "messageId": id, "by": rated.sender, "of": of, "rating": rating,
                    "ratedAt": at}))
            }
            Beside::Dispute(filing) => self.dispute(caller, session, filing.dispute_id),
        }
    }

    /// A meta event `rating` with its content, filled in when it is read, so that an erasure reaches it.
    pub(super) fn filled(&self, session: SessionId, holder: &OrgName, body: &mut Value) -> Result<(), Fault> {
        let rating = body.get("type").and_then(Value::as_str) == Some("rating");
        let id = body.get("messageId").and_then(Value::as_str).and_then(|id| id.parse().ok());
        let (true, Some(id), Value::Object(members)) = (rating, id, body) else { return Ok(()) };
        if let Some(row) = self.noted(session, id)? {
            let parts = self.noted_parts(&row, holder)?;
            if let Some(content) = parts.get("content") {
                let (name, value) = match content.get("value") {
                    Some(value) => ("content", value.clone()),
                    None => ("contentStatus", content.get("status").cloned().unwrap_or_default()),
                };
                members.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }
}
