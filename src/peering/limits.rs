//! Every limit of a link, with its reason. Source: docs/spec/federation.md sections 1 and 3.

use std::time::Duration;

/// The application protocol in the TLS handshake.
pub(super) const ALPN: &[u8] = b"asp-cell/1";
/// What follows the cell id in the SNI; the name is never looked up (RFC 2606).
pub(super) const SNI_SUFFIX: &str = ".asp.invalid";

/// Sent when nothing else is, so that a dead peer is noticed.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Three keep-alives may be lost before a link counts as dead.
pub(super) const IDLE: Duration = Duration::from_secs(20);
/// First guess of the round trip: lost handshake packets are sent again after 300 ms and not after a second.
pub(super) const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Each side opens one stream to the other, for the life of the link.
pub(super) const STREAMS: u8 = 1;
/// Bytes on the way on that stream: the longest frame.
pub(super) const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes on the way on a connection.
pub(super) const CONNECTION_WINDOW: u32 = 2 << 20;

/// Handshakes that wait to be looked at; more are refused.
pub(super) const MAX_INCOMING: usize = 256;
/// Bytes kept for one of them, and for all.
pub(super) const INCOMING_BUFFER: u64 = 16 << 10;
/// See [`INCOMING_BUFFER`].
pub(super) const INCOMING_BUFFER_ALL: u64 = 4 << 20;
/// Handshakes under way at once.
pub(super) const HANDSHAKES: usize = 64;
/// With this many under way a newcomer must first show that its address is its own (Retry).
pub(super) const HANDSHAKES_UNVALIDATED: usize = 16;
/// Accepted connections of one peer that have not said hello yet.
pub(super) const GREETINGS: usize = 2;
/// Certificates in a chain: leaf and intermediates.
pub(super) const CHAIN: usize = 4;

/// From the first packet to the end of the TLS handshake; a new dial probes sooner than an old one's next packet.
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// From there until both have said hello.
pub(super) const GREETING_TIME: Duration = Duration::from_secs(5);
/// Waited for a refusal to arrive before the connection is closed.
pub(super) const FAREWELL_TIME: Duration = Duration::from_secs(1);
/// Both clocks, as each hello shows them, may differ by this much.
pub(super) const MAX_SKEW_MILLIS: i64 = 60_000;

/// Unacknowledged bytes on the way to a peer.
pub(super) const WINDOW: usize = 2 << 20;
/// Counted on top of each frame, so that empty ones are bounded too.
pub(super) const FRAME_OVERHEAD: usize = 64;
/// Frames handed to the engine at once: one group commit.
pub(super) const BATCH_FRAMES: usize = 256;
/// Bytes handed to the engine at once; the frame that reaches it still goes along.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// Frames on the way and none acknowledged for so long: the link is closed and tried anew.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// What goes before the outbox must be taken in this time, or the link is closed: with the dial before it, less than the
/// 5 s of docs/spec/federation.md section 2.
pub(super) const URGENT: Duration = Duration::from_secs(4);
/// How often a link looks whether a certificate has ended: at most this late.
pub(super) const EXPIRY_CHECK: Duration = Duration::from_secs(1);
/// How often the certificate files are looked at.
pub(super) const RELOAD_CHECK: Duration = Duration::from_secs(1);

/// First and longest wait before a peer that is away is dialled again. The longest is short: a dial costs a few
/// packets, and a healed link should not wait.
pub(super) const AWAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The same for a peer that refuses us or that we refuse: only an operator changes that, and `peer retry` is at once.
pub(super) const REFUSING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A link that stood this long was a good one: the next wait is the first again.
pub(super) const PROVEN: Duration = Duration::from_secs(1);
/// Added by the cell with the higher id when a link is lost, so that the other's dial, which would win, comes first.
pub(super) const DEFERENCE: Duration = Duration::from_millis(150);
/// The longest text of why a link ended, in bytes.
pub(super) const REASON: usize = 512;
