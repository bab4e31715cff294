//! A few cells' engines on one thread, over disks in memory: what one has for another is carried when a test says so,
//! in one batch, as it is or changed.

use std::collections::{BTreeMap, BTreeSet};

use asp_cell::crypto::entropy::{Seeded, draw};
use asp_cell::engine::Operation;
use asp_cell::engine::command::{Command, Outcome, PeerSaid, Taken};
use asp_cell::engine::effects::Effects;
use asp_cell::engine::inbound::Checked;
use asp_cell::engine::operation::ConsentTerms;
use asp_cell::engine::outgoing::{self, Ready};
use asp_cell::engine::request::Caller;
use asp_cell::engine::revoking;
use asp_cell::engine::tables::{INBOX, Kept};
use asp_cell::engine::view::View;
use asp_cell::protocol::beside::{Beside, Rated};
use asp_cell::protocol::ids::{AgentId, ConsentId, OrgName, ParticipantId, SessionId};
use asp_cell::protocol::json::Json;
use asp_cell::protocol::message::Message;
use asp_cell::protocol::part::{DELEGATE, Salt};
use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::store::View as _;
use serde_json::{Value, json};

use super::agent::{self, Agent, Draft};
use super::cell::{Cell, public_url};

/// Cells by number, each with one organisation `org<n>.example` unless more are added.
pub struct Net {
    pub now: i64,
    pub luck: Seeded,
    pub cells: Vec<Cell>,
    sent: BTreeMap<(usize, usize), u64>,
    enrolment: BTreeMap<OrgName, String>,
    homes: BTreeMap<OrgName, usize>,
    /// What commits raised.
    pub alarms: Vec<String>,
    /// The cell whose disk may fail: it loses its power then, and starts again at once.
    pub frail: Option<usize>,
    /// How often that happened.
    pub crashes: usize,
}

impl Net {
    /// Cells that know each other, without consents. The first two organisations are `org0.example`, `org1.example`.
    pub fn new(cells: usize) -> Self {
        let ids: Vec<String> = (0..cells).map(|n| format!("cell-{n}")).collect();
        let now = 1_773_392_400_000;
        let made = (0..cells).map(|n| {
            let others: Vec<(&str, &str)> =
                ids.iter().filter(|id| **id != ids[n]).map(|id| (id.as_str(), "UK")).collect();
            Cell::new(&ids[n], "UK", &others, 7 + n as u64, Timestamp(now))
        });
        let mut net = Self {
            now,
            luck: Seeded::new(11),
            cells: made.collect(),
            sent: BTreeMap::new(),
            enrolment: BTreeMap::new(),
            homes: BTreeMap::new(),
            alarms: Vec::new(),
            frail: None,
            crashes: 0,
        };
        for cell in 0..cells {
            net.org(&format!("org{cell}.example"), cell);
        }
        for (a, b) in net.pairs() {
            net.link(a, b);
        }
        net.rest();
        net
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let count = self.cells.len();
        (0..count).flat_map(|a| (0..count).filter(move |b| *b != a).map(move |b| (a, b))).collect()
    }

    /// The hello of `a` reaches `b`, which asks what `a` knows of consents, and is answered.
    pub fn link(&mut self, a: usize, b: usize) {
        self.hello(a, b);
        self.urge(b, a);
        self.urge(a, b);
    }

    /// The hello of `a` reaches `b`.
    pub fn hello(&mut self, a: usize, b: usize) {
        let shared = self.cells[a].shared().unwrap();
        let said = PeerSaid { jwks: shared.signer.jwks.to_string(), public_url: shared.settings.public_url.clone() };
        self.commit(b, Command::LinkUp(self.cells[a].id.clone(), said));
    }

    pub fn commit(&mut self, cell: usize, command: Command) -> (Outcome, Effects) {
        self.now += 1;
        let (engine, store) = self.cells[cell].up.as_mut().unwrap();
        let done = engine.commit(store, Timestamp(self.now), vec![command, Command::Tick]);
        if done.is_err() && self.frail == Some(cell) {
            self.crashes += 1;
            self.cells[cell].cut_power(&mut self.luck);
            self.cells[cell].restart(Timestamp(self.now));
            return (Outcome::Done, Effects::default());
        }
        let (outcomes, mut effects) = done.unwrap();
        self.alarms.append(&mut effects.alarms);
        (outcomes.into_iter().next().unwrap(), effects)
    }

    pub fn operate(&mut self, cell: usize, operation: Operation) -> Result<Value, Refusal> {
        let erases = matches!(operation, Operation::Erase { .. } | Operation::EraseApprove { .. });
        let shown = self.operated(cell, Command::Operate(Box::new(operation)))?;
        if !erases {
            return Ok(shown);
        }
        let request = shown["requestId"].as_str().unwrap().parse().unwrap();
        self.operated(cell, Command::EraseNow(request))
    }

    /// A verb that only reads.
    pub fn look(&self, cell: usize, operation: Operation) -> Value {
        let shared = self.cells[cell].shared().unwrap();
        asp_cell::engine::inspect(&shared, &operation, Timestamp(self.now)).unwrap().unwrap()
    }

    fn operated(&mut self, cell: usize, command: Command) -> Result<Value, Refusal> {
        let before = self.crashes;
        match self.commit(cell, command).0 {
            Outcome::Operated(done) => done,
            Outcome::Done if self.crashes > before => Err(Refusal::new(Code::CapacityUnavailable, "the cell fell")),
            other => panic!("{other:?}"),
        }
    }

    /// The same cells on disks of their own, as they are now, started again.
    pub fn fork(&self, seed: u64) -> Self {
        let mut net = Self {
            now: self.now,
            luck: Seeded::new(seed),
            cells: self.cells.iter().map(Cell::fork).collect(),
            sent: self.sent.clone(),
            enrolment: self.enrolment.clone(),
            homes: self.homes.clone(),
            alarms: Vec::new(),
            frail: None,
            crashes: 0,
        };
        for cell in &mut net.cells {
            cell.restart(Timestamp(net.now));
        }
        net
    }

    /// Time passes; every cell's timers fire.
    pub fn pass(&mut self, span: Span) {
        self.now += span.0;
        for cell in 0..self.cells.len() {
            if self.cells[cell].up.is_some() {
                self.commit(cell, Command::Tick);
            }
        }
    }

    /// An organisation at home in a cell.
    pub fn org(&mut self, name: &str, cell: usize) -> OrgName {
        let org: OrgName = name.parse().unwrap();
        let added = self.operate(cell, Operation::OrgAdd { org: org.clone() }).unwrap();
        self.enrolment.insert(org.clone(), added["enrolmentKey"].as_str().unwrap().to_owned());
        self.homes.insert(org.clone(), cell);
        org
    }

    /// The cell that an organisation is at home in.
    pub fn home(&self, org: &OrgName) -> usize {
        self.homes[org]
    }

    /// An agent, registered with its cell.
    pub fn agent(&mut self, name: &str) -> Agent {
        let id: AgentId = format!("agent://{name}").parse().unwrap();
        let (home, key) = (self.homes[&id.organisation()], self.enrolment[&id.organisation()].clone());
        let agent = Agent::new(id.as_str(), home, public_url(&self.cells[home].id), &mut self.luck);
        let registration = agent.registration(&key, Timestamp(self.now), &mut self.luck);
        let Outcome::Registered(done) = self.commit(home, Command::Register(Box::new(registration))).0 else {
            panic!()
        };
        done.unwrap();
        agent
    }

    /// A consent in force between two organisations.
    pub fn consent(&mut self, one: &str, other: &str, classes: &[&str], purpose: &str) -> ConsentId {
        let consent = self.offer(one, other, classes, purpose);
        self.rest();
        let org: OrgName = other.parse().unwrap();
        self.operate(self.homes[&org], Operation::ConsentAccept { consent, org }).unwrap();
        self.rest();
        consent
    }

    pub fn offer(&mut self, one: &str, other: &str, classes: &[&str], purpose: &str) -> ConsentId {
        let org: OrgName = one.parse().unwrap();
        let mut classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
        classes.sort();
        let terms = ConsentTerms {
            peer_org: other.parse().unwrap(),
            classes,
            purposes: vec![purpose.to_owned()],
            outward: true,
            inward: true,
            agents: None,
            basis: None,
            retention: None,
            not_before: None,
            not_after: Timestamp(self.now) + Span::days(365),
        };
        let offered = self.operate(self.homes[&org], Operation::ConsentOffer { org, terms }).unwrap();
        offered["document"]["consentId"].as_str().unwrap().parse().unwrap()
    }

    /// What `a` has for `b` and `b` has not taken, as it would be sent now.
    pub fn frames(&mut self, a: usize, b: usize) -> Vec<(u64, Vec<u8>)> {
        let (Some(shared), to) = (self.cells[a].shared(), self.cells[b].id.clone()) else { return Vec::new() };
        let mut from = self.sent.get(&(a, b)).copied().unwrap_or_default();
        let (mut anew, mut frames) = (0, Vec::new());
        loop {
            let mut stale = None;
            for (number, made) in outgoing::ready(&shared, &to, from, usize::MAX, Timestamp(self.now)).unwrap() {
                match made {
                    Ready::Frame(bytes) => {
                        super::entered::check(self, a, &bytes);
                        frames.push((number, bytes));
                    }
                    Ready::Spent => drop(self.commit(a, Command::Spent(to.clone(), number))),
                    Ready::Dead(refusal) => drop(self.commit(a, Command::Dead(to.clone(), number, refusal))),
                    Ready::Stale => stale = Some(number),
                }
            }
            let Some(number) = stale else { return frames };
            assert!(anew < number, "frame {number} is entered anew and still not as its entry says");
            (anew, from) = (number, number - 1);
            let before = self.crashes;
            self.commit(a, Command::Stale(to.clone(), number));
            // A cell that fell down in it sends nothing more.
            if self.crashes > before {
                return frames;
            }
        }
    }

    /// `b` takes these frames of `a` in one batch, and acknowledges them.
    pub fn take(&mut self, a: usize, b: usize, frames: Vec<(u64, Vec<u8>)>) {
        let Some(last) = self.arrive(a, b, frames) else { return };
        let peer = self.cells[b].id.clone();
        self.commit(a, Command::Acked(peer, last));
    }

    /// `b` takes these frames of `a` in one batch; that it did is lost. The last number of them.
    pub fn arrive(&mut self, a: usize, b: usize, frames: Vec<(u64, Vec<u8>)>) -> Option<u64> {
        let last = frames.last().map(|(number, _)| *number)?;
        let receiver = self.cells[b].shared()?;
        let (from, stream) = (self.cells[a].id.clone(), self.cells[a].shared().unwrap().stream);
        let (now, before) = (Timestamp(self.now), self.crashes);
        let checked =
            frames.iter().map(|(number, bytes)| (*number, Checked::of(&receiver, &from, bytes, now))).collect();
        self.commit(b, Command::Inbound(from, stream, checked));
        self.settle(b);
        if self.crashes > before {
            return None;
        }
        self.sent.insert((a, b), last);
        Some(last)
    }

    /// A cell stops and starts again: what it had in memory is gone.
    pub fn restart(&mut self, cell: usize) {
        self.cells[cell].up = None;
        self.cells[cell].restart(Timestamp(self.now));
    }

    /// A cell is back on disks as they were, and both operators say that it goes on so (`peer forward`); the links come
    /// up, and nothing is carried yet.
    pub fn restore(&mut self, cell: usize, disks: Cell) {
        self.cells[cell] = disks;
        self.cells[cell].restart(Timestamp(self.now));
        for other in (0..self.cells.len()).filter(|other| *other != cell) {
            for (a, b) in [(cell, other), (other, cell)] {
                let (from, to) = (self.cells[a].id.clone(), self.cells[b].id.clone());
                let rows = self.cells[b].shared().unwrap().reader.snapshot().unwrap();
                let has = rows.get(&INBOX, &from).unwrap().map_or(0, |taken| taken.number);
                let reason = "a disk was lost".to_owned();
                self.operate(a, Operation::PeerForward { cell: to.clone(), reason }).unwrap();
                let refusal = Refusal::new(Code::EscalationRequired, "restore_behind");
                self.operated(a, Command::Forward(to, has, refusal)).unwrap();
                self.sent.insert((a, b), has);
            }
            self.hello(cell, other);
            self.hello(other, cell);
        }
    }

    /// What `a` puts before its outbox for `b` arrives, and `a` hears that it did; whether there was anything.
    pub fn urge(&mut self, a: usize, b: usize) -> bool {
        let Some(shared) = self.cells[a].shared() else { return false };
        let (from, to) = (self.cells[a].id.clone(), self.cells[b].id.clone());
        let urgent = revoking::urgent(&shared, &to).unwrap();
        let any = !urgent.is_empty();
        for (key, bytes) in urgent {
            let checked = Checked::of(&self.cells[b].shared().unwrap(), &from, &bytes, Timestamp(self.now));
            let before = self.crashes;
            self.commit(b, Command::Urgent(from.clone(), checked));
            if self.crashes == before {
                self.commit(a, Command::UrgentTaken(to.clone(), key));
            }
        }
        any
    }

    /// All that `a` has for `b` arrives; whether there was anything.
    pub fn carry(&mut self, a: usize, b: usize) -> bool {
        if self.cells[b].up.is_none() {
            return false;
        }
        let urged = self.urge(a, b);
        let frames = self.frames(a, b);
        let any = urged || !frames.is_empty();
        self.take(a, b, frames);
        any
    }

    /// What can be done at once is done, as the writer does it.
    fn settle(&mut self, cell: usize) {
        while self.cells[cell].up.as_ref().is_some_and(|(engine, _)| engine.next_deadline() == Some(Timestamp(0))) {
            self.commit(cell, Command::Tick);
        }
    }

    /// Carries until nothing is on its way between any two cells.
    pub fn rest(&mut self) {
        for _ in 0..1_000 {
            for cell in 0..self.cells.len() {
                self.settle(cell);
            }
            let pairs = self.pairs();
            if pairs.into_iter().filter(|(a, b)| self.carry(*a, *b)).count() == 0 {
                return;
            }
        }
        panic!("the cells do not come to rest");
    }

    pub fn invite(&mut self, inviter: &Agent, invitees: &[&Agent], purpose: &str) -> Result<Draft, Refusal> {
        self.invite_under(inviter, invitees, &json!({"purpose": purpose}))
    }

    pub fn invite_under(&mut self, inviter: &Agent, invitees: &[&Agent], terms: &Value) -> Result<Draft, Refusal> {
        let names: Vec<AgentId> = invitees.iter().map(|agent| agent.id.clone()).collect();
        let mut draft = agent::invite(&names, Timestamp(self.now), &mut self.luck);
        draft.message.terms = Some(Json::of(terms));
        let invitation = inviter.invitation(&draft, Timestamp(self.now), &mut self.luck);
        match self.commit(inviter.home, Command::Invite(Box::new(invitation))).0 {
            Outcome::Message(done) => done.map(|_| draft),
            other => panic!("{other:?}"),
        }
    }

    /// Sessions of others in a cell, three to an agent as newcomers may open, in as few commits as may be.
    pub fn fill(&mut self, cell: usize, org: &str, sessions: usize) {
        let seller = self.agent(&format!("{org}/stranger"));
        for (number, left) in (0..sessions).step_by(3).enumerate() {
            let agent = self.agent(&format!("{org}/filler-{number}"));
            let invitations = (left..sessions.min(left + 3)).map(|_| {
                let draft = agent::invite(std::slice::from_ref(&seller.id), Timestamp(self.now), &mut self.luck);
                Command::Invite(Box::new(agent.invitation(&draft, Timestamp(self.now), &mut self.luck)))
            });
            let invitations = invitations.collect();
            let (engine, store) = self.cells[cell].up.as_mut().unwrap();
            for outcome in engine.commit(store, Timestamp(self.now), invitations).unwrap().0 {
                let Outcome::Message(done) = outcome else { panic!("{outcome:?}") };
                done.unwrap();
            }
        }
    }

    pub fn send(&mut self, from: &Agent, draft: &Draft) -> Result<Taken, Refusal> {
        let submission = from.submission(draft, Timestamp(self.now), &mut self.luck);
        match self.commit(from.home, Command::Submit(Box::new(submission))).0 {
            Outcome::Message(done) => done,
            other => panic!("{other:?}"),
        }
    }

    /// An agent rates its counterpart in a session of two.
    pub fn rate(&mut self, agent: &Agent, session: SessionId, rating: u8) -> Taken {
        let mut message = self.say(agent, session, |_, _| ()).message;
        message.performative = Performative::Rate;
        message.parts.clear();
        message.terms = Some(Json::of(&json!({"rating": rating})));
        let said = Beside::Rating(Rated::of(&message));
        let noting = agent.noting(said, Timestamp(self.now), &mut self.luck);
        match self.commit(agent.home, Command::Beside(Box::new(noting))).0 {
            Outcome::Message(done) => done.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// An agent endorses another.
    pub fn endorse(&mut self, by: &Agent, of: &AgentId, rating: u8) -> Result<Value, Refusal> {
        let endorsing = by.endorsing(of, rating, Timestamp(self.now), &mut self.luck);
        self.operated(by.home, Command::Endorse(Box::new(endorsing)))
    }

    pub fn caller(agent: &Agent) -> Caller {
        agent.caller()
    }

    pub fn seat(&self, agent: &Agent, session: SessionId) -> ParticipantId {
        self.read(agent.home, |view| view.seat(&Self::caller(agent), session).unwrap())
    }

    pub fn accept(&mut self, agent: &Agent, session: SessionId) -> Result<Taken, Refusal> {
        let you = self.seat(agent, session);
        let asks = self.kept(agent.home, session).unwrap().session.asks(you).unwrap();
        let draft = agent::introduce(session, you, asks.into(), Timestamp(self.now), &mut self.luck);
        self.send(agent, &draft)
    }

    /// A message with content, and what else `change` makes of it.
    pub fn say(&mut self, agent: &Agent, session: SessionId, change: impl FnOnce(&mut Message, &Salt)) -> Draft {
        let you = self.seat(agent, session);
        let mut draft = agent::say(session, you, 1, Timestamp(self.now), &mut self.luck);
        let salt = Salt::of(draw(&mut self.luck));
        draft.message.performative = Performative::Inform;
        draft.message.parts.clear();
        let text = Json::of(&json!({"text": "good morning"}));
        draft.message.parts.insert("content".to_owned(), salt.part("content", text));
        draft.salt = Some(salt.digest());
        change(&mut draft.message, &salt);
        draft
    }

    /// A DELEGATE to `newcomer`, and the name it is given.
    pub fn delegate(&mut self, agent: &Agent, session: SessionId, newcomer: &Agent) -> (Draft, ParticipantId) {
        let id = ParticipantId(uuid::Builder::from_random_bytes(draw(&mut self.luck)).into_uuid());
        let name = Json::of(&json!(newcomer.id));
        let draft = self.say(agent, session, |message, salt| {
            message.performative = Performative::Delegate;
            message.parts.clear();
            message.parts.insert(DELEGATE.to_owned(), salt.part(DELEGATE, name));
            message.terms = Some(Json::of(&json!({"delegate": id, "scope": "assist"})));
        });
        (draft, id)
    }

    pub fn read<T>(&self, cell: usize, read: impl FnOnce(View<'_, asp_cell::store::Read>) -> T) -> T {
        let shared = self.cells[cell].shared().unwrap();
        let rows = shared.reader.snapshot().unwrap();
        read(View { shared: &shared, rows: &rows })
    }

    pub fn kept(&self, cell: usize, session: SessionId) -> Option<Kept> {
        self.read(cell, |view| view.kept(session).unwrap())
    }

    /// A session between the agents, all of whom have answered.
    pub fn open(&mut self, agents: &[&Agent], purpose: &str) -> SessionId {
        self.open_under(agents, &json!({"purpose": purpose}))
    }

    pub fn open_under(&mut self, agents: &[&Agent], terms: &Value) -> SessionId {
        let session = self.invite_under(agents[0], &agents[1..], terms).unwrap().message.session_id;
        self.rest();
        for agent in &agents[1..] {
            self.accept(agent, session).unwrap();
            self.rest();
        }
        let heads: BTreeSet<_> = agents.iter().map(|a| self.kept(a.home, session).unwrap().session.head.hash).collect();
        assert_eq!(heads.len(), 1);
        session
    }

    /// All records as this agent reads them.
    pub fn messages(&self, agent: &Agent, session: SessionId) -> Result<Vec<Value>, Refusal> {
        let read = self.read(agent.home, |view| view.messages(&Self::caller(agent), session, 0, 500))?;
        Ok(read["messages"].as_array().unwrap().clone())
    }

    /// What the agent's stream over all its sessions has shown.
    pub fn feed(&self, agent: &Agent) -> Vec<Value> {
        let items = self.read(agent.home, |view| view.feed(&Self::caller(agent), 0, 500)).unwrap();
        items.into_iter().map(|item| item.body).collect()
    }
}
