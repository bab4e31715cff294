//! The writer thread: takes all that waits, commits it at once, then answers.
//!
//! One commit serves everybody who waited for it; nobody is answered before it is durable. After a fault it answers
//! `outcome_unknown` to all and takes no more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::clock::{Clock, Guard};
use super::command::{Command, Outcome};
use super::core::Engine;
use super::effects::Effects;
use crate::store::{Fault, Store};

/// Commands in one commit, at most.
pub const BATCH: usize = 256;
/// Commands that may wait; more are refused as `capacity_unavailable`.
pub const QUEUE: usize = 4096;
/// How long the writer sleeps when nothing falls due.
const IDLE: Duration = Duration::from_millis(500);

/// A command and where its outcome goes.
pub struct Job {
    /// What to do.
    pub command: Command,
    /// Who waits.
    pub answer: oneshot::Sender<Outcome>,
}

/// What hears of each commit.
pub trait Heard: Send + 'static {
    /// After a durable commit.
    fn committed(&self, effects: Effects);
    /// After a fault: the process must end.
    fn failed(&self, fault: &Fault);
}

/// Starts the writer; it ends when every sender is gone, or after a fault.
pub fn start(
    mut engine: Engine,
    mut store: Store,
    clock: Arc<dyn Clock>,
    mut jobs: mpsc::Receiver<Job>,
    heard: impl Heard,
) -> std::io::Result<JoinHandle<()>> {
    // A clock of its own: whoever started the engine may be gone before it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("asp-writer".into()).spawn(move || {
        let guard = Guard::new(&*clock);
        let mut trusted = watch(&guard, &*clock, &engine, &heard);
        loop {
            let mut waiting = Vec::with_capacity(BATCH);
            let next = engine.next_deadline().filter(|_| trusted);
            let wait = next.map_or(IDLE, |at| span_until(&*clock, at).min(IDLE));
            let taken = runtime.block_on(async {
                tokio::time::timeout(wait, jobs.recv_many(&mut waiting, BATCH)).await.unwrap_or(usize::MAX)
            });
            if taken == 0 {
                return;
            }
            // Read first: a clock that was set while the writer slept is seen before anything falls due by it.
            let now = clock.now();
            trusted = watch(&guard, &*clock, &engine, &heard);
            let due = trusted && next.is_some_and(|at| at <= now);
            if waiting.is_empty() && !due && !engine.wants_tick(now) {
                continue;
            }
            if !turn(&mut engine, &mut store, &heard, waiting, now) {
                jobs.close();
                return;
            }
        }
    })
}

/// Holds the clock against the steady one and tells when that changes; whether anything may fall due.
fn watch(guard: &Guard, clock: &dyn Clock, engine: &Engine, heard: &impl Heard) -> bool {
    let shared = engine.shared();
    let off = guard.off(clock);
    let before = shared.clock_off.swap(off.map_or(0, |off| off.0), Ordering::Relaxed);
    metrics::gauge!("asp_clock_unsafe").set(if off.is_some() { 1.0 } else { 0.0 });
    let told = match (before != 0, off) {
        (false, Some(off)) => format!("the clock was set by {} ms: nothing falls due until it is right again", off.0),
        (true, None) => "the clock is right again: what fell due meanwhile follows".to_owned(),
        (false, None) | (true, Some(_)) => return off.is_none(),
    };
    heard.committed(Effects { alarms: vec![told], ..Effects::default() });
    off.is_none()
}

fn span_until(clock: &dyn Clock, at: crate::protocol::time::Timestamp) -> Duration {
    Duration::from_millis(u64::try_from((at - clock.now()).0).unwrap_or(0))
}

/// One commit; `false` after a fault.
fn turn(
    engine: &mut Engine,
    store: &mut Store,
    heard: &impl Heard,
    waiting: Vec<Job>,
    now: crate::protocol::time::Timestamp,
) -> bool {
    let (mut commands, answers): (Vec<Command>, Vec<_>) =
        waiting.into_iter().map(|job| (job.command, job.answer)).unzip();
    metrics::histogram!("asp_commit_commands").record(f64::from(u32::try_from(commands.len()).unwrap_or(u32::MAX)));
    commands.push(Command::Tick);
    let committed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| engine.commit(store, now, commands)));
    let committed = committed.unwrap_or_else(|_| Err(super::stop::bug("the writer stopped at a bug")));
    match committed {
        Ok((outcomes, effects)) => {
            heard.committed(effects);
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // Whoever asked may have gone; what it asked for is durable all the same.
                drop(answer.send(outcome));
            }
            true
        }
        Err(fault) => {
            heard.failed(&fault);
            false
        }
    }
}
