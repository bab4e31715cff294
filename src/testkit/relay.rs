//! A UDP relay with weather: it delays, drops, duplicates and reorders datagrams, and cuts the line, from a seed.
//!
//! Cells speak QUIC over UDP, so a relay between two of them stands for any bad network, without privileges and on any
//! system. Each direction draws the fates of its datagrams from a generator of its own: the n-th datagram that way
//! meets the same fate in every run with the same seed, whatever happens the other way.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use asp_cell::testkit::relay::{Relay, Weather};
//! let relay = Relay::start("127.0.0.1:7444".parse().unwrap(), Weather::rough(), 7).await?;
//! // Give `relay.address()` to the other cell as this one's address.
//! relay.cut();
//! relay.restore();
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Sources a relay remembers; datagrams of more are dropped.
const SOURCES: usize = 64;
/// Datagrams under way in a relay; more are dropped, as by a router whose queue is full.
const QUEUE: usize = 4096;
/// The longest datagram of UDP.
const DATAGRAM: usize = 65_535;

/// What happens to datagrams; probabilities from 0 to 1, drawn for each datagram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// Lost.
    pub drop: f64,
    /// Delivered twice, the copy with a delay of its own.
    pub duplicate: f64,
    /// Held back by up to [`Weather::hold`], so that later ones overtake it.
    pub reorder: f64,
    /// The longest such hold.
    pub hold: Duration,
    /// Every datagram takes at least this long,
    pub delay: Duration,
    /// and up to this much longer.
    pub jitter: Duration,
}

impl Weather {
    /// Nothing happens.
    #[must_use]
    pub const fn clear() -> Self {
        let none = Duration::ZERO;
        Self { drop: 0.0, duplicate: 0.0, reorder: 0.0, hold: none, delay: none, jitter: none }
    }

    /// A bad mobile network: 10 % lost, 5 % twice, 10 % overtaken, 5 to 20 ms.
    #[must_use]
    pub const fn rough() -> Self {
        Self {
            drop: 0.10,
            duplicate: 0.05,
            reorder: 0.10,
            hold: Duration::from_millis(30),
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(15),
        }
    }

    /// The same, with this share lost.
    #[must_use]
    pub const fn losing(self, drop: f64) -> Self {
        Self { drop, ..self }
    }
}

/// A way through a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whoever sends to the relay, to its target.
    Forth,
    /// From the target back.
    Back,
}

/// How many datagrams met which fate, both ways together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Sent on, copies included.
    pub delivered: u64,
    /// Lost to the weather, a cut or a full queue.
    pub dropped: u64,
    /// Sent on a second time.
    pub duplicated: u64,
}

/// A relay in front of one address. It ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    line: Arc<Line>,
    _ends: DropGuard,
}

/// What every task of a relay shares.
#[derive(Debug)]
struct Line {
    target: Mutex<SocketAddr>,
    forth: Mutex<Way>,
    back: Mutex<Way>,
    queue: Arc<Semaphore>,
    delivered: AtomicU64,
    dropped: AtomicU64,
    duplicated: AtomicU64,
}

/// One direction: its weather, and the generator of its fates.
#[derive(Debug)]
struct Way {
    weather: Weather,
    cut: bool,
    random: u64,
}

impl Relay {
    /// Starts a relay on a free loopback port in front of `target`.
    pub async fn start(target: SocketAddr, weather: Weather, seed: u64) -> io::Result<Self> {
        let front = Arc::new(UdpSocket::bind(loopback(target)).await?);
        let way = |random| Mutex::new(Way { weather, cut: false, random });
        let line = Arc::new(Line {
            target: Mutex::new(target),
            forth: way(seed),
            back: way(!seed),
            queue: Arc::new(Semaphore::new(QUEUE)),
            delivered: AtomicU64::default(),
            dropped: AtomicU64::default(),
            duplicated: AtomicU64::default(),
        });
        let stop = CancellationToken::new();
        let address = front.local_addr()?;
        tokio::spawn(stop.clone().run_until_cancelled_owned(forth(front, Arc::clone(&line), stop.clone())));
        Ok(Self { address, line, _ends: stop.drop_guard() })
    }

    /// Where to send what the target should get.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather of both directions.
    pub fn set_weather(&self, weather: Weather) {
        for way in [&self.line.forth, &self.line.back] {
            locked(way).weather = weather;
        }
    }

    /// Cuts the line both ways: every datagram is lost, nobody is told.
    pub fn cut(&self) {
        self.cut_way(Direction::Forth);
        self.cut_way(Direction::Back);
    }

    /// Cuts the line one way.
    pub fn cut_way(&self, direction: Direction) {
        locked(self.line.way(direction)).cut = true;
    }

    /// Joins the line again, both ways.
    pub fn restore(&self) {
        for way in [&self.line.forth, &self.line.back] {
            locked(way).cut = false;
        }
    }

    /// Sends to another target from now on: the other cell came back at another port.
    pub fn retarget(&self, target: SocketAddr) {
        *locked(&self.line.target) = target;
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            delivered: self.line.delivered.load(Ordering::Relaxed),
            dropped: self.line.dropped.load(Ordering::Relaxed),
            duplicated: self.line.duplicated.load(Ordering::Relaxed),
        }
    }
}

/// Takes what is sent to the relay; each source gets a socket of its own towards the target, as behind a NAT.
async fn forth(front: Arc<UdpSocket>, line: Arc<Line>, stop: CancellationToken) {
    let mut sources: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An ICMP error of an earlier datagram shows up here; the line goes on.
        let Ok((length, source)) = front.recv_from(&mut buffer).await else { continue };
        let target = *locked(&line.target);
        let socket = match sources.get(&source) {
            Some(socket) => Arc::clone(socket),
            None if sources.len() >= SOURCES => continue,
            None => {
                let Ok(socket) = UdpSocket::bind(loopback(target)).await else { continue };
                let socket = Arc::new(socket);
                let returning = back(Arc::clone(&socket), Arc::clone(&front), source, Arc::clone(&line));
                tokio::spawn(stop.clone().run_until_cancelled_owned(returning));
                sources.insert(source, Arc::clone(&socket));
                socket
            }
        };
        line.carry(Direction::Forth, buffer.get(..length).unwrap_or_default(), &socket, target);
    }
}

/// Takes what the target answers to one source.
async fn back(socket: Arc<UdpSocket>, front: Arc<UdpSocket>, source: SocketAddr, line: Arc<Line>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Ok((length, _)) = socket.recv_from(&mut buffer).await else { continue };
        line.carry(Direction::Back, buffer.get(..length).unwrap_or_default(), &front, source);
    }
}

impl Line {
    const fn way(&self, direction: Direction) -> &Mutex<Way> {
        match direction {
            Direction::Forth => &self.forth,
            Direction::Back => &self.back,
        }
    }

    /// Draws the fate of a datagram and sends its copies on their way.
    fn carry(&self, direction: Direction, datagram: &[u8], socket: &Arc<UdpSocket>, to: SocketAddr) {
        let copies = locked(self.way(direction)).fate();
        match copies[..] {
            [] => count(&self.dropped),
            [_] => {}
            _ => count(&self.duplicated),
        }
        for delay in copies {
            let Ok(place) = Arc::clone(&self.queue).try_acquire_owned() else {
                count(&self.dropped);
                continue;
            };
            count(&self.delivered);
            let (socket, datagram) = (Arc::clone(socket), datagram.to_vec());
            tokio::spawn(async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                // A target that is gone is what the weather can do, too.
                let _ = socket.send_to(&datagram, to).await;
                drop(place);
            });
        }
    }
}

impl Way {
    /// The delays of the copies of the next datagram; none: it is lost. Draws the same number of times for each.
    fn fate(&mut self) -> Vec<Duration> {
        let weather = self.weather;
        let (lost, twice) = (self.chance(weather.drop), self.chance(weather.duplicate));
        let delays = [self.delay(weather), self.delay(weather)];
        let copies = match (lost || self.cut, twice) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        delays.into_iter().take(copies).collect()
    }

    fn delay(&mut self, weather: Weather) -> Duration {
        let jitter = weather.jitter.mul_f64(self.unit());
        let overtaken = self.chance(weather.reorder);
        let hold = weather.hold.mul_f64(self.unit());
        weather.delay + jitter + if overtaken { hold } else { Duration::ZERO }
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number in [0, 1).
    fn unit(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or_default();
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    /// `SplitMix64` (Steele, Lea, Flood 2014): small, and good enough for weather.
    const fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A free loopback port of the same family.
const fn loopback(target: SocketAddr) -> SocketAddr {
    match target {
        SocketAddr::V4(_) => SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        SocketAddr::V6(_) => SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(weather: Weather, seed: u64) -> Way {
        Way { weather, cut: false, random: seed }
    }

    #[test]
    fn the_same_seed_gives_the_same_weather() {
        let fates = |seed| {
            let mut way = way(Weather::rough(), seed);
            (0..1000).map(|_| way.fate()).collect::<Vec<_>>()
        };
        assert_eq!(fates(1), fates(1));
        assert_ne!(fates(1), fates(2));
        let lost = fates(1).iter().filter(|copies| copies.is_empty()).count();
        let twice = fates(1).iter().filter(|copies| copies.len() == 2).count();
        assert!((60..140).contains(&lost) && (20..80).contains(&twice), "{lost} lost, {twice} twice of 1000");
    }

    /// A cut changes no later fate: the draws go on.
    #[test]
    fn a_cut_loses_everything_and_moves_nothing() {
        let (mut cut, mut whole) = (way(Weather::rough(), 5), way(Weather::rough(), 5));
        cut.cut = true;
        for _ in 0..10 {
            assert!(cut.fate().is_empty());
            whole.fate();
        }
        cut.cut = false;
        assert!((0..50).all(|_| cut.fate() == whole.fate()));
    }

    #[tokio::test]
    async fn datagrams_cross_both_ways_and_a_cut_stops_them() {
        let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::start(target.local_addr().unwrap(), Weather::clear(), 1).await.unwrap();
        let source = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        source.send_to(b"ping", relay.address()).await.unwrap();
        let mut buffer = [0; 16];
        let (length, from) = target.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"ping");
        target.send_to(b"pong", from).await.unwrap();
        let (length, from) = source.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (&b"pong"[..], relay.address()));
        relay.cut_way(Direction::Forth);
        source.send_to(b"lost", relay.address()).await.unwrap();
        let silence = tokio::time::timeout(Duration::from_millis(100), target.recv_from(&mut buffer)).await;
        assert!(silence.is_err());
        relay.restore();
        source.send_to(b"back", relay.address()).await.unwrap();
        target.recv_from(&mut buffer).await.unwrap();
        assert_eq!(relay.counts(), Counts { delivered: 3, dropped: 1, duplicated: 0 });
    }
}
