//! TXT records of a name, asked of one resolver over UDP (RFC 1035): all that `org verify --dns` needs.
//!
//! An answer cut short by UDP is taken as far as it goes: the record sought is short.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::crypto::entropy::draw;
use crate::protocol::refusal::{Code, Refusal};
use crate::vault::entropy::OsEntropy;

/// How long one try waits, and how many there are.
const WAIT: Duration = Duration::from_secs(2);
const TRIES: u32 = 3;
/// The longest answer read.
const LONGEST: usize = 4096;

/// The TXT records of `name`, each as one text.
pub async fn texts(name: &str, resolver: Option<SocketAddr>) -> Result<Vec<String>, Refusal> {
    let resolver = resolver.or_else(system).ok_or_else(|| {
        Refusal::new(Code::PolicyViolation, "no resolver: [cell] dns_resolver is empty and /etc/resolv.conf names none")
    })?;
    for _ in 0..TRIES {
        let [high, low] = draw::<2>(&mut OsEntropy);
        let id = u16::from_be_bytes([high, low]);
        if let Ok(Ok(Some(found))) = timeout(WAIT, ask(name, resolver, id)).await {
            return found;
        }
    }
    let detail = format!("the resolver {resolver} did not answer for {name}");
    Err(Refusal::new(Code::Timeout, detail).with("resolver", json!(resolver.to_string())))
}

/// One try; `None`: what came is no answer to it.
async fn ask(name: &str, resolver: SocketAddr, id: u16) -> std::io::Result<Option<Result<Vec<String>, Refusal>>> {
    let own: SocketAddr =
        if resolver.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(resolver).await?;
    let Some(query) = query(name, id) else {
        return Ok(Some(Err(Refusal::invalid("/org", "a name that the DNS can hold"))));
    };
    socket.send(&query).await?;
    let mut answer = [0; LONGEST];
    let length = socket.recv(&mut answer).await?;
    Ok(answer.get(..length).and_then(|answer| read(answer, id, name)))
}

fn query(name: &str, id: u16) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).ok()?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::TXT), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().ok()
}

fn read(answer: &[u8], id: u16, name: &str) -> Option<Result<Vec<String>, Refusal>> {
    let packet = Packet::parse(answer).ok().filter(|packet| packet.id() == id)?;
    if packet.rcode() != RCODE::NoError && packet.rcode() != RCODE::NameError {
        let detail = format!("the resolver answers {:?} for {name}", packet.rcode());
        return Some(Err(Refusal::new(Code::PolicyViolation, detail)));
    }
    let texts = packet.answers.iter().filter_map(|record| {
        if let RData::TXT(text) = &record.rdata { String::try_from(text.clone()).ok() } else { None }
    });
    Some(Ok(texts.collect()))
}

/// The first nameserver of the system.
fn system() -> Option<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").ok()?;
    let server = text.lines().find_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())?;
    Some(SocketAddr::new(server, 53))
}
