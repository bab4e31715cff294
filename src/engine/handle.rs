//! The engine as the rest of the server sees it: cheap to clone, safe to call from any task.
//!
//! Reads run on the caller's thread over a snapshot; writes queue for the one writer thread and are answered after
//! the commit that made them durable.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use uuid::Uuid;

use super::clock::Clock;
use super::command::{Command, Outcome, Taken};
use super::core::REMEMBER_PROOF;
use super::effects::{Effects, Settled};
use super::links::{AddedPeer, Links};
use super::operation::Operation;
use super::question::Question;
use super::request::{
    Answer, Caller, Endorsing, Invitation, Noting, Position, Registration, Search, Seat, Spent, StreamItem, StreamPage,
    Submission,
};
use super::shared::Common;
use super::tables::Tag;
use super::view::{Reading, View, unavailable};
use super::writer::{Heard, Job};
use super::{operate, search, transcript};
use crate::crypto::digest::Digest;
use crate::protocol::ids::{AgentId, CellId, DisputeId, MessageId, ReferenceId, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::{Span, Timestamp};
use crate::store::{Fault, Read};

type Waiting = HashMap<(SessionId, MessageId), Vec<oneshot::Sender<Result<u64, Refusal>>>>;

/// What tasks wait for.
#[derive(Default)]
pub(super) struct Wakes {
    sessions: Mutex<HashMap<SessionId, watch::Sender<u64>>>,
    agents: Mutex<HashMap<Tag, watch::Sender<u64>>>,
    pub peers: Mutex<HashMap<CellId, Arc<Notify>>>,
    settled: Mutex<Waiting>,
    pub(super) erasures: Notify,
    links: OnceLock<Arc<dyn Links>>,
    pub(super) failed: AtomicBool,
    pub(super) fault: Notify,
}

/// A running engine.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Common,
    clock: Arc<dyn Clock>,
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) wakes: Arc<Wakes>,
}

/// Tells the waiting tasks of each commit.
pub(super) struct Ear {
    shared: Common,
    wakes: Arc<Wakes>,
}

impl Heard for Ear {
    fn committed(&self, effects: Effects) {
        bump(&self.wakes.sessions, effects.sessions.into_iter());
        bump(&self.wakes.agents, effects.agents.into_iter());
        for Settled { session, message, outcome } in effects.settled {
            for waiter in lock(&self.wakes.settled).remove(&(session, message)).unwrap_or_default() {
                drop(waiter.send(outcome.clone()));
            }
        }
        for peer in effects.peers {
            lock(&self.wakes.peers).entry(peer).or_default().notify_one();
        }
        if !effects.erasures.is_empty() {
            self.wakes.erasures.notify_waiters();
        }
        for alarm in effects.alarms {
            metrics::counter!("asp_alarms_total").increment(1);
            tracing::warn!(alarm, "alarm");
        }
        let Some(links) = self.wakes.links.get() else { return };
        if effects.peers_changed {
            links.set_added(added(&self.shared));
        }
        for peer in effects.cut {
            links.cut(&peer);
        }
        for peer in effects.retry {
            links.retry(&peer);
        }
    }

    fn failed(&self, fault: &Fault) {
        tracing::error!(%fault, "the store failed; the cell stops");
        self.wakes.failed.store(true, Ordering::SeqCst);
        self.wakes.fault.notify_waiters();
    }
}

fn added(shared: &Common) -> Vec<AddedPeer> {
    let facts = shared.facts.load();
    let rows = facts.peers.iter().filter_map(|(cell, row)| Some((cell, row.added.as_ref()?)));
    rows.map(|(cell, added)| AddedPeer {
        cell: cell.clone(),
        address: added.address.clone(),
        region: added.region.clone(),
        zone: added.zone.clone(),
        anchor: added.anchor.clone(),
    })
    .collect()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Moves the watched numbers on; watches that nobody holds are dropped.
fn bump<K: std::hash::Hash + Eq>(watched: &Mutex<HashMap<K, watch::Sender<u64>>>, keys: impl Iterator<Item = K>) {
    let mut watched = lock(watched);
    for key in keys {
        if let Some(sender) = watched.get(&key) {
            if sender.is_closed() {
                watched.remove(&key);
            } else {
                sender.send_modify(|n| *n += 1);
            }
        }
    }
}

impl Handle {
    pub(super) fn new(shared: Common, clock: Arc<dyn Clock>, jobs: mpsc::Sender<Job>) -> (Self, Ear) {
        let wakes = Arc::new(Wakes::default());
        let ear = Ear { shared: Arc::clone(&shared), wakes: Arc::clone(&wakes) };
        (Self { shared, clock, jobs, wakes }, ear)
    }

    /// The engine's clock, the only one.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The base of `htu`: `[api] public_url`.
    pub fn public_url(&self) -> String {
        self.shared.settings.public_url.clone()
    }

    /// This cell.
    pub fn cell(&self) -> &CellId {
        &self.shared.settings.cell
    }

    /// The discovery document (S2) without `grpc`.
    pub fn discovery(&self) -> Value {
        self.shared.discovery()
    }

    /// Readiness checks by name, `"ok"` or what is wrong (S23; `listener` is the caller's own).
    pub fn checks(&self) -> Vec<(&'static str, String)> {
        let store = if self.alive() { "ok" } else { "the store failed; restart the cell" };
        let off = |off: Span| ("clock", format!("set by {} ms: nothing falls due until it is right", off.0));
        let checks = [("store", store.to_owned()), ("keys", "ok".to_owned())];
        checks.into_iter().chain(self.shared.clock_off().map(off)).collect()
    }

    /// The agent whose current key has this thumbprint; `unauthorized` otherwise.
    pub fn caller(&self, thumbprint: Digest) -> Result<Caller, Refusal> {
        let detail = "no agent of this cell has this key now; register it, or use the key registered last";
        let agent = self.shared.agent_of(thumbprint).ok_or_else(|| Refusal::new(Code::Unauthorized, detail))?;
        Ok(Caller { agent, thumbprint })
    }

    /// Spends a reading request's proof in memory; `proof_replayed` if it was spent before.
    pub fn spend(&self, spent: Spent) -> Result<(), Refusal> {
        if self.shared.spend(spent.key, spent.issued_at + REMEMBER_PROOF, self.now()) {
            return Ok(());
        }
        Err(Refusal::new(Code::ProofReplayed, "this proof's jti was used before; make a new proof"))
    }

    pub(super) fn rows(&self) -> Reading<Read> {
        self.shared.reader.snapshot().map_err(|fault| unavailable(&fault))
    }

    /// The caller's seat in a session; `not_found` for strangers and unknown sessions alike.
    pub fn seat(&self, caller: &Caller, session: SessionId) -> Result<Seat, Refusal> {
        let rows = self.rows()?;
        let participant = View { shared: &self.shared, rows: &rows }.seat(caller, session)?;
        Ok(Seat { session_id: session, participant })
    }

    /// What an answer (INTRODUCE, DECLINE) of this id by the caller names in `referenceId`: that of the recorded or
    /// queued answer with this id, else what the session asks of the caller (`asks` of S8b); `state_violation` if no
    /// answer is expected.
    pub fn asked(&self, caller: &Caller, session: SessionId, message: MessageId) -> Result<ReferenceId, Refusal> {
        let rows = self.rows()?;
        View { shared: &self.shared, rows: &rows }.asked(caller, session, message)
    }

    async fn ask(&self, command: Command) -> Result<Outcome, Refusal> {
        let unknown = || {
            let detail = "the cell could not finish this; ask again with the same messageId";
            Refusal::new(Code::OutcomeUnknown, detail)
        };
        let (answer, outcome) = oneshot::channel();
        match self.jobs.try_send(Job { command, answer }) {
            Ok(()) => outcome.await.map_err(|_| unknown()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                metrics::counter!("asp_shed_total").increment(1);
                Err(Refusal::new(Code::CapacityUnavailable, "too much waits for this cell's writer; try again shortly"))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(Refusal::new(Code::StorageUnavailable, "this cell's storage failed; it must be restarted"))
            }
        }
    }

    /// As [`Handle::ask`], waiting for room: for peers, whose frames are bounded by their windows.
    pub(super) async fn ask_patiently(&self, command: Command) -> Result<Outcome, Refusal> {
        let stopped = || Refusal::new(Code::StorageUnavailable, "this cell's storage failed; it must be restarted");
        let (answer, outcome) = oneshot::channel();
        self.jobs.send(Job { command, answer }).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())
    }

    /// Registers an agent or rotates its key: whether it was the first time, and its profile (S3).
    #[allow(clippy::wildcard_enum_match_arm, reason = "any other outcome is one mistake")]
    pub async fn register(&self, registration: Registration) -> Result<(bool, Value), Refusal> {
        match self.ask(Command::Register(Box::new(registration))).await? {
            Outcome::Registered(done) => {
                let (first, agent) = done?;
                Ok((first, search::profile(&self.shared, &self.rows()?, &agent, self.now())?))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// One profile (S3).
    pub fn profile(&self, _caller: &Caller, agent: &AgentId) -> Result<Value, Refusal> {
        search::profile(&self.shared, &self.rows()?, agent, self.now())
    }

    /// The signed trust of an agent of this cell, or of another's that showed it to the caller's organisation.
    pub fn trust(&self, caller: &Caller, agent: &AgentId) -> Result<Value, Refusal> {
        View { shared: &self.shared, rows: &self.rows()? }.trust(caller, agent, self.now())
    }

    /// An agent endorses another.
    pub async fn endorse(&self, endorsing: Endorsing) -> Result<Value, Refusal> {
        self.operated(Command::Endorse(Box::new(endorsing))).await
    }

    /// A search of the own cell's registry (S4).
    #[allow(clippy::unused_async, reason = "peers will be asked, too")]
    pub async fn search(&self, _caller: &Caller, wanted: Search) -> Result<Value, Refusal> {
        search::search(&self.shared, &self.rows()?, &wanted, self.now())
    }

    /// Opens a session.
    pub async fn invite(&self, invitation: Invitation) -> Answer {
        let caller = invitation.submission.caller.clone();
        match self.ask(Command::Invite(Box::new(invitation))).await {
            Ok(Outcome::Message(Ok(Taken::Placed { session, replayed, .. }))) => {
                self.opened(&caller, session, replayed).unwrap_or_else(Answer::Refused)
            }
            Ok(Outcome::Message(Err(refusal))) | Err(refusal) => Answer::Refused(refusal),
            Ok(other) => Answer::Refused(unexpected(&other)),
        }
    }

    fn opened(&self, caller: &Caller, session: SessionId, replayed: bool) -> Reading<Answer> {
        let rows = self.rows()?;
        let body = View { shared: &self.shared, rows: &rows }.first_answer(caller, session)?;
        Ok(Answer::Placed { body, replayed })
    }

    /// Sends messages (also INTRODUCE and DECLINE) in order until the first refusal; one answer each.
    /// Waits for the host up to `placement_timeout`.
    pub async fn submit(&self, submissions: Vec<Submission>) -> Vec<Answer> {
        let deadline = tokio::time::Instant::now() + to_std(self.shared.settings.placement_timeout);
        let mut answers = Vec::with_capacity(submissions.len());
        let mut refused = false;
        for submission in submissions {
            if refused {
                answers.push(Answer::NotAttempted);
                continue;
            }
            let answer = self.send(submission, deadline).await.unwrap_or_else(Answer::Refused);
            refused = matches!(answer, Answer::Refused(_));
            answers.push(answer);
        }
        answers
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "any other outcome is one mistake")]
    async fn send(&self, submission: Submission, deadline: tokio::time::Instant) -> Result<Answer, Refusal> {
        let caller = submission.caller.clone();
        let key = (submission.signed.message().session_id, submission.signed.message().message_id);
        let settled = self.wait_for(key);
        match self.ask(Command::Submit(Box::new(submission))).await? {
            Outcome::Message(Ok(Taken::Placed { sequence, replayed, .. })) => {
                self.placed(&caller, key.0, sequence, replayed)
            }
            Outcome::Message(Ok(Taken::Queued)) => match tokio::time::timeout_at(deadline, settled).await {
                Ok(Ok(Ok(sequence))) => self.placed(&caller, key.0, sequence, false),
                Ok(Ok(Err(refusal))) => Err(refusal),
                Ok(Err(_)) | Err(_) => Ok(Answer::Queued { message_id: key.1 }),
            },
            Outcome::Message(Err(refusal)) => Err(refusal),
            other => Err(unexpected(&other)),
        }
    }

    /// Takes what an agent says beside the chain; waits for the host up to `placement_timeout`.
    #[allow(clippy::wildcard_enum_match_arm, reason = "any other outcome is one mistake")]
    pub async fn note(&self, noting: Noting) -> Result<Answer, Refusal> {
        let caller = noting.caller.clone();
        let key = (noting.vouched.said().session(), noting.vouched.said().id());
        let settled = self.wait_for(key);
        let stands = |replayed| {
            let rows = self.rows()?;
            let body = View { shared: &self.shared, rows: &rows }.note_answer(&caller, key.0, key.1, self.now())?;
            Ok(Answer::Placed { body, replayed })
        };
        let patience = to_std(self.shared.settings.placement_timeout);
        match self.ask(Command::Beside(Box::new(noting))).await? {
            Outcome::Message(Ok(Taken::Placed { replayed, .. })) => stands(replayed),
            Outcome::Message(Ok(Taken::Queued)) => match tokio::time::timeout(patience, settled).await {
                Ok(Ok(Ok(_))) => stands(false),
                Ok(Ok(Err(refusal))) => Err(refusal),
                Ok(Err(_)) | Err(_) => Ok(Answer::Queued { message_id: key.1 }),
            },
            Outcome::Message(Err(refusal)) => Err(refusal),
            other => Err(unexpected(&other)),
        }
    }

    fn wait_for(&self, key: (SessionId, MessageId)) -> oneshot::Receiver<Result<u64, Refusal>> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = lock(&self.wakes.settled);
        waiting.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        waiting.entry(key).or_default().push(sender);
        receiver
    }

    fn placed(&self, caller: &Caller, session: SessionId, sequence: u64, replayed: bool) -> Reading<Answer> {
        let rows = self.rows()?;
        let body = View { shared: &self.shared, rows: &rows }.answer(caller, session, sequence)?;
        Ok(Answer::Placed { body, replayed })
    }

    /// One session as the caller sees it (S8b).
    pub fn session(&self, caller: &Caller, session: SessionId) -> Result<Value, Refusal> {
        let rows = self.rows()?;
        View { shared: &self.shared, rows: &rows }.session(caller, session, self.now())
    }

    /// The caller's sessions, newest first (S24).
    pub fn sessions(
        &self,
        caller: &Caller,
        state: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Value, Refusal> {
        let rows = self.rows()?;
        View { shared: &self.shared, rows: &rows }.sessions(caller, state, cursor, limit)
    }

    /// Records after `after` (S5): `{"messages":[…],"head":{…}}`.
    pub fn messages(&self, caller: &Caller, session: SessionId, after: u64, limit: usize) -> Result<Value, Refusal> {
        let rows = self.rows()?;
        View { shared: &self.shared, rows: &rows }.messages(caller, session, after, limit)
    }

    /// One dispute of a session (S9).
    pub fn dispute(&self, caller: &Caller, session: SessionId, id: DisputeId) -> Result<Value, Refusal> {
        let rows = self.rows()?;
        View { shared: &self.shared, rows: &rows }.dispute(caller, session, id)
    }

    /// The transcript (S13).
    pub fn transcript(&self, caller: &Caller, session: SessionId) -> Result<Value, Refusal> {
        transcript::for_agent(&self.shared, &self.rows()?, caller, session, self.now())
    }

    /// What follows `from` on a session's stream, up to `limit` items.
    pub fn stream(
        &self,
        caller: &Caller,
        session: SessionId,
        from: Position,
        limit: usize,
    ) -> Result<StreamPage, Refusal> {
        let rows = self.rows()?;
        View { shared: &self.shared, rows: &rows }.stream(caller, session, from, limit)
    }

    /// What follows `cursor` on the stream over all of the caller's sessions, up to `limit` items.
    pub fn feed(&self, caller: &Caller, cursor: u64, limit: usize) -> Result<Vec<StreamItem>, Refusal> {
        let rows = self.rows()?;
        View { shared: &self.shared, rows: &rows }.feed(caller, cursor, limit)
    }

    /// Changes whenever something was added to the session's stream; subscribe before reading a page.
    pub fn watch_session(&self, session: SessionId) -> watch::Receiver<u64> {
        lock(&self.wakes.sessions).entry(session).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Changes whenever something was added to the agent's stream, or its key was rotated.
    pub fn watch_agent(&self, agent: &AgentId) -> watch::Receiver<u64> {
        let tag = self.shared.agent_tag(agent);
        lock(&self.wakes.agents).entry(tag).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Carries out an operator's verb and answers with its shape (S21).
    pub async fn operate(&self, operation: Operation) -> Result<Value, Refusal> {
        if operation == Operation::PeerList {
            return self.peer_list();
        }
        if let Some(read) = operate::inspect(&self.shared, &operation, self.now()) {
            return read;
        }
        if let Operation::Backup { file, config } = operation {
            return self.backup(file, config).await;
        }
        if let Some(done) = self.epochs(&operation).await {
            return done;
        }
        let erases = matches!(operation, Operation::Erase { .. } | Operation::EraseApprove { .. });
        let question = Question::of(&operation, self.now());
        let value = self.operated(Command::Operate(Box::new(operation))).await?;
        if let Some(question) = question {
            return question.answered(&self.shared, &value).await;
        }
        if !erases {
            return Ok(value);
        }
        let request = value.get("requestId").and_then(Value::as_str).and_then(|id| Uuid::try_parse(id).ok());
        let request = request.ok_or_else(|| Refusal::new(Code::Unspecified, "the request has no id"))?;
        self.operated(Command::EraseNow(request)).await?;
        self.certified(request).await
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "any other outcome is one mistake")]
    pub(super) async fn operated(&self, command: Command) -> Result<Value, Refusal> {
        match self.ask(command).await? {
            Outcome::Operated(done) => done,
            other => Err(unexpected(&other)),
        }
    }

    fn peer_list(&self) -> Result<Value, Refusal> {
        let rows = self.rows()?;
        let links = self.wakes.links.get().map(|links| links.list()).unwrap_or_default();
        let mut peers = Vec::new();
        for link in links {
            let queued = operate::queued(&rows, &link.cell).map_err(|fault| unavailable(&fault))?;
            peers.push(json!({"cell": link.cell, "state": link.state, "since": link.since, "reason": link.reason,
                "queued": queued}));
        }
        Ok(json!({"peers": peers}))
    }

    /// Takes the links to peers, once they are up.
    pub fn attach(&self, links: Arc<dyn Links>) {
        links.set_added(added(&self.shared));
        drop(self.wakes.links.set(links));
    }

    /// Whether the writer still takes work.
    pub fn alive(&self) -> bool {
        !self.wakes.failed.load(Ordering::SeqCst)
    }

    /// Resolves after a fault of the store: the process must end.
    pub async fn failed(&self) {
        while self.alive() {
            let fault = self.wakes.fault.notified();
            if self.alive() {
                fault.await;
            }
        }
    }
}

pub(super) fn unexpected(outcome: &Outcome) -> Refusal {
    tracing::error!(?outcome, "an outcome of another command");
    Refusal::new(Code::Unspecified, "the cell answered another question")
}

fn to_std(span: Span) -> Duration {
    Duration::from_millis(u64::try_from(span.0).unwrap_or(0))
}
