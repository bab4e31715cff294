//! The core and the model side by side: each step goes to both, and they are held against each other.

use std::collections::BTreeMap;

use asp_cell::protocol::beside::Standing;
use asp_cell::protocol::dispute::EscrowTo;
use asp_cell::protocol::ids::{DisputeId, MessageId, ReferenceId};
use asp_cell::protocol::message::Seen as Signed;
use asp_cell::protocol::performative::Performative as P;
use asp_cell::protocol::session::Event as Recorded;
use asp_cell::protocol::terms::{Expiry, SystemEvent};
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::protocol::verdict::{Given, Ground, Ruling, Verdict};
use asp_cell::wire::dispute::Dispute as Filed;
use serde_json::{Value, json};

use crate::naive::{About, Body, Dispute, Event, Goes, Naive, Promised, Rules, Said, Seen};
use crate::scene::{Scene, commitment_id, commitment_reference, home, message_id, party, reference};

/// Low bits of an id that [`scene`] made.
fn number(id: uuid::Uuid) -> u64 {
    (id.as_u128() & 0xffff_ffff_ffff) as u64
}

fn told(id: MessageId) -> u64 {
    number(id.0)
}

pub struct World {
    pub scene: Scene,
    pub naive: Naive,
    pub trace: Vec<String>,
    pub tally: Vec<(String, &'static str)>,
    pub wrong: Option<String>,
    /// Records and moves that the model has been told of.
    records: usize,
    moves: usize,
    purse: BTreeMap<u64, i128>,
    ended: BTreeMap<u64, u32>,
    disputes: u64,
}

fn duration(millis: i64) -> Value {
    json!(format!("PT{}S", millis / 1000))
}

pub fn constraints(rules: &Rules) -> Value {
    let mut value = json!({"maxDuration": duration(rules.max)});
    if let Some(allowed) = &rules.allowed {
        value["allowedPerformatives"] = json!(allowed.iter().map(|what| what.name()).collect::<Vec<_>>());
    }
    if let Some(budget) = rules.budget {
        value["tokenBudget"] = json!(budget);
    }
    if let Some(cap) = rules.cap {
        value["maxTransactionValue"] = json!({"amount": amount(cap), "currency": "USD"});
    }
    value
}

fn amount(minor: i128) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}

fn terms(body: &Body) -> Option<Value> {
    let mut terms = match body {
        Body::Bare => return None,
        Body::Reason => json!({"reason": "why"}),
        Body::Tokens(tokens) => json!({"tokens": tokens}),
        Body::Offer { amount: price, deliver_by, valid_until } => {
            let mut terms = json!({});
            if let Some(price) = price {
                terms["amount"] = json!(amount(*price));
                terms["currency"] = json!("USD");
            }
            if let Some(at) = deliver_by {
                terms["deliverBy"] = json!(Timestamp(*at));
            }
            if let Some(at) = valid_until {
                terms["validUntil"] = json!(Timestamp(*at));
            }
            terms
        }
        Body::Ask(rules) => json!({"constraints": constraints(rules)}),
        Body::Fulfil(id) => json!({"commitmentId": commitment_id(*id)}),
        Body::Call { who, replace, history } => {
            let scope = if *replace { "replace" } else { "assist" };
            json!({"delegate": party(*who), "scope": scope, "history": history})
        }
        Body::Close(word) => json!({"outcome": word}),
        Body::Promise(promised) => promise(promised),
    };
    if terms.as_object().is_some_and(serde_json::Map::is_empty) {
        terms = json!({});
    }
    Some(terms)
}

fn promise(promised: &Promised) -> Value {
    let mut terms = json!({"commitmentId": commitment_id(promised.id), "kind": promised.kind,
        "beneficiary": party(promised.to), "deadline": Timestamp(promised.deadline)});
    if let Some(minor) = promised.amount {
        terms["amount"] = json!(amount(minor));
        terms["currency"] = json!("USD");
    }
    if promised.escrow {
        terms["escrow"] = json!(true);
    }
    if let Some(on) = promised.on {
        terms["dependsOn"] = json!(commitment_id(on));
    }
    if let Some(old) = promised.instead {
        terms["replaces"] = json!(commitment_id(old));
    }
    terms
}

impl World {
    pub fn invited(invitees: u64, rules: Rules) -> Self {
        let scene = Scene::invited(invitees, constraints(&rules));
        let naive = Naive::invited(invitees, rules, scene.now.0);
        Self {
            scene,
            naive,
            trace: Vec::new(),
            tally: Vec::new(),
            wrong: None,
            records: 0,
            moves: 0,
            purse: BTreeMap::new(),
            ended: BTreeMap::new(),
            disputes: 0,
        }
    }

    pub fn now(&self) -> i64 {
        self.scene.now.0
    }

    fn fail(&mut self, why: String) {
        if self.wrong.is_none() {
            self.wrong = Some(why);
        }
    }

    fn note(&mut self, text: String) {
        let hours = (self.now() - self.naive.opened) as f64 / 3_600_000.0;
        self.trace.push(format!("{:>3} {hours:>9.3} h {:<11} {text}", self.trace.len(), self.naive.state));
    }

    /// Time passes; what falls due in the core must be due in the model, and nothing else be left due.
    pub fn wait(&mut self, span: i64) {
        if span > 0 {
            self.note(format!("{span} ms pass"));
        }
        self.scene.pass(Span(span));
        let fresh: Vec<(Event, u64)> = self.scene.records[self.records..]
            .iter()
            .map(|(event, _)| match event {
                Recorded::System(event) => named(event),
                Recorded::Act(_) => unreachable!("nobody said anything"),
            })
            .collect();
        self.records = self.scene.records.len();
        for (event, _) in fresh {
            if self.wrong.is_some() {
                return;
            }
            self.note(format!("due: {event:?}"));
            self.tally.push((format!("{event:?}").split('(').next().unwrap().to_owned(), "due"));
            if !self.naive.due(self.now()).contains(&event) {
                let due = self.naive.due(self.now());
                return self.fail(format!("the core says {event:?} is due, the model {due:?}"));
            }
            self.naive.happen(event, 0, self.now());
        }
        self.beside();
        let left = self.naive.due(self.now());
        if !left.is_empty() {
            return self.fail(format!("the model says that {left:?} is due, the core that nothing is"));
        }
        self.compare();
    }

    /// After the end disputes are dismissed by time beside the chain.
    fn beside(&mut self) {
        while let (true, Some(event)) =
            (self.naive.over() && self.wrong.is_none(), self.scene.session.due(self.scene.now))
        {
            let (event, SystemEvent::DisputeDecided { dispute, .. }) = (named(&event).0, event) else {
                return self.fail(format!("{event:?} is due after the end"));
            };
            self.note(format!("beside the chain: {event:?}"));
            if !self.naive.due(self.now()).contains(&event) {
                return self.fail(format!("the core says {event:?} is due, the model not"));
            }
            let changes = self.scene.session.decide_beside(dispute, self.scene.now);
            self.scene.changes.push(changes);
            self.naive.decide(number(dispute.0), self.now());
        }
    }

    /// Somebody says something.
    pub fn say(&mut self, by: u64, what: P, about: Option<About>, body: Body, back: u8) {
        self.wait(0);
        if self.wrong.is_some() {
            return;
        }
        let named = about.map(|about| match about {
            About::Message(id) => reference(message_id(id)),
            About::Promise(id) => commitment_reference(id),
        });
        let named: Option<ReferenceId> = named;
        let mut message = self.scene.draft(by, what, named, terms(&body));
        let mut seen = None;
        if what.needs_seen() {
            let head = self.naive.log.len() as u64;
            let at = head.saturating_sub(u64::from(back) % 16).max(1);
            let hash = if at == 1 { None } else { self.scene.history().hash_at(at) };
            seen = Some(Seen::At(head));
            if back >= 248 {
                let wrong = self.scene.session.head.hash;
                message.seen = Some(Signed { sequence: head + 1, hash: wrong });
                seen = Some(Seen::Wrong);
            } else if let Some(hash) = hash {
                message.seen = Some(Signed { sequence: at, hash });
                seen = Some(Seen::At(at));
            }
        }
        let id = told(message.message_id);
        let said = Said { id, by, what, about, seen, body };
        self.note(format!("{by} {} #{id} about {about:?} {:?} {:?}", what.name(), said.body, said.seen));
        let core = self.scene.place(&message);
        let model = self.naive.say(&said, self.now());
        self.tally
            .push((what.name().to_owned(), core.as_ref().map_or_else(|refusal| refusal.code.name(), |_| "taken")));
        match (&core, &model) {
            (Ok(_), Ok(())) => self.records += 1,
            (Err(refusal), Err(why)) if why.contains(&refusal.code.name()) => {}
            _ => {
                let core = core.map(|_| ()).map_err(|refusal| refusal.to_string());
                return self.fail(format!("{} by {by}: the core {core:?}, the model {model:?}", what.name()));
            }
        }
        self.compare();
    }

    /// The host's operator, or the end of a consent.
    pub fn host(&mut self, event: Event) {
        self.wait(0);
        if self.wrong.is_some() {
            return;
        }
        self.note(format!("{event:?}"));
        let system = match event {
            Event::Revoked => {
                SystemEvent::ConsentRevoked { consent: "019ce66c-8e80-7395-9ab6-162bb11c3894".parse().unwrap() }
            }
            Event::Resolved(word) => SystemEvent::OperatorResolved { outcome: word.map(|word| word.parse().unwrap()) },
            _ => unreachable!(),
        };
        let (core, model) = (self.scene.host(system).is_ok(), self.naive.may(event));
        if core != model {
            return self.fail(format!("{event:?}: the core {core}, the model {model}"));
        }
        if core {
            self.records += 1;
            self.naive.happen(event, 0, self.now());
        }
        self.tally
            .push((format!("{event:?}").split('(').next().unwrap().to_owned(), if core { "taken" } else { "no" }));
        self.compare();
    }

    /// A dispute is opened beside the chain.
    pub fn file(&mut self, by: u64, promise: u64, kind: &str, against: Option<u64>) {
        self.wait(0);
        if self.wrong.is_some() {
            return;
        }
        self.disputes += 1;
        let id = 1_000_000 + self.disputes;
        self.note(format!("{by} files {id} about {promise}: {kind}, against {against:?}"));
        let mut body = json!({"disputeId": message_id(id), "commitmentId": commitment_id(promise), "references": [],
            "evidence": [], "claim": {"kind": kind}, "requestedResolution": {"escrow": "payer"}});
        if let Some(against) = against {
            body["against"] = json!(party(against));
        }
        let filing = Filed::read(self.scene.session.id, party(by), &body).unwrap().filing;
        let opened = Standing { after: self.scene.session.head.sequence, at: self.scene.now };
        let known = |message: MessageId| self.scene.history().sequence_of(message).is_some();
        let core = self.scene.session.judge_filing(&filing, opened, known);
        let obligor = self.naive.promise(promise).map(|promise| (promise.by, promise.to));
        let default = obligor.map(|(by_, to)| if self.naive.same(by_, by) { to } else { by_ });
        let against = against.or(default).unwrap_or(0);
        let dispute = Dispute { id, promise, by, against, opened: self.now(), ended: None };
        let bad = self.naive.same(against, by) || !self.naive.seats.get(&against).is_some_and(|seat| seat.joined);
        let mut model = self.naive.clone();
        let answer = model.file(dispute, self.scene.now.0);
        self.tally.push(("file".into(), core.as_ref().map_or_else(|refusal| refusal.code.name(), |_| "taken")));
        match (core, answer) {
            (Ok(dispute), Ok(())) if !bad => {
                let changes = self.scene.session.open_dispute(dispute);
                self.scene.changes.push(changes);
                self.naive = model;
            }
            (Err(refusal), Ok(())) if bad && refusal.code.name() == "validation_failed" => {}
            (Err(refusal), Err(why)) if why.contains(&refusal.code.name()) => {}
            (Err(refusal), Err(_)) if bad && refusal.code.name() == "validation_failed" => {}
            (core, answer) => {
                let core = core.map(|_| ()).map_err(|refusal| refusal.to_string());
                return self.fail(format!("filing by {by}: the core {core:?}, the model {answer:?}, bad {bad}"));
            }
        }
        self.compare();
    }

    /// The cells of both parties say the same, and the host tells it; or time dismisses after the end.
    pub fn decide(&mut self, dispute: u64, severity: Option<u8>, goes: Goes) {
        self.wait(0);
        if self.wrong.is_some() || self.naive.state == "ESCALATED" {
            return;
        }
        let Some(known) = self.naive.disputes.iter().find(|known| known.id == dispute) else { return };
        let (promise, opened, open) = (known.promise, known.opened, known.ended.is_none());
        if !open {
            return;
        }
        let hangs = self
            .naive
            .promises
            .iter()
            .filter(|one| one.money == Some("held") && (one.id == promise || one.on == Some(promise)));
        let whole = hangs.clone().next().and_then(|one| one.amount);
        let goes = match goes {
            Goes::Split(_) if hangs.count() != 1 => Goes::Payer,
            Goes::Split(_) => Goes::Split(whole.unwrap() / 3),
            other => other,
        };
        self.note(format!("{dispute} is decided: {severity:?} {goes:?}"));
        let id = DisputeId(message_id(dispute).0);
        let verdict = match severity {
            None => Verdict::DISMISSED,
            Some(severity) => {
                let (escrow, payee_amount) = match goes {
                    Goes::Payer => (EscrowTo::Payer, None),
                    Goes::Payee => (EscrowTo::Payee, None),
                    Goes::Split(share) => (EscrowTo::Split, Some(amount(share))),
                };
                Verdict { ruling: Ruling::Resolved, severity: Some(severity), escrow: Some(escrow), payee_amount }
            }
        };
        let late = self.naive.over() && self.now() >= opened + crate::naive::DISPUTE && severity.is_none();
        let Some(dispute_of_core) = self.scene.session.dispute(id) else {
            return self.fail(format!("the core has no dispute {dispute}"));
        };
        let cells = self.scene.session.verdict_cells(dispute_of_core);
        let given = |cell, by, decides| Given {
            cell,
            session_id: self.scene.session.id,
            dispute_id: id,
            outcome: verdict.ruling,
            severity: verdict.severity,
            escrow: verdict.escrow,
            payee_amount: verdict.payee_amount.clone(),
            by,
            decides,
            at: self.scene.now,
        };
        let both: Vec<Given> = cells.into_iter().map(|cell| given(cell, Ground::Operator, false)).collect();
        let ground = if late { Ground::Time } else { Ground::Agreement };
        let decision = given(home(0).cell, ground, true);
        if let Err(refusal) = self.scene.session.tell_decision(&decision, if late { &[] } else { &both }) {
            return self.fail(format!("the decision is refused: {refusal}"));
        }
        if let Some(severity) = severity {
            self.naive.verdicts.insert(dispute, (Some(severity), goes));
        }
        if self.naive.over() {
            let changes = self.scene.session.decide_beside(id, self.scene.now);
            self.scene.changes.push(changes);
            self.naive.decide(dispute, self.now());
        } else {
            let event = SystemEvent::DisputeDecided { dispute: id, commitment: commitment_id(promise) };
            if let Err(refusal) = self.scene.host(event) {
                return self.fail(format!("the decision cannot be placed: {refusal}"));
            }
            self.records += 1;
            self.naive.happen(Event::Decided(dispute), 0, self.now());
        }
        let word = if severity.is_some() { "resolved" } else { "dismissed" };
        self.tally.push(("decide".into(), word));
        self.compare();
    }

    // ---- held against each other

    fn compare(&mut self) {
        if self.wrong.is_some() {
            return;
        }
        self.book();
        let (core, model) = (self.of_core(), self.of_model());
        for (name, seen) in &core {
            let said = model.get(name);
            if said != Some(seen) {
                return self.fail(format!("{name}: the core {seen}, the model {said:?}"));
            }
        }
        if core.len() != model.len() {
            let only: Vec<&String> = model.keys().filter(|name| !core.contains_key(*name)).collect();
            return self.fail(format!("the model alone has {only:?}"));
        }
        let held: i128 =
            self.naive.promises.iter().filter(|one| one.money == Some("held")).filter_map(|one| one.amount).sum();
        let sum = self.purse.values().sum::<i128>() + held;
        if sum != 0 {
            self.fail(format!("money was made or lost: {sum}"));
        }
        if let Some((id, ends)) = self.ended.iter().find(|(_, ends)| **ends > 1) {
            let text = format!("the escrow of {id} ended {ends} times");
            self.fail(text);
        }
    }

    /// The books as a keeper has them who sees what the core locks and moves, and nothing else.
    fn book(&mut self) {
        let session = &self.scene.session;
        for made in &session.commitments {
            let id = number(made.id.0);
            if made.held.is_some() && !self.ended.contains_key(&id) {
                self.ended.insert(id, 0);
                *self.purse.entry(number(made.obligor.0)).or_default() -= made.money.unwrap().minor;
            }
        }
        let moves: Vec<_> = self.scene.changes.iter().flat_map(|changes| &changes.moves).collect();
        let mut wrong = None;
        for end in &moves[self.moves..] {
            let made = session.commitment(end.commitment).unwrap();
            let (whole, share) = (made.money.unwrap().minor, end.payee_amount.minor);
            if !(0..=whole).contains(&share) {
                wrong = Some(format!("{share} of {whole} is no share"));
            }
            *self.purse.entry(number(made.beneficiary.0)).or_default() += share;
            *self.purse.entry(number(made.obligor.0)).or_default() += whole - share;
            *self.ended.entry(number(made.id.0)).or_default() += 1;
        }
        self.moves = moves.len();
        if let Some(wrong) = wrong {
            self.fail(wrong);
        }
    }

    fn of_core(&self) -> BTreeMap<String, String> {
        let session = &self.scene.session;
        let mut all = BTreeMap::new();
        all.insert("state".into(), session.state.name().to_owned());
        all.insert("saved".into(), format!("{:?}", session.saved.map(|state| state.name())));
        all.insert("outcome".into(), format!("{:?}", session.outcome.map(|outcome| outcome.name())));
        all.insert("closed".into(), format!("{:?}", session.closed_at.map(|at| at.0)));
        all.insert("tokens".into(), session.tokens.to_string());
        all.insert("head".into(), session.head.sequence.to_string());
        for offer in session.offers.all() {
            all.insert(format!("offer {}", told(offer.message)), offer.shown(self.scene.now).to_owned());
        }
        for made in &session.commitments {
            let held = made.held.as_ref().map(|held| held.state.name());
            let breach = made.breach.map(|breach| breach.severity);
            let on = made.depends_on.map(|on| number(on.0));
            let text = format!("{} {held:?} {breach:?} on {on:?}", made.status.name());
            all.insert(format!("commitment {}", number(made.id.0)), text);
        }
        for dispute in &session.disputes {
            let ended = dispute.ended.as_ref().map(|_| dispute.status());
            let text = format!("{ended:?} by {} against {}", number(dispute.by.0), number(dispute.against.0));
            all.insert(format!("dispute {}", number(dispute.id.0)), text);
        }
        for (who, purse) in &self.purse {
            if *purse != 0 {
                all.insert(format!("purse {who}"), purse.to_string());
            }
        }
        all
    }

    fn of_model(&self) -> BTreeMap<String, String> {
        let naive = &self.naive;
        let mut all = BTreeMap::new();
        all.insert("state".into(), naive.state.to_owned());
        all.insert("saved".into(), format!("{:?}", naive.saved));
        all.insert("outcome".into(), format!("{:?}", naive.outcome));
        all.insert("closed".into(), format!("{:?}", naive.ended));
        all.insert("tokens".into(), naive.tokens.to_string());
        all.insert("head".into(), naive.log.len().to_string());
        for offer in &naive.offers {
            let late = offer.status == "open" && offer.valid_until.is_some_and(|until| self.now() > until);
            let status = if late { "expired" } else { offer.status };
            all.insert(format!("offer {}", offer.id), status.to_owned());
        }
        for promise in &naive.promises {
            let (held, breach, on) = (naive.money(promise), promise.breach, promise.on);
            let text = format!("{} {held:?} {breach:?} on {on:?}", promise.status);
            all.insert(format!("commitment {}", promise.id), text);
        }
        for dispute in &naive.disputes {
            let text = format!("{:?} by {} against {}", dispute.ended, dispute.by, dispute.against);
            all.insert(format!("dispute {}", dispute.id), text);
        }
        for (who, purse) in &naive.purse {
            if *purse != 0 {
                all.insert(format!("purse {who}"), purse.to_string());
            }
        }
        all
    }
}

/// What a system record of the core says, in the model's words.
fn named(event: &SystemEvent) -> (Event, u64) {
    let event = match event {
        SystemEvent::InvitationExpired(Expiry::Silence(message)) if told(*message) == 1 => Event::Uninvited,
        SystemEvent::InvitationExpired(Expiry::Silence(message)) => Event::Unanswered(told(*message)),
        SystemEvent::DeadlineMissed { commitment, .. } => Event::Missed(number(commitment.0)),
        SystemEvent::ReviewElapsed { commitment, .. } => Event::Reviewed(number(commitment.0)),
        SystemEvent::DurationElapsed { .. } => Event::Lasted,
        SystemEvent::GraceElapsed { outcome } => Event::Graced(outcome.name()),
        SystemEvent::DisputeDecided { dispute, .. } => Event::Decided(number(dispute.0)),
        other => unreachable!("{other:?} does not fall due"),
    };
    (event, 0)
}
