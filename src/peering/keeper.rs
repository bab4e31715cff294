//! Keeps one link to one peer: dials, takes what the peer dials, lets one connection of several stand, and starts
//! again for ever.
//!
//! Both cells dial, so that whichever comes back first restores the link. Of two connections the one that the lower
//! cell id dialled stands; a newer one stands against an older if its peer was restarted or the same side dialled it,
//! since a cell dials only when it has no link. Source: docs/spec/federation.md section 3.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::backoff::{Backoff, draw};
use super::ending::{Close, Ending, Verdict};
use super::exchange::Exchange;
use super::greeting::{Fresh, Greeted, greet};
use super::limits::{AWAY, DEFERENCE, GREETINGS, HANDSHAKE_TIME, PROVEN, REFUSING};
use super::link;
use super::peer::{Peer, PeerState, PeerStatus};
use super::verifier::sni;
use super::{Line, Shared, lock};

/// What a keeper is told.
#[derive(Debug)]
pub(super) enum Command {
    /// The peer dialled.
    Accepted(Fresh),
    /// Dial now.
    Retry,
    /// End, telling the peer why.
    Stop(Close),
}

/// How a greeting ended, and who had dialled.
enum Greeting {
    Dialled(Result<Greeted, Ending>),
    Accepted(Result<Greeted, Ending>),
}

/// The link that stands, or is about to.
struct Standing {
    task: JoinHandle<Ending>,
    stop: oneshot::Sender<Close>,
    /// Resolves when the engine has agreed to the link.
    up: Option<oneshot::Receiver<()>>,
    since: Option<Instant>,
    dialled: bool,
    process: [u8; 16],
}

/// The task behind one peer.
pub(super) struct Keeper<E> {
    peer: Arc<Peer>,
    shared: Arc<Shared<E>>,
    status: watch::Sender<PeerStatus>,
    line: Line,
    greetings: JoinSet<Greeting>,
    dialling: bool,
    accepting: usize,
    standing: Option<Standing>,
    backoff: Backoff,
    dial_at: Instant,
    dials: usize,
}

impl<E: Exchange> Keeper<E> {
    pub(super) fn new(peer: Arc<Peer>, shared: Arc<Shared<E>>, status: watch::Sender<PeerStatus>, line: Line) -> Self {
        Self {
            peer,
            shared,
            status,
            line,
            greetings: JoinSet::new(),
            dialling: false,
            accepting: 0,
            standing: None,
            backoff: Backoff::default(),
            dial_at: Instant::now(),
            dials: 0,
        }
    }

    /// Runs until told to stop; the link is down when it returns.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let close = loop {
            let idle = self.standing.is_none() && !self.dialling;
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Accepted(fresh)) => self.accepted(fresh),
                    Some(Command::Retry) => self.retry(),
                    Some(Command::Stop(close)) => break close,
                    None => break Close::Away,
                },
                Some(greeting) = self.greetings.join_next() => self.greeted(greeting).await,
                event = standing(&mut self.standing) => match event {
                    None => self.is_up(),
                    Some(ending) => self.ended(&ending),
                },
                () = sleep_until(self.dial_at), if idle => self.dial(),
            }
        };
        self.greetings.shutdown().await;
        self.stand_down(close).await;
    }

    fn accepted(&mut self, fresh: Fresh) {
        if self.accepting >= GREETINGS {
            fresh.connection.close(Close::Away.code(), b"too many connections of this cell at once");
            return;
        }
        self.accepting += 1;
        let (peer, shared) = (Arc::clone(&self.peer), Arc::clone(&self.shared));
        self.greetings
            .spawn(async move { Greeting::Accepted(greet(fresh, &peer, &*shared.exchange, shared.process).await) });
    }

    fn retry(&mut self) {
        self.backoff.reset();
        self.dial_at = Instant::now();
        if self.standing.is_none() {
            self.set(PeerState::Connecting, None);
        }
    }

    fn dial(&mut self) {
        self.dialling = true;
        let (peer, shared, attempt) = (Arc::clone(&self.peer), Arc::clone(&self.shared), self.dials);
        self.dials = self.dials.wrapping_add(1);
        self.greetings.spawn(async move { Greeting::Dialled(dial(&peer, &shared, attempt).await) });
    }

    /// A greeting ended: its connection stands, or falls to the one that does.
    async fn greeted(&mut self, greeting: Result<Greeting, tokio::task::JoinError>) {
        let (result, dialled) = match greeting {
            Ok(Greeting::Dialled(result)) => (result, true),
            Ok(Greeting::Accepted(result)) => (result, false),
            // A greeting that panicked is a bug, and no reason to take the peer's link away.
            Err(error) => {
                tracing::error!(peer = %self.peer.cell, %error, "a greeting did not end by itself");
                (self.dialling, self.accepting) = (false, 0);
                return self.wait(Verdict::Down);
            }
        };
        if dialled {
            self.dialling = false;
        } else {
            self.accepting = self.accepting.saturating_sub(1);
        }
        match result {
            Ok(greeted) if self.prefers(&greeted) => {
                self.stand_down(Close::Superseded).await;
                self.stand(greeted);
            }
            Ok(greeted) => {
                let ending = Ending::superseded();
                greeted.connection.close(ending.close.code(), ending.reason.as_bytes());
            }
            Err(ending) if self.standing.is_none() => {
                self.show(&ending);
                if dialled {
                    self.wait(ending.verdict);
                }
            }
            Err(ending) => tracing::debug!(peer = %self.peer.cell, reason = ending.reason, "a second connection ended"),
        }
    }

    /// Whether `new` takes the place of the connection that stands.
    fn prefers(&self, new: &Greeted) -> bool {
        let ours_wins = self.shared.cell < self.peer.cell;
        self.standing
            .as_ref()
            .is_none_or(|old| old.process != new.process || old.dialled == new.dialled || new.dialled == ours_wins)
    }

    fn stand(&mut self, greeted: Greeted) {
        let (stop, stopped) = oneshot::channel();
        let (up, is_up) = oneshot::channel();
        let (dialled, process) = (greeted.dialled, greeted.process);
        let (peer, exchange) = (self.peer.cell.clone(), Arc::clone(&self.shared.exchange));
        *lock(&self.line) = Some(greeted.connection.clone());
        let task = tokio::spawn(async move { link::run(greeted, &peer, &*exchange, up, stopped).await });
        self.standing = Some(Standing { task, stop, up: Some(is_up), since: None, dialled, process });
    }

    /// Ends the link that stands, if there is one, and waits for it.
    async fn stand_down(&mut self, close: Close) {
        let Some(old) = self.standing.take() else { return };
        let _ = old.stop.send(close);
        if let Err(error) = old.task.await {
            tracing::error!(peer = %self.peer.cell, %error, "a link did not end by itself");
        }
    }

    fn is_up(&mut self) {
        if let Some(standing) = &mut self.standing {
            standing.since = Some(Instant::now());
        }
        self.set(PeerState::Connected, None);
    }

    fn ended(&mut self, ending: &Ending) {
        let proven = self.standing.take().and_then(|old| old.since).is_some_and(|since| since.elapsed() >= PROVEN);
        if proven && ending.verdict != Verdict::Refused {
            self.backoff.reset();
        }
        if ending.verdict == Verdict::Superseded || (proven && ending.verdict == Verdict::Down) {
            self.set(PeerState::Connecting, Some(&ending.reason));
        } else {
            self.show(ending);
        }
        if ending.verdict == Verdict::Cut {
            return self.retry();
        }
        self.wait(ending.verdict);
        if self.shared.cell > self.peer.cell {
            self.dial_at += DEFERENCE;
        }
    }

    /// Draws the time of the next dial.
    fn wait(&mut self, verdict: Verdict) {
        let range = match verdict {
            Verdict::Down | Verdict::Superseded | Verdict::Cut => AWAY,
            Verdict::Refused => REFUSING,
        };
        self.dial_at = Instant::now() + self.backoff.next(range, draw());
    }

    fn show(&self, ending: &Ending) {
        match ending.verdict {
            Verdict::Down => self.set(PeerState::Down, Some(&ending.reason)),
            Verdict::Cut => self.set(PeerState::Connecting, Some(&ending.reason)),
            Verdict::Refused => self.set(PeerState::Refused, Some(&ending.reason)),
            Verdict::Superseded => {}
        }
    }

    /// Sets what `peer list` shows; `since` moves with the state alone.
    fn set(&self, state: PeerState, reason: Option<&str>) {
        let now = self.shared.exchange.now();
        self.status.send_if_modified(|status| {
            let news = status.state != state;
            if news {
                (status.state, status.since) = (state, now);
                tracing::info!(peer = %status.cell, ?state, reason, "link");
            }
            status.reason = reason.map(str::to_owned);
            news
        });
    }
}

/// Waits for what happens to the link that stands: `None` it is up, `Some` it ended; for ever if there is none.
async fn standing(standing: &mut Option<Standing>) -> Option<Ending> {
    let Some(standing) = standing else { return std::future::pending().await };
    if let Some(up) = &mut standing.up {
        tokio::select! {
            agreed = up => {
                standing.up = None;
                if agreed.is_ok() {
                    return None;
                }
            }
            ended = &mut standing.task => return Some(settled(ended)),
        }
    }
    Some(settled((&mut standing.task).await))
}

fn settled(ended: Result<Ending, tokio::task::JoinError>) -> Ending {
    ended.unwrap_or_else(|error| Ending::down(error.to_string()))
}

/// Dials the peer and greets it.
async fn dial<E: Exchange>(peer: &Peer, shared: &Shared<E>, attempt: usize) -> Result<Greeted, Ending> {
    let own_until = shared.tls.load().not_after;
    let connected = timeout(HANDSHAKE_TIME, connect(peer, shared, attempt)).await;
    let away = |_| Err(Ending::down(format!("{} (UDP) does not answer", peer.address)));
    let connection = connected.unwrap_or_else(away)?;
    greet(Fresh { connection, dialled: true, own_until }, peer, &*shared.exchange, shared.process).await
}

/// Looks the address up and shakes hands; each attempt takes the next address of a name that has several.
async fn connect<E: Exchange>(peer: &Peer, shared: &Shared<E>, attempt: usize) -> Result<Connection, Ending> {
    let found = tokio::net::lookup_host(&peer.address).await;
    let found = found.map_err(|error| Ending::down(format!("{}: {error}", peer.address)))?;
    let v4 = shared.endpoint.local_addr().is_ok_and(|own| own.is_ipv4());
    let usable: Vec<SocketAddr> = found.filter(|address| address.is_ipv4() || !v4).collect();
    let place = attempt.checked_rem(usable.len()).and_then(|index| usable.get(index));
    let none = || Ending::down(format!("{} has no address that this cell's socket can reach", peer.address));
    let address = *place.ok_or_else(none)?;
    let client = shared.tls.load().client.clone();
    let dialled = shared.endpoint.connect_with(client, address, &sni(&peer.cell));
    let connecting = dialled.map_err(|error| Ending::down(format!("{address}: {error}")))?;
    connecting.await.map_err(|error| Ending::of(&error))
}
