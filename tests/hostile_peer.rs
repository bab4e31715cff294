//! A peer with the right certificate may still send anything: it ends its own link, and costs no more than the window.
//! docs/spec/federation.md section 3 ("length-limited before allocation"), section 6 (7).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "clippy knows tests by their attribute; these serve tests"
)]

mod peering;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

use asp_cell::peering::Exchange as _;
use asp_cell::wire::link::{LinkFrame, MAX_DATA, MAX_URGENT, Payload, VERSION};
use peering::stranger::{Showing, client, endpoint, greeted};
use peering::{Authority, Cell, EU, Files, Leaf, Memory, US, disk, peer, socket, within};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rcgen::KeyPair;

/// The EU cell, whose peer is nobody but whom the tests make it.
struct Attacked {
    authority: Authority,
    cell: Cell,
    address: SocketAddr,
    _files: Files,
}

impl Attacked {
    fn start() -> Self {
        let authority = Authority::new();
        let (socket, address) = socket();
        let files = Files::new(&authority, &Leaf::of(EU));
        let nobody = "127.0.0.1:9".parse().unwrap();
        let cell = Cell::start(EU, &files, socket, vec![peer(US, nobody, authority.anchor())], &disk(1));
        Self { authority, cell, address, _files: files }
    }

    fn showing(&self) -> Showing {
        Showing::new(&self.authority, &Leaf::of(US), &KeyPair::generate().unwrap())
    }

    /// A connection with the right certificate, over which nothing is said yet.
    async fn connect(&self, endpoint: &Endpoint) -> Connection {
        let dialled = endpoint.connect_with(client(Some(&self.showing())), self.address, &format!("{EU}.asp.invalid"));
        dialled.unwrap().await.unwrap()
    }

    /// A link that is up: both have said hello.
    async fn link(&self, endpoint: &Endpoint) -> Link {
        let connection = self.connect(endpoint).await;
        let ups = self.cell.memory.ups.load(Ordering::SeqCst);
        let mut send = connection.open_uni().await.unwrap();
        let hello = Memory::new(US, &disk(2)).hello(&EU.parse().unwrap()).await;
        // Each link is another process, so that it takes the place of the one before.
        let process = rand();
        write(&mut send, &LinkFrame::Hello { process, hello: Box::new(hello) }).await;
        let mut receive = connection.accept_uni().await.unwrap();
        assert!(matches!(read(&mut receive).await, LinkFrame::Hello { .. }));
        within(Duration::from_secs(5), "the link is up", || self.cell.memory.ups.load(Ordering::SeqCst) > ups).await;
        Link { connection, send, receive }
    }
}

struct Link {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
}

fn rand() -> [u8; 16] {
    *uuid::Uuid::new_v4().as_bytes()
}

fn bytes_of(frame: &LinkFrame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.append(&mut bytes).unwrap();
    bytes
}

async fn write(send: &mut SendStream, frame: &LinkFrame) {
    send.write_all(&bytes_of(frame)).await.unwrap();
}

async fn read(receive: &mut RecvStream) -> LinkFrame {
    let mut length = [0; 4];
    receive.read_exact(&mut length).await.unwrap();
    let mut bytes = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    receive.read_exact(&mut bytes).await.unwrap();
    LinkFrame::read(&bytes).unwrap()
}

async fn closed(connection: &Connection) -> String {
    tokio::time::timeout(Duration::from_secs(5), connection.closed()).await.expect("the cell closes").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_hello_end_the_connection() {
    let attacked = Attacked::start();
    let (endpoint, showing) = (endpoint(), attacked.showing());
    for (bytes, reason) in [
        (&[0xff, 0xff, 0xff, 0xff, 1][..], "a frame of 4294967295 bytes"),
        (&[0, 1, 0, 1, 1], "a frame of 65537 bytes"),
        (&[0, 0, 0, 0], "an empty frame"),
        (&[0, 0, 0, 2, 9, 0], "frame version 9"),
        (&[0, 0, 0, 3, VERSION, 2, 5], "the first frame of a link must be a hello"),
        (&[0, 0, 0, 2, VERSION, 77], "not a frame of version 2"),
    ] {
        let connection = greeted(&endpoint, client(Some(&showing)), attacked.address).await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let said = closed(&connection).await;
        assert!(said.contains(reason), "{bytes:?}: {said}");
    }
    // One stream each way is all there is.
    let connection = greeted(&endpoint, client(Some(&showing)), attacked.address).await.unwrap();
    let _only = connection.open_uni().await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(300), connection.open_uni()).await;
    let other = tokio::time::timeout(Duration::from_millis(300), connection.open_bi()).await;
    assert!(second.is_err() && other.is_err());
    assert!(connection.send_datagram(vec![0].into()).is_err());
    assert!(!attacked.cell.memory.reached());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_out_of_place_end_the_link() {
    let attacked = Attacked::start();
    let endpoint = endpoint();
    let hello = Memory::new(US, &disk(2)).hello(&EU.parse().unwrap()).await;
    let data = |number| bytes_of(&LinkFrame::data(number, b"x".to_vec()));
    for (bytes, reason) in [
        (vec![0x7f, 0xff, 0xff, 0xff], "a frame of 2147483647 bytes"),
        (vec![0, 0x10, 0, 1], "a frame of 1048577 bytes"),
        (vec![0, 0, 0, 1, VERSION], "not a frame of version 2"),
        ([data(1), data(1)].concat(), "numbers must rise"),
        (data(0), "numbers must rise"),
        (bytes_of(&LinkFrame::Ack { upto: 1 }), "the last one sent is 0"),
        (bytes_of(&LinkFrame::Ack { upto: u64::MAX }), "the last one sent is 0"),
        (bytes_of(&LinkFrame::Hello { process: rand(), hello: Box::new(hello.clone()) }), "a second hello"),
        (
            bytes_of(&LinkFrame::Urgent { key: [1; 16], bytes: Payload(vec![1]) }).repeat(MAX_URGENT * 4),
            "urgent frames",
        ),
    ] {
        let mut link = attacked.link(&endpoint).await;
        link.send.write_all(&bytes).await.unwrap();
        let said = closed(&link.connection).await;
        assert!(said.contains(reason), "{reason}: {said}");
    }
    within(Duration::from_secs(5), "every link is down", || attacked.cell.memory.links() == 0).await;
}

/// F25: a peer that takes everything and acknowledges nothing gets one window, and holds nobody up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_acknowledges_gets_one_window() {
    let attacked = Attacked::start();
    let endpoint = endpoint();
    let mut link = attacked.link(&endpoint).await;
    for _ in 0..8 {
        attacked.cell.memory.queue(vec![0; MAX_DATA / 2]);
    }
    let mut got = Vec::new();
    while let Ok(frame) = tokio::time::timeout(Duration::from_secs(1), read(&mut link.receive)).await {
        got.push(frame);
    }
    assert_eq!(got.len(), 3, "four and their overhead are more than the window");
    // Its own frames are served all the same.
    write(&mut link.send, &LinkFrame::data(1, b"still here".to_vec())).await;
    assert_eq!(read(&mut link.receive).await, LinkFrame::Ack { upto: 1 });
    assert_eq!(attacked.cell.memory.applied(), [b"still here"]);
    // One acknowledgement, and the next frame comes.
    write(&mut link.send, &LinkFrame::Ack { upto: 1 }).await;
    assert!(matches!(read(&mut link.receive).await, LinkFrame::Data { number: 4, .. }));
}

/// A peer that says nothing more in the middle of a frame costs what it sent, and the link stays usable the other way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_frame_is_waited_for_without_harm() {
    let attacked = Attacked::start();
    let endpoint = endpoint();
    let mut link = attacked.link(&endpoint).await;
    let whole = bytes_of(&LinkFrame::data(1, vec![7; 1000]));
    link.send.write_all(&whole[..500]).await.unwrap();
    attacked.cell.memory.queue(b"meanwhile".to_vec());
    assert!(matches!(read(&mut link.receive).await, LinkFrame::Data { number: 1, .. }));
    assert!(attacked.cell.memory.applied().is_empty());
    link.send.write_all(&whole[500..]).await.unwrap();
    within(Duration::from_secs(5), "the frame is applied", || attacked.cell.memory.applied() == [vec![7; 1000]]).await;
}

/// T46: first packets of thousands of handshakes that nobody goes on with leave room for a peer that does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_first_packets_keeps_no_peer_out() {
    let attacked = Attacked::start();
    let (endpoint, showing) = (endpoint(), attacked.showing());
    let firsts = first_packets(&endpoint, &showing, 400).await;
    let source = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..3 {
        for packet in &firsts {
            source.send_to(packet, attacked.address).unwrap();
        }
        let began = std::time::Instant::now();
        let greeted = greeted(&endpoint, client(Some(&showing)), attacked.address).await;
        assert!(greeted.is_ok() && began.elapsed() < Duration::from_secs(3), "{greeted:?} in {:?}", began.elapsed());
    }
}

/// The first packets of that many dials, caught before they reach anybody.
async fn first_packets(endpoint: &Endpoint, showing: &Showing, count: usize) -> Vec<Vec<u8>> {
    let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = sink.local_addr().unwrap();
    let mut packets = Vec::new();
    let mut buffer = [0; 2048];
    while packets.len() < count {
        let dial = endpoint.connect_with(client(Some(showing)), to, &format!("{EU}.asp.invalid")).unwrap();
        let (length, _) = sink.recv_from(&mut buffer).await.unwrap();
        packets.push(buffer[..length].to_vec());
        drop(dial);
    }
    packets
}

/// Whatever bytes come after the hello, the cell lives and takes the next link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_ends_links_and_nothing_else() {
    let attacked = Attacked::start();
    let endpoint = endpoint();
    for round in 0..20_u8 {
        let mut link = attacked.link(&endpoint).await;
        let noise: Vec<u8> = (0..64).flat_map(|_| rand()).collect();
        let framed = [
            &u32::try_from(noise.len()).unwrap().to_be_bytes()[..],
            &[asp_cell::wire::link::VERSION, round % 5],
            &noise,
        ]
        .concat();
        link.send.write_all(if round % 2 == 0 { &noise } else { &framed }).await.unwrap();
        drop(link);
    }
    attacked.link(&endpoint).await;
    assert!(attacked.cell.memory.applied().is_empty());
}
