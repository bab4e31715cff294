//! A link at work: frames of the outbox go out in a window, frames that come in go to the engine in batches, and
//! acknowledgements go both ways.
//!
//! Nothing is kept here that the outbox does not hold: what was not acknowledged is sent again over the next link,
//! from the number that the peer's hello expects. Source: docs/spec/federation.md section 3.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use quinn::SendStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::ending::{Close, Ending};
use super::exchange::Exchange;
use super::frames::FrameReader;
use super::greeting::{Greeted, farewell};
use super::limits::{BATCH_BYTES, BATCH_FRAMES, EXPIRY_CHECK, FRAME_OVERHEAD, STALL, URGENT, WINDOW};
use crate::protocol::ids::CellId;
use crate::protocol::time::Timestamp;
use crate::wire::link::{LinkFrame, MAX_DATA, MAX_FRAME, MAX_URGENT, Payload};

/// Carries frames between this cell and `peer` until either side, a certificate's end or `stop` ends it. The
/// connection is closed and the engine told when it returns. `up` is told once the engine agrees.
pub(super) async fn run<E: Exchange>(
    link: Greeted,
    peer: &CellId,
    exchange: &E,
    up: oneshot::Sender<()>,
    stop: oneshot::Receiver<Close>,
) -> Ending {
    let connection = link.connection.clone();
    let ending = match exchange.up(peer, &link.hello).await {
        Ok(()) => {
            // The keeper may have gone meanwhile; `stop` then says so.
            let _ = up.send(());
            let ending = carry(link, peer, exchange, stop).await;
            exchange.down(peer);
            ending
        }
        Err(refusal) => {
            let ending = Ending::by(refusal);
            farewell(link.send, &ending).await;
            ending
        }
    };
    connection.close(ending.close.code(), ending.reason.as_bytes());
    ending
}

async fn carry<E: Exchange>(link: Greeted, peer: &CellId, exchange: &E, stop: oneshot::Receiver<Close>) -> Ending {
    let Greeted { connection, until, mut send, mut frames, hello, own_stream, .. } = link;
    let has = hello.wants_from(own_stream).saturating_sub(1);
    if has > 0 {
        // The peer's word of what it has is an acknowledgement that no broken link can lose.
        exchange.acked(peer, has);
    }
    let sent = AtomicU64::new(has);
    let (acked, acknowledged) = watch::channel(has);
    let (applied, to_acknowledge) = watch::channel(0);
    let (batches, arriving) = mpsc::channel(1);
    // The peer's own, and its word on ours.
    let (urgent, urged) = mpsc::channel(2 * MAX_URGENT);
    let (heard, to_confirm) = mpsc::channel(MAX_URGENT);
    let outward =
        Outward { peer, exchange, sent: &sent, acknowledged, to_acknowledge, to_confirm, urgent: BTreeMap::new() };
    let inward = Inward { peer, exchange, sent: &sent, acked, last: 0, urgent };
    tokio::select! {
        ending = inward.receive(&mut frames, batches) => ending,
        ending = apply(peer, exchange, arriving, applied) => ending,
        ending = heed(peer, exchange, urged, heard) => ending,
        ending = outward.send(&mut send, has) => ending,
        ending = expiry(exchange, until) => ending,
        error = connection.closed() => Ending::of(&error),
        close = stop => Ending::own(close.unwrap_or(Close::Away)),
    }
}

/// Ends the link when the first certificate of the two ends, by the engine's clock even if that is set.
async fn expiry<E: Exchange>(exchange: &E, until: Timestamp) -> Ending {
    while exchange.now() <= until {
        tokio::time::sleep(EXPIRY_CHECK).await;
    }
    Ending::expired()
}

/// The frames on the way: what was sent and is not acknowledged.
struct Window {
    last: u64,
    frames: VecDeque<(u64, usize)>,
    bytes: usize,
    /// The room in which the outbox had nothing to send, until it is woken.
    idle_in: Option<usize>,
    /// When the last acknowledgement came, or the window last stopped being empty.
    progress: Instant,
}

impl Window {
    fn new(has: u64) -> Self {
        Self { last: has, frames: VecDeque::new(), bytes: 0, idle_in: None, progress: Instant::now() }
    }

    fn room(&self) -> usize {
        WINDOW.saturating_sub(self.bytes)
    }

    /// Whether the outbox may have a frame for this room: it had none in a smaller one that is also too small for
    /// some frame, or was not asked since it was woken.
    fn may_send(&self) -> bool {
        let room = self.room();
        room > 0 && self.idle_in.is_none_or(|idle| idle < MAX_FRAME && idle < room)
    }

    fn push(&mut self, number: u64, length: usize) {
        if self.frames.is_empty() {
            self.progress = Instant::now();
        }
        self.last = number;
        self.frames.push_back((number, length));
        self.bytes = self.bytes.saturating_add(length);
    }

    fn acknowledge(&mut self, upto: u64) {
        while let Some((_, length)) = self.frames.pop_front_if(|(number, _)| *number <= upto) {
            self.bytes = self.bytes.saturating_sub(length);
            self.progress = Instant::now();
        }
    }
}

/// The sending side.
struct Outward<'a, E> {
    peer: &'a CellId,
    exchange: &'a E,
    /// The last number sent, for judging acknowledgements.
    sent: &'a AtomicU64,
    acknowledged: watch::Receiver<u64>,
    to_acknowledge: watch::Receiver<u64>,
    /// Keys of the peer's urgent frames that were taken.
    to_confirm: mpsc::Receiver<[u8; 16]>,
    /// Urgent frames sent over this link and not taken yet, and by when they must be.
    urgent: BTreeMap<[u8; 16], Instant>,
}

impl<E: Exchange> Outward<'_, E> {
    /// Writes what there is to say, many frames at once, and waits for more.
    async fn send(mut self, send: &mut SendStream, has: u64) -> Ending {
        let mut window = Window::new(has);
        let mut told = 0;
        let mut out = Vec::new();
        loop {
            if let Err(ending) = self.gather(&mut window, &mut told, &mut out).await {
                return ending;
            }
            if out.is_empty() {
                if let Some(ending) = self.wait(&mut window, &mut out).await {
                    return ending;
                }
                continue;
            }
            match timeout(STALL, send.write_all(&out)).await {
                Ok(Ok(())) => {}
                Ok(Err(quinn::WriteError::ConnectionLost(error))) => return Ending::of(&error),
                Ok(Err(error)) => return Ending::down(error.to_string()),
                Err(_) => return stalled(),
            }
            // Freed rather than used again: what was said does not stay in a buffer for as long as the link lasts.
            out = Vec::new();
        }
    }

    /// Appends the acknowledgement due, and frames as far as the window goes.
    async fn gather(&mut self, window: &mut Window, told: &mut u64, out: &mut Vec<u8>) -> Result<(), Ending> {
        let due = *self.to_acknowledge.borrow_and_update();
        if due > *told {
            *told = due;
            append(&LinkFrame::Ack { upto: due }, out)?;
        }
        window.acknowledge(*self.acknowledged.borrow_and_update());
        self.urge(out)?;
        if !window.may_send() {
            return Ok(());
        }
        let room = window.room();
        window.idle_in = Some(room);
        for frame in self.exchange.outbound(self.peer, window.last, room).await {
            let (number, length) = (frame.number, frame.bytes.len());
            if number <= window.last || length > MAX_DATA {
                return Err(Ending::down(format!("frame {number} of {length} bytes cannot follow {}", window.last)));
            }
            let counted = length.saturating_add(FRAME_OVERHEAD);
            if counted > window.room() {
                break;
            }
            window.idle_in = None;
            window.push(number, counted);
            append(&LinkFrame::data(number, frame.bytes), out)?;
        }
        self.sent.store(window.last, Ordering::Release);
        Ok(())
    }

    /// Appends what goes before the outbox and was not sent over this link yet.
    fn urge(&mut self, out: &mut Vec<u8>) -> Result<(), Ending> {
        let urgent = self.exchange.urgent(self.peer);
        self.urgent.retain(|key, _| urgent.iter().any(|(waits, _)| waits == key));
        for (key, bytes) in urgent {
            if let Entry::Vacant(place) = self.urgent.entry(key) {
                place.insert(Instant::now() + URGENT);
                append(&LinkFrame::Urgent { key, bytes: Payload(bytes) }, out)?;
            }
        }
        Ok(())
    }

    /// Waits until there may be something to write; what the peer's urgent frames are answered with is written here.
    async fn wait(&mut self, window: &mut Window, out: &mut Vec<u8>) -> Option<Ending> {
        let urgent_by = self.urgent.values().min().copied();
        tokio::select! {
            taken = self.to_confirm.recv() => match taken {
                Some(key) => append(&LinkFrame::UrgentTaken { key }, out).err(),
                None => Some(Ending::own(Close::Away)),
            },
            () = sleep_until(urgent_by.unwrap_or(window.progress)), if urgent_by.is_some() => Some(untaken()),
            due = self.to_acknowledge.changed() => due.err().map(|_| Ending::own(Close::Away)),
            acknowledged = self.acknowledged.changed() => acknowledged.err().map(|_| Ending::own(Close::Away)),
            () = self.exchange.woken(self.peer), if window.room() > 0 => {
                window.idle_in = None;
                None
            }
            () = sleep_until(window.progress + STALL), if !window.frames.is_empty() => Some(stalled()),
        }
    }
}

fn stalled() -> Ending {
    Ending::down(format!("the peer acknowledged nothing for {} s", STALL.as_secs()))
}

fn untaken() -> Ending {
    Ending::down(format!("the peer did not take what goes before the outbox within {} s", URGENT.as_secs()))
}

fn append(frame: &LinkFrame, out: &mut Vec<u8>) -> Result<(), Ending> {
    frame.append(out).map_err(|length| Ending::down(format!("a frame of {length} bytes cannot be sent")))
}

/// Frames on their way to the engine.
#[derive(Default)]
struct Batch {
    frames: Vec<(u64, Vec<u8>)>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, number: u64, frame: Vec<u8>) {
        self.bytes = self.bytes.saturating_add(frame.len());
        self.frames.push((number, frame));
    }

    fn is_full(&self) -> bool {
        self.frames.len() >= BATCH_FRAMES || self.bytes >= BATCH_BYTES
    }
}

/// The receiving side.
struct Inward<'a, E> {
    peer: &'a CellId,
    exchange: &'a E,
    sent: &'a AtomicU64,
    acked: watch::Sender<u64>,
    /// The last number received.
    last: u64,
    urgent: mpsc::Sender<Urged>,
}

/// What concerns urgent frames.
enum Urged {
    /// One of the peer's.
    Came([u8; 16], Vec<u8>),
    /// One of ours was taken.
    Taken([u8; 16]),
}

impl<E: Exchange> Inward<'_, E> {
    /// Reads frames; while the engine works on a batch the next one fills, and then the stream waits.
    async fn receive(mut self, frames: &mut FrameReader, batches: mpsc::Sender<Batch>) -> Ending {
        let mut batch = Batch::default();
        loop {
            while !batch.is_full() {
                match frames.take(MAX_FRAME) {
                    Ok(None) => break,
                    Ok(Some(frame)) => {
                        if let Err(ending) = self.accept(frame, &mut batch) {
                            return ending;
                        }
                    }
                    Err(ending) => return ending,
                }
            }
            tokio::select! {
                slot = batches.reserve(), if !batch.frames.is_empty() => match slot {
                    Ok(slot) => slot.send(std::mem::take(&mut batch)),
                    Err(_) => return Ending::own(Close::Away),
                },
                more = frames.fill(), if !batch.is_full() => if let Err(ending) = more {
                    return ending;
                },
            }
        }
    }

    fn accept(&mut self, frame: LinkFrame, batch: &mut Batch) -> Result<(), Ending> {
        match frame {
            LinkFrame::Data { number, .. } if number <= self.last => {
                let last = self.last;
                Err(Ending::violation(format!("frame {number} came after frame {last}; numbers must rise")))
            }
            LinkFrame::Data { number, bytes } => {
                self.last = number;
                batch.push(number, bytes.0);
                Ok(())
            }
            LinkFrame::Ack { upto } => self.acknowledged(upto),
            LinkFrame::Urgent { key, bytes } => self.urge(Urged::Came(key, bytes.0)),
            LinkFrame::UrgentTaken { key } => self.urge(Urged::Taken(key)),
            LinkFrame::Refused { problem } => {
                Err(Ending::refused(format!("the peer refuses: {}", told(&problem.value()))))
            }
            LinkFrame::Hello { .. } => Err(Ending::violation("a second hello")),
        }
    }

    fn urge(&self, urged: Urged) -> Result<(), Ending> {
        let many = |_| Ending::violation(format!("more than {MAX_URGENT} urgent frames at once"));
        self.urgent.try_send(urged).map_err(many)
    }

    fn acknowledged(&self, upto: u64) -> Result<(), Ending> {
        let sent = self.sent.load(Ordering::Acquire);
        if upto > sent {
            return Err(Ending::violation(format!("frame {upto} was acknowledged; the last one sent is {sent}")));
        }
        let news = self.acked.send_if_modified(|acked| {
            let news = upto > *acked;
            *acked = upto.max(*acked);
            news
        });
        if news {
            self.exchange.acked(self.peer, upto);
        }
        Ok(())
    }
}

/// What a problem document says, for the operator of this cell.
fn told(problem: &serde_json::Value) -> String {
    let member = |name| problem.get(name).and_then(serde_json::Value::as_str).unwrap_or("?");
    format!("{}: {}", member("code"), member("detail"))
}

/// Hands urgent frames to the engine as they come, past the batches, and tells it of those that the peer took.
async fn heed<E: Exchange>(
    peer: &CellId,
    exchange: &E,
    mut urged: mpsc::Receiver<Urged>,
    heard: mpsc::Sender<[u8; 16]>,
) -> Ending {
    while let Some(urged) = urged.recv().await {
        match urged {
            Urged::Taken(key) => exchange.urgent_taken(peer, key).await,
            Urged::Came(key, bytes) => {
                if let Err(refusal) = exchange.take_urgent(peer, bytes).await {
                    return Ending::by(refusal);
                }
                if heard.send(key).await.is_err() {
                    return Ending::own(Close::Away);
                }
            }
        }
    }
    Ending::own(Close::Away)
}

/// Hands batches to the engine, one after the other, and has them acknowledged.
async fn apply<E: Exchange>(
    peer: &CellId,
    exchange: &E,
    mut arriving: mpsc::Receiver<Batch>,
    applied: watch::Sender<u64>,
) -> Ending {
    while let Some(batch) = arriving.recv().await {
        let last = batch.frames.last().map_or(0, |(number, _)| *number);
        match exchange.inbound(peer, batch.frames).await {
            // Never beyond what came over this link: an earlier one may have brought more than the hello knew of.
            Ok(upto) => drop(applied.send_replace(upto.min(last))),
            Err(refusal) => return Ending::by(refusal),
        }
    }
    Ending::own(Close::Away)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_holds_what_is_not_acknowledged() {
        let mut window = Window::new(10);
        window.push(11, WINDOW - 5);
        window.push(13, 5);
        assert_eq!((window.room(), window.last), (0, 13));
        window.acknowledge(12);
        assert_eq!(window.room(), WINDOW - 5);
        window.acknowledge(13);
        assert_eq!((window.room(), window.frames.len()), (WINDOW, 0));
    }

    /// An outbox with nothing in it.
    struct Silent;

    impl Exchange for Silent {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
        async fn hello(&self, _: &CellId) -> crate::wire::link::Hello {
            std::future::pending().await
        }
        async fn up(&self, _: &CellId, _: &crate::wire::link::Hello) -> Result<(), crate::protocol::refusal::Refusal> {
            Ok(())
        }
        fn down(&self, _: &CellId) {}
        async fn outbound(&self, _: &CellId, _: u64, _: usize) -> Vec<crate::peering::Outgoing> {
            Vec::new()
        }
        async fn inbound(&self, _: &CellId, _: Vec<(u64, Vec<u8>)>) -> Result<u64, crate::protocol::refusal::Refusal> {
            Ok(0)
        }
        fn acked(&self, _: &CellId, _: u64) {}
        fn urgent(&self, _: &CellId) -> Vec<([u8; 16], Vec<u8>)> {
            Vec::new()
        }
        async fn urgent_taken(&self, _: &CellId, _: [u8; 16]) {}
        async fn take_urgent(&self, _: &CellId, _: Vec<u8>) -> Result<(), crate::protocol::refusal::Refusal> {
            Ok(())
        }
        async fn woken(&self, _: &CellId) {
            std::future::pending::<()>().await;
        }
    }

    #[tokio::test]
    async fn a_link_whose_frames_nobody_acknowledges_ends() {
        let (peer, sent) = ("us-east-1".parse().unwrap(), AtomicU64::new(2));
        let (acked, acknowledged) = watch::channel(0);
        let (_applied, to_acknowledge) = watch::channel(0);
        let (_confirm, to_confirm) = mpsc::channel(1);
        let urgent = BTreeMap::new();
        let (exchange, mut out) = (&Silent, Vec::new());
        let mut outward =
            Outward { peer: &peer, exchange, sent: &sent, acknowledged, to_acknowledge, to_confirm, urgent };
        let mut window = Window::new(0);
        let brief = std::time::Duration::from_millis(300);
        let almost = || Instant::now().checked_sub(STALL).unwrap() + brief;
        window.progress = almost();
        assert!(timeout(brief * 2, outward.wait(&mut window, &mut out)).await.is_err(), "nothing is on the way");
        window.push(1, 100);
        window.push(2, 100);
        window.progress = almost();
        acked.send_replace(1);
        assert_eq!(outward.wait(&mut window, &mut out).await, None, "an acknowledgement is news");
        window.acknowledge(1);
        assert!(timeout(brief * 2, outward.wait(&mut window, &mut out)).await.is_err(), "and starts the time anew");
        window.progress = almost();
        assert_eq!(outward.wait(&mut window, &mut out).await, Some(stalled()));
    }

    #[test]
    fn an_idle_outbox_is_asked_again_only_for_more_room_or_when_woken() {
        let mut window = Window::new(0);
        assert!(window.may_send());
        window.idle_in = Some(WINDOW);
        assert!(!window.may_send(), "there was room for any frame, and there was none");
        window.push(1, WINDOW - 100);
        window.idle_in = Some(100);
        assert!(!window.may_send());
        window.acknowledge(1);
        assert!(window.may_send(), "the next frame may have been longer than 100 bytes");
    }
}
