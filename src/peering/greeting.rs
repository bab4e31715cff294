//! From a TLS connection to a greeted one: the certificate is checked against the very peer the connection is for,
//! both sides say hello, and the hello is judged.
//!
//! A dialler's handshake succeeds before the other side has seen its certificate, so only the hello that comes back
//! shows that it was accepted. Source: docs/spec/federation.md section 3, docs/spec/details.md section 9.

use std::time::Instant;

use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, SendStream};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::json;

use super::certificate::{self, End};
use super::ending::Ending;
use super::exchange::Exchange;
use super::frames::FrameReader;
use super::limits::{ALPN, FAREWELL_TIME, GREETING_TIME, MAX_SKEW_MILLIS};
use super::peer::Peer;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::{Span, Timestamp};
use crate::wire::link::{Hello, LinkFrame, MAX_GREETING, VERSION};

/// A connection after the TLS handshake.
#[derive(Debug)]
pub(super) struct Fresh {
    pub connection: Connection,
    /// Whether this cell dialled it.
    pub dialled: bool,
    /// When the certificate ends that this cell showed.
    pub own_until: Timestamp,
}

/// A connection over which both cells have said hello.
#[derive(Debug)]
pub(super) struct Greeted {
    pub connection: Connection,
    pub dialled: bool,
    /// When the first of the two certificates ends.
    pub until: Timestamp,
    pub send: SendStream,
    pub frames: FrameReader,
    /// The peer's process and what it said.
    pub process: [u8; 16],
    pub hello: Hello,
    /// The outbox this cell said it sends from.
    pub own_stream: [u8; 16],
}

/// Checks the certificate and exchanges hellos, in [`GREETING_TIME`]; a connection that fails is closed.
pub(super) async fn greet<E: Exchange>(
    fresh: Fresh,
    peer: &Peer,
    exchange: &E,
    process: [u8; 16],
) -> Result<Greeted, Ending> {
    let connection = fresh.connection.clone();
    let greeted = tokio::time::timeout(GREETING_TIME, exchange_hellos(fresh, peer, exchange, process)).await;
    let greeted = greeted.unwrap_or_else(|_| Err(Ending::down("the peer did not say hello in time")));
    if let Err(ending) = &greeted {
        connection.close(ending.close.code(), ending.reason.as_bytes());
    }
    greeted
}

async fn exchange_hellos<E: Exchange>(
    fresh: Fresh,
    peer: &Peer,
    exchange: &E,
    process: [u8; 16],
) -> Result<Greeted, Ending> {
    let Fresh { connection, dialled, own_until } = fresh;
    let until = certified_until(&connection, peer, dialled)?.min(own_until);
    let own = exchange.hello(&peer.cell).await;
    let (own_stream, said) = (own.stream, (own.clock, Instant::now()));
    let mut send = connection.open_uni().await.map_err(|error| Ending::of(&error))?;
    write(&mut send, &LinkFrame::Hello { process, hello: Box::new(own) }).await?;
    let stream = connection.accept_uni().await.map_err(|error| Ending::of(&error))?;
    let mut frames = FrameReader::new(stream);
    match hear(&mut frames, peer, said).await {
        Ok((process, hello)) => Ok(Greeted { connection, dialled, until, send, frames, process, hello, own_stream }),
        Err(ending) => {
            farewell(send, &ending).await;
            Err(ending)
        }
    }
}

/// The moment at which the peer's certificate ends, if it is the certificate of `peer` as configured now.
fn certified_until(connection: &Connection, peer: &Peer, dialled: bool) -> Result<Timestamp, Ending> {
    let handshake = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    if handshake.and_then(|data| data.protocol).as_deref() != Some(ALPN) {
        return Err(Ending::refused("the connection does not speak asp-cell/1"));
    }
    let chain = connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let end = if dialled { End::Server } else { End::Client };
    let algorithms = super::endpoint::provider().signature_verification_algorithms;
    let claim = certificate::check(&chain.unwrap_or_default(), peer, end, UnixTime::now(), &algorithms);
    claim.map(|claim| claim.not_after).map_err(|why| Ending::refused(why.to_string()))
}

async fn hear(
    frames: &mut FrameReader,
    peer: &Peer,
    (clock, at): (Timestamp, Instant),
) -> Result<([u8; 16], Hello), Ending> {
    match frames.next(MAX_GREETING).await? {
        LinkFrame::Hello { process, hello } => {
            let passed = Span(i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX));
            judge(&hello, peer, clock + passed).map_err(Ending::by)?;
            Ok((process, *hello))
        }
        LinkFrame::Data { .. }
        | LinkFrame::Ack { .. }
        | LinkFrame::Refused { .. }
        | LinkFrame::Urgent { .. }
        | LinkFrame::UrgentTaken { .. } => Err(Ending::violation("the first frame of a link must be a hello")),
    }
}

/// Whether the peer is what an operator said it is, speaks a common version, and has the right time.
fn judge(hello: &Hello, peer: &Peer, now: Timestamp) -> Result<(), Refusal> {
    if !hello.versions.contains(&VERSION) {
        let detail = format!("the peer speaks frame versions {:?}; this cell speaks {VERSION}", hello.versions);
        return Err(Refusal::new(Code::VersionUnsupported, detail).with("supported", json!([VERSION])));
    }
    let claims = [
        ("cell", hello.cell.as_str(), peer.cell.as_str()),
        ("region", hello.region.as_str(), peer.region.as_str()),
        ("zone", hello.zone.as_str(), peer.zone.as_str()),
    ];
    if let Some((what, said, known)) = claims.into_iter().find(|(_, said, known)| said != known) {
        let detail = format!("the hello of {} names {what} {said:?}; it is configured here as {known:?}", peer.cell);
        return Err(Refusal::new(Code::PolicyViolation, detail).at(format!("/{what}")));
    }
    let skew = (hello.clock - now).0;
    if skew.saturating_abs() > MAX_SKEW_MILLIS {
        let detail = format!(
            "the clock of {} is {} from ours by {}.{:03} s; at most 60 s are allowed",
            peer.cell,
            if skew > 0 { "ahead" } else { "behind" },
            skew.unsigned_abs() / 1000,
            skew.unsigned_abs() % 1000
        );
        return Err(Refusal::new(Code::PolicyViolation, detail).at("/clock").with("skewMillis", json!(skew)));
    }
    Ok(())
}

/// Writes one frame.
async fn write(send: &mut SendStream, frame: &LinkFrame) -> Result<(), Ending> {
    let mut bytes = Vec::new();
    let too_long = |length| Ending::refused(format!("the hello of this cell has {length} bytes"));
    frame.append(&mut bytes).map_err(too_long)?;
    send.write_all(&bytes).await.map_err(|error| Ending::down(error.to_string()))
}

/// Tells the peer in full why it is refused, and waits a moment for that to arrive.
pub(super) async fn farewell(mut send: SendStream, ending: &Ending) {
    let Some(refusal) = &ending.refusal else { return };
    let frame = LinkFrame::Refused { problem: crate::protocol::json::Json::of(&refusal.problem()) };
    let told = async {
        if write(&mut send, &frame).await.is_ok() && send.finish().is_ok() {
            // Either it arrived or the connection is gone.
            let _ = send.stopped().await;
        }
    };
    let _ = tokio::time::timeout(FAREWELL_TIME, told).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::Digest;
    use crate::peering::peer::Anchor;
    use crate::protocol::json::Json;

    fn peer() -> Peer {
        Peer {
            cell: "us-east-1".parse().unwrap(),
            address: "127.0.0.1:7444".into(),
            region: "us-east-1".into(),
            zone: "US".into(),
            anchor: Anchor::Spki(Digest::default()),
        }
    }

    fn hello() -> Hello {
        Hello {
            versions: vec![VERSION],
            cell: "us-east-1".parse().unwrap(),
            region: "us-east-1".into(),
            zone: "US".into(),
            public_url: "https://us.example".into(),
            jwks: Json::of(&json!({"keys": []})),
            clock: Timestamp(100_000),
            stream: [0; 16],
            expects: None,
        }
    }

    #[test]
    fn a_hello_must_be_the_configured_peers() {
        assert_eq!(judge(&hello(), &peer(), Timestamp(100_000)), Ok(()));
        for (wrong, pointer) in [
            (Hello { cell: "eu-west-1".parse().unwrap(), ..hello() }, "/cell"),
            (Hello { region: "us-west-2".into(), ..hello() }, "/region"),
            (Hello { zone: "EEA".into(), ..hello() }, "/zone"),
        ] {
            let refusal = judge(&wrong, &peer(), Timestamp(100_000)).unwrap_err();
            assert_eq!((refusal.code, refusal.pointer.as_deref()), (Code::PolicyViolation, Some(pointer)));
        }
        let newer = Hello { versions: vec![VERSION + 1, VERSION + 2], ..hello() };
        let refusal = judge(&newer, &peer(), Timestamp(100_000)).unwrap_err();
        assert_eq!((refusal.code, refusal.extras()["supported"].clone()), (Code::VersionUnsupported, json!([VERSION])));
    }

    /// docs/spec/federation.md section 3: skew over 60 s is refused with the figure.
    #[test]
    fn a_clock_more_than_sixty_seconds_off_is_refused_with_the_figure() {
        for within in [40_000, 160_000] {
            assert_eq!(judge(&hello(), &peer(), Timestamp(within)), Ok(()));
        }
        let refusal = judge(&hello(), &peer(), Timestamp(39_999)).unwrap_err();
        assert!(refusal.detail.contains("ahead from ours by 60.001 s"), "{refusal}");
        assert_eq!(refusal.extras()["skewMillis"], 60_001);
        let refusal = judge(&hello(), &peer(), Timestamp(160_001)).unwrap_err();
        assert_eq!(refusal.extras()["skewMillis"], -60_001);
        assert!(judge(&Hello { clock: Timestamp(i64::MIN), ..hello() }, &peer(), Timestamp(i64::MAX)).is_err());
    }
}
