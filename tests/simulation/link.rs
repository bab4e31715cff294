//! A one-way link between two simulated cells: datagrams are lost, doubled, delayed and reordered by luck; the frames
//! that come out are in order and complete for as long as the connection lives, as QUIC gives them.

use std::collections::BTreeMap;

use asp_cell::crypto::entropy::Seeded;

/// How long a sender waits before it sends a frame again, in milliseconds.
const RESEND: i64 = 150;
/// Frames sent and not acknowledged, at most.
const WINDOW: usize = 64;

struct Unacked {
    index: u64,
    number: u64,
    bytes: Vec<u8>,
    sent_at: i64,
}

/// One direction.
#[derive(Default)]
pub struct Link {
    connection: u64,
    next_index: u64,
    unacked: Vec<Unacked>,
    flying: Vec<(i64, u64, u64, u64, Vec<u8>)>,
    acks: Vec<(i64, u64)>,
    expected: u64,
    early: BTreeMap<u64, (u64, Vec<u8>)>,
    sent: u64,
    acked: u64,
    taken: u64,
    /// Datagrams lost and doubled so far: rare paths must have been seen.
    pub lost: u64,
    pub doubled: u64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unacked: Vec<u64> = self.unacked.iter().map(|frame| frame.number).collect();
        let first: Vec<u64> = self.unacked.iter().map(|frame| frame.index).collect();
        let (expected, early) = (self.expected, self.early.keys().collect::<Vec<_>>());
        write!(
            f,
            "sent {} acked {} taken {} unacked {unacked:?} at {first:?}, expected {expected}, early {early:?}",
            self.sent, self.acked, self.taken
        )
    }
}

impl Link {
    /// A new connection: what was in flight is gone, what was not acknowledged is sent again.
    pub fn reconnect(&mut self) {
        let (lost, doubled) = (self.lost, self.doubled);
        *self = Self {
            connection: self.connection + 1,
            sent: self.acked,
            acked: self.acked,
            lost,
            doubled,
            ..Self::default()
        };
    }

    /// The number after which the sender's outbox is to be read.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether more may be sent now.
    pub fn open(&self) -> bool {
        self.unacked.len() < WINDOW
    }

    /// Whether nothing is on its way.
    pub fn quiet(&self) -> bool {
        self.unacked.is_empty() && self.flying.is_empty()
    }

    pub fn send(&mut self, number: u64, bytes: Vec<u8>, now: i64, luck: &mut Seeded) {
        self.sent = number;
        let index = self.next_index;
        self.next_index += 1;
        self.unacked.push(Unacked { index, number, bytes, sent_at: now });
        self.fly(index, now, luck);
    }

    fn fly(&mut self, index: u64, now: i64, luck: &mut Seeded) {
        let Some(frame) = self.unacked.iter_mut().find(|frame| frame.index == index) else { return };
        frame.sent_at = now;
        let (number, bytes) = (frame.number, frame.bytes.clone());
        let copies = match luck.below(10) {
            0 | 1 => 0,
            2 => 2,
            _ => 1,
        };
        self.lost += u64::from(copies == 0);
        self.doubled += u64::from(copies == 2);
        for _ in 0..copies {
            let delay = 1 + i64::try_from(luck.below(80)).unwrap();
            self.flying.push((now + delay, self.connection, index, number, bytes.clone()));
        }
    }

    /// Sends again what has waited too long.
    pub fn resend(&mut self, now: i64, luck: &mut Seeded) {
        let late: Vec<u64> = self.unacked.iter().filter(|f| now - f.sent_at > RESEND).map(|f| f.index).collect();
        for index in late {
            self.fly(index, now, luck);
        }
    }

    /// The frames that have arrived and are next in order.
    pub fn arrived(&mut self, now: i64, luck: &mut Seeded) -> Vec<(u64, Vec<u8>)> {
        let (here, later) = std::mem::take(&mut self.flying).into_iter().partition(|datagram| datagram.0 <= now);
        self.flying = later;
        let here: Vec<(i64, u64, u64, u64, Vec<u8>)> = here;
        for (_, connection, index, number, bytes) in here {
            if connection == self.connection && index >= self.expected {
                self.early.insert(index, (number, bytes));
            } else if connection == self.connection && self.taken > 0 {
                // Seen before: the word that it came must have been lost.
                self.acknowledge(self.taken, now, luck);
            }
        }
        let mut frames = Vec::new();
        while let Some(frame) = self.early.remove(&self.expected) {
            self.expected += 1;
            frames.push(frame);
        }
        frames
    }

    /// The receiver has everything up to this number durable and says so; the word may be lost.
    pub fn acknowledge(&mut self, number: u64, now: i64, luck: &mut Seeded) {
        self.taken = number;
        if luck.below(5) > 0 {
            self.acks.push((now + 1 + i64::try_from(luck.below(40)).unwrap(), number));
        }
    }

    /// The newest acknowledgement that has come back.
    pub fn acked(&mut self, now: i64) -> Option<u64> {
        let newest = self.acks.iter().filter(|(at, _)| *at <= now).map(|(_, number)| *number).max()?;
        self.acks.retain(|(at, _)| *at > now);
        // What the receiver had from an earlier connection is delivered all the same: the stream has no holes.
        let expected = self.expected;
        self.unacked.retain(|frame| frame.number > newest || frame.index >= expected);
        self.acked = self.acked.max(newest);
        Some(newest)
    }
}
