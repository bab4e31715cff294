//! The federation, its luck, and what must hold at the end of a run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::entropy::Seeded;
use asp_cell::engine::Operation;
use asp_cell::engine::command::{Command, Outcome, PeerSaid, Taken};
use asp_cell::engine::inbound::Checked;
use asp_cell::engine::operation::ConsentTerms;
use asp_cell::engine::outgoing::{self, Ready};
use asp_cell::engine::revoking;
use asp_cell::engine::view::View;
use asp_cell::protocol::ids::{AgentId, ConsentId, MessageId, OrgName, ParticipantId, SessionId};
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::time::{Span, Timestamp};

use super::agent::{self, Agent, Draft};
use super::cell::{Cell, public_url};
use super::link::Link;

const CELLS: [(&str, &str); 3] = [("eu-west-1", "UK"), ("us-east-1", "US"), ("ap-northeast-1", "JP")];
const START: i64 = 1_773_392_400_000;
/// Milliseconds a step takes.
const STEP: i64 = 10;
/// Steps in which everything may fail; after them all is healed.
const STORM: u64 = 120;
/// Steps in which a healed federation must come to rest.
const CALM: u64 = 6_000;
/// Messages each agent sends in each session.
const MESSAGES: u64 = 3;

struct Talk {
    agent: usize,
    session: SessionId,
    you: Option<ParticipantId>,
    said: u64,
    draft: Option<Draft>,
    asked_at: i64,
    inviting: bool,
    answered: bool,
}

/// What happened in runs, to know that the rare paths were taken.
#[derive(Debug, Default)]
pub struct Seen {
    runs: u64,
    acknowledged: u64,
    records: u64,
    crashes: u64,
    partitions: u64,
    lost: u64,
    doubled: u64,
    queued: u64,
    replayed: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.acknowledged += other.acknowledged;
        self.records += other.records;
        self.crashes += other.crashes;
        self.partitions += other.partitions;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.queued += other.queued;
        self.replayed += other.replayed;
    }

    pub fn assert_rare_paths(&self) {
        let rare = [self.crashes, self.partitions, self.lost, self.doubled, self.queued, self.replayed];
        assert!(rare.iter().all(|count| *count > self.runs / 4), "a path was hardly taken: {self:?}");
    }
}

pub struct World {
    now: i64,
    luck: Seeded,
    cells: Vec<Cell>,
    agents: Vec<Agent>,
    links: BTreeMap<(usize, usize), Link>,
    cut: BTreeSet<(usize, usize)>,
    down_until: BTreeMap<usize, i64>,
    /// Links whose sender may have something new.
    woken: BTreeSet<(usize, usize)>,
    pending: Vec<VecDeque<(Option<usize>, Command)>>,
    talks: Vec<Talk>,
    acknowledged: BTreeMap<(SessionId, MessageId), u64>,
    seen: Seen,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut luck = Seeded::new(seed);
        let now = Timestamp(START);
        let mut cells = Vec::new();
        for (index, (id, zone)) in CELLS.iter().enumerate() {
            let others: Vec<(&str, &str)> = CELLS.iter().filter(|(other, _)| other != id).copied().collect();
            cells.push(Cell::new(id, zone, &others, seed * 31 + index as u64, now));
        }
        let agents = (0..CELLS.len()).map(|home| {
            let url = public_url(&CELLS[home].0.parse().unwrap());
            Agent::new(&format!("agent://org{home}.example/agent"), home, url, &mut luck)
        });
        let agents = agents.collect();
        let pairs = (0..3).flat_map(|a| (0..3).filter(move |b| *b != a).map(move |b| (a, b)));
        let links = pairs.map(|pair| (pair, Link::default())).collect();
        let mut world = Self {
            now: START,
            luck,
            cells,
            agents,
            links,
            cut: BTreeSet::new(),
            down_until: BTreeMap::new(),
            woken: BTreeSet::new(),
            pending: (0..3).map(|_| VecDeque::new()).collect(),
            talks: Vec::new(),
            acknowledged: BTreeMap::new(),
            seen: Seen { runs: 1, ..Seen::default() },
        };
        world.found();
        world
    }

    /// Disks that say "durable" and forget.
    pub fn lie(&mut self) {
        for cell in &self.cells {
            cell.lie();
        }
    }

    /// Organisations, agents, consents, sessions: before anything fails.
    fn found(&mut self) {
        for index in 0..3 {
            let org: OrgName = format!("org{index}.example").parse().unwrap();
            let added = self.operate(index, Operation::OrgAdd { org });
            let key = added["enrolmentKey"].as_str().unwrap().to_owned();
            let registration = self.agents[index].registration(&key, Timestamp(self.now), &mut self.luck);
            self.pending[index].push_back((None, Command::Register(Box::new(registration))));
            self.commit(index);
        }
        let pairs: Vec<(usize, usize)> = self.links.keys().copied().collect();
        for (a, b) in pairs {
            self.link_up(a, b);
        }
        self.rest();
        let mut offers = Vec::new();
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let org: OrgName = format!("org{a}.example").parse().unwrap();
            let terms = ConsentTerms {
                peer_org: format!("org{b}.example").parse().unwrap(),
                classes: vec!["content".into(), "metadata".into(), "trust".into()],
                purposes: vec!["*".into()],
                outward: true,
                inward: true,
                agents: None,
                basis: None,
                retention: None,
                not_before: None,
                not_after: Timestamp(START) + Span::days(365),
            };
            let offered = self.operate(a, Operation::ConsentOffer { org, terms });
            let consent: ConsentId = offered["document"]["consentId"].as_str().unwrap().parse().unwrap();
            offers.push((b, consent));
        }
        self.rest();
        for (b, consent) in offers {
            let org: OrgName = format!("org{b}.example").parse().unwrap();
            self.operate(b, Operation::ConsentAccept { consent, org });
        }
        self.rest();
        for invited in [vec![0, 1], vec![1, 2, 0]] {
            let names: Vec<AgentId> = invited[1..].iter().map(|agent| self.agents[*agent].id.clone()).collect();
            let draft = agent::invite(&names, Timestamp(self.now), &mut self.luck);
            let session = draft.message.session_id;
            for agent in invited {
                let inviting = !names.contains(&self.agents[agent].id);
                let you = inviting.then_some(draft.message.sender);
                let draft = inviting.then(|| draft.clone());
                self.talks.push(Talk {
                    agent,
                    session,
                    you,
                    said: 0,
                    draft,
                    asked_at: 0,
                    inviting,
                    answered: inviting,
                });
            }
        }
    }

    /// Steps until nothing is on its way.
    fn rest(&mut self) {
        for _ in 0..CALM {
            self.step();
            if self.links.values().all(Link::quiet) && self.outboxes_empty() {
                return;
            }
        }
        panic!("the federation does not come to rest");
    }

    fn outboxes_empty(&self) -> bool {
        self.links.iter().all(|((a, b), link)| {
            let Some(shared) = self.cells[*a].shared() else { return false };
            let ready = outgoing::ready(&shared, &self.cells[*b].id, link.sent(), 1, Timestamp(self.now)).unwrap();
            ready.is_empty() && revoking::urgent(&shared, &self.cells[*b].id).unwrap().is_empty()
        })
    }

    fn operate(&mut self, cell: usize, operation: Operation) -> serde_json::Value {
        self.pending[cell].clear();
        let (engine, store) = self.cells[cell].up.as_mut().unwrap();
        let commands = vec![Command::Operate(Box::new(operation))];
        let (outcomes, effects) = engine.commit(store, Timestamp(self.now), commands).unwrap();
        self.woken
            .extend(effects.peers.iter().map(|peer| (cell, self.cells.iter().position(|c| c.id == *peer).unwrap())));
        match outcomes.into_iter().next() {
            Some(Outcome::Operated(Ok(value))) => value,
            other => panic!("{other:?}"),
        }
    }

    pub fn run(mut self) -> Seen {
        for _ in 0..STORM {
            self.misfortune();
            self.talk();
            self.step();
        }
        self.heal();
        let mut calm = 0;
        while !self.settled() {
            self.talk();
            self.step();
            calm += 1;
            assert!(calm < CALM, "after healing not every message got its answer: {}", self.unsettled());
        }
        self.rest();
        self.check();
        for link in self.links.values() {
            self.seen.lost += link.lost;
            self.seen.doubled += link.doubled;
        }
        self.seen
    }

    fn misfortune(&mut self) {
        let back: Vec<usize> =
            self.down_until.iter().filter(|(_, at)| **at <= self.now).map(|(cell, _)| *cell).collect();
        for cell in back {
            self.start(cell);
        }
        if self.luck.below(36) == 0 {
            let cell = usize::try_from(self.luck.below(3)).unwrap();
            if self.cells[cell].up.is_some() {
                self.seen.crashes += 1;
                self.cells[cell].cut_power(&mut self.luck);
                self.pending[cell].clear();
                let length = i64::try_from(self.luck.below(400)).unwrap();
                self.down_until.insert(cell, self.now + length);
            }
        }
        if self.luck.below(32) == 0 {
            let pair = [(0, 1), (0, 2), (1, 2)][usize::try_from(self.luck.below(3)).unwrap()];
            if !self.cut.remove(&pair) {
                self.seen.partitions += 1;
                self.cut.insert(pair);
            }
            self.reconnect(pair.0, pair.1);
        }
    }

    fn reconnect(&mut self, a: usize, b: usize) {
        for pair in [(a, b), (b, a)] {
            self.woken.insert(pair);
            self.links.get_mut(&pair).unwrap().reconnect();
            self.link_up(pair.0, pair.1);
        }
    }

    /// The hello of `a` reaches `b`.
    fn link_up(&mut self, a: usize, b: usize) {
        if self.is_cut(a, b) || self.cells[b].up.is_none() {
            return;
        }
        let Some(shared) = self.cells[a].shared() else { return };
        let said = PeerSaid { jwks: shared.signer.jwks.to_string(), public_url: shared.settings.public_url.clone() };
        self.pending[b].push_back((None, Command::LinkUp(self.cells[a].id.clone(), said)));
    }

    fn start(&mut self, cell: usize) {
        self.down_until.remove(&cell);
        self.cells[cell].restart(Timestamp(self.now));
        for other in 0..3 {
            if other != cell {
                self.reconnect(cell, other);
            }
        }
        for talk in self.talks.iter_mut().filter(|talk| self.agents[talk.agent].home == cell) {
            talk.asked_at = 0;
        }
    }

    fn heal(&mut self) {
        let down: Vec<usize> = self.down_until.keys().copied().collect();
        for cell in down {
            self.start(cell);
        }
        for (a, b) in std::mem::take(&mut self.cut) {
            self.reconnect(a, b);
        }
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// Every agent goes on: opens, answers, says the next thing, or asks again.
    fn talk(&mut self) {
        if self.now % (5 * STEP) != 0 {
            return;
        }
        let now = Timestamp(self.now);
        for index in 0..self.talks.len() {
            let home = self.agents[self.talks[index].agent].home;
            let Some(shared) = self.cells[home].shared() else { continue };
            let talk = &mut self.talks[index];
            let agent = &self.agents[talk.agent];
            if talk.draft.is_none() {
                let rows = shared.reader.snapshot().unwrap();
                let view = View { shared: &shared, rows: &rows };
                let Some(kept) = view.kept(talk.session).unwrap() else { continue };
                if talk.you.is_none() {
                    let org = agent.id.organisation();
                    talk.you = kept.session.participants.iter().find(|p| p.home.organisation == org).map(|p| p.id);
                }
                let you = talk.you.unwrap();
                if let Some(asks) = kept.session.asks(you).filter(|_| !talk.answered) {
                    talk.draft = Some(agent::introduce(talk.session, you, asks.into(), now, &mut self.luck));
                } else if kept.session.participants.iter().all(|p| p.joined) && talk.said < MESSAGES {
                    talk.said += 1;
                    talk.draft = Some(agent::say(talk.session, you, talk.said, now, &mut self.luck));
                }
                talk.asked_at = 0;
            }
            let Some(draft) = &talk.draft else { continue };
            if self.now - talk.asked_at < 300 {
                continue;
            }
            talk.asked_at = self.now;
            let command = if talk.inviting {
                Command::Invite(Box::new(agent.invitation(draft, now, &mut self.luck)))
            } else {
                Command::Submit(Box::new(agent.submission(draft, now, &mut self.luck)))
            };
            self.pending[home].push_back((Some(index), command));
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        for (a, b) in self.links.keys().copied().collect::<Vec<_>>() {
            self.carry(a, b);
        }
        for cell in 0..3 {
            self.commit(cell);
        }
    }

    /// One link moves on.
    fn carry(&mut self, a: usize, b: usize) {
        let (Some(sender), Some(receiver)) = (self.cells[a].shared(), self.cells[b].shared()) else { return };
        if self.is_cut(a, b) {
            return;
        }
        let now = Timestamp(self.now);
        let link = self.links.get_mut(&(a, b)).unwrap();
        if let Some(number) = link.acked(self.now) {
            self.pending[a].push_back((None, Command::Acked(self.cells[b].id.clone(), number)));
        }
        // What goes before the outbox is neither lost nor late: links of their own would be another simulation.
        for (key, bytes) in revoking::urgent(&sender, &self.cells[b].id).unwrap() {
            let checked = Checked::of(&receiver, &self.cells[a].id, &bytes, now);
            self.pending[b].push_back((None, Command::Urgent(self.cells[a].id.clone(), checked)));
            self.pending[a].push_back((None, Command::UrgentTaken(self.cells[b].id.clone(), key)));
        }
        if link.open() && self.woken.remove(&(a, b)) {
            for (number, made) in outgoing::ready(&sender, &self.cells[b].id, link.sent(), 64 << 10, now).unwrap() {
                match made {
                    Ready::Frame(bytes) => {
                        link.send(number, bytes, self.now, &mut self.luck);
                        // More may stand behind it.
                        self.woken.insert((a, b));
                    }
                    Ready::Spent => {
                        let spent = Command::Spent(self.cells[b].id.clone(), number);
                        self.pending[a].push_back((None, spent));
                    }
                    Ready::Stale => {
                        let stale = Command::Stale(self.cells[b].id.clone(), number);
                        self.pending[a].push_back((None, stale));
                        self.woken.insert((a, b));
                    }
                    Ready::Dead(refusal) => panic!("a dead letter without a revocation: {refusal}"),
                }
            }
        }
        link.resend(self.now, &mut self.luck);
        let frames = link.arrived(self.now, &mut self.luck);
        if !frames.is_empty() {
            let from = &self.cells[a].id;
            let checked = frames.iter().map(|(n, bytes)| (*n, Checked::of(&receiver, from, bytes, now))).collect();
            self.pending[b].push_back((None, Command::Inbound(from.clone(), sender.stream, checked)));
        }
    }

    /// One commit of a cell, then the answers.
    fn commit(&mut self, cell: usize) {
        let Some((engine, _)) = &self.cells[cell].up else { return };
        let due = engine.next_deadline().is_some_and(|at| at.0 <= self.now);
        if self.pending[cell].is_empty() && !due {
            return;
        }
        let now = Timestamp(self.now);
        let (who, mut commands): (Vec<_>, Vec<_>) = self.pending[cell].drain(..).unzip();
        let peers: Vec<Option<usize>> = commands.iter().map(|command| self.peer_of(command)).collect();
        commands.push(Command::Tick);
        let (engine, store) = self.cells[cell].up.as_mut().unwrap();
        let (outcomes, effects) = engine.commit(store, now, commands).expect("a healthy disk");
        assert!(effects.alarms.is_empty(), "an alarm in {}: {:?}", CELLS[cell].0, effects.alarms);
        for peer in effects.peers {
            let peer = self.cells.iter().position(|cell| cell.id == peer).unwrap();
            self.woken.insert((cell, peer));
        }
        for ((talk, peer), outcome) in who.into_iter().zip(peers).zip(outcomes) {
            match (outcome, talk, peer) {
                (Outcome::Inbound(number), _, Some(peer)) => {
                    let link = self.links.get_mut(&(peer, cell)).unwrap();
                    link.acknowledge(number, self.now, &mut self.luck);
                }
                (Outcome::Message(taken), Some(talk), _) => self.answered(talk, taken),
                _ => {}
            }
        }
    }

    fn peer_of(&self, command: &Command) -> Option<usize> {
        match command {
            Command::Inbound(peer, ..) => self.cells.iter().position(|cell| cell.id == *peer),
            _ => None,
        }
    }

    fn answered(&mut self, talk: usize, taken: Result<Taken, Refusal>) {
        let talk = &mut self.talks[talk];
        match taken {
            Ok(Taken::Placed { session, sequence, replayed }) => {
                let Some(draft) = &talk.draft else { return };
                let before = self.acknowledged.insert((session, draft.message.message_id), sequence);
                assert!(before.is_none_or(|before| before == sequence), "one message at two places");
                self.seen.acknowledged += 1;
                self.seen.replayed += u64::from(replayed);
                talk.answered = true;
                talk.inviting = false;
                talk.draft = None;
            }
            Ok(Taken::Queued) => self.seen.queued += 1,
            // The session is not here yet, or the answer was given under a draft that a crash took from us.
            Err(refusal) if refusal.code == Code::NotFound => {}
            Err(refusal) => panic!("refused: {refusal}"),
        }
    }

    fn settled(&self) -> bool {
        self.talks.iter().all(|talk| talk.draft.is_none() && talk.said == MESSAGES)
    }

    fn unsettled(&self) -> String {
        let open = self.talks.iter().filter(|talk| talk.draft.is_some() || talk.said < MESSAGES);
        let links = self.links.iter().map(|((a, b), link)| {
            let queued = self.cells[*a].shared().map(|shared| {
                let ready = outgoing::ready(&shared, &self.cells[*b].id, 0, usize::MAX, Timestamp(self.now)).unwrap();
                ready.iter().map(|(number, _)| *number).collect::<Vec<_>>()
            });
            format!("\n  link {a}→{b} {link:?}, outbox {queued:?}")
        });
        open.map(|talk| format!("\n  agent {} said {} in {}", talk.agent, talk.said, talk.session))
            .chain(links)
            .collect()
    }

    /// The chains of all cells, and every acknowledgement, must agree.
    fn check(&mut self) {
        let sessions: BTreeSet<SessionId> = self.talks.iter().map(|talk| talk.session).collect();
        for session in sessions {
            let mut chains: Vec<Vec<(MessageId, Digest)>> = Vec::new();
            let members: BTreeSet<usize> = self
                .talks
                .iter()
                .filter(|talk| talk.session == session)
                .map(|talk| self.agents[talk.agent].home)
                .collect();
            for cell in members {
                let shared = self.cells[cell].shared().unwrap();
                let rows = shared.reader.snapshot().unwrap();
                let view = View { shared: &shared, rows: &rows };
                let kept = view.kept(session).unwrap().expect("every member has the session");
                assert!(kept.frozen.is_none(), "frozen: {:?}", kept.frozen);
                let records = view.logged_after(session, 0, usize::MAX).unwrap();
                for (index, row) in records.iter().enumerate() {
                    assert_eq!(row.record.sequence, index as u64 + 1, "a gap in {}", CELLS[cell].0);
                }
                assert_eq!(kept.session.head.hash, records.last().unwrap().hash);
                chains.push(records.iter().map(|row| (row.record.message_id, row.hash)).collect());
            }
            for chain in &chains {
                assert_eq!(chain, &chains[0], "two cells hold different chains");
            }
            let ids: BTreeSet<MessageId> = chains[0].iter().map(|(id, _)| *id).collect();
            assert_eq!(ids.len(), chains[0].len(), "a message stands twice");
            self.seen.records += chains[0].len() as u64;
            for ((_, message), sequence) in self.acknowledged.iter().filter(|((of, _), _)| *of == session) {
                let at = chains[0].get(usize::try_from(sequence - 1).unwrap()).map(|(id, _)| *id);
                assert_eq!(at, Some(*message), "acknowledged at {sequence} and not there");
            }
        }
    }
}
