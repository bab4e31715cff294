//! Who calls: the proof of a request, or of the one message that the header `DPoP` proves.
//!
//! Source: docs/spec/details.md section 1 "Checking a proof" and "Order and retries".

use super::call::Call;
use crate::crypto::digest::Digest;
use crate::engine::request::{Caller, Spent};
use crate::protocol::ids::SessionId;
use crate::protocol::proof::{self, Proven};
use crate::protocol::refusal::Refusal;
use crate::protocol::url::Target;

/// What a proof is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A request, reading or writing.
    Request,
    /// A message: it carries `asp_hash`.
    Message,
    /// A registration under the enrolment key with this SHA-256.
    Registration(Digest),
}

/// The one proof in the header; an empty text if there is none.
pub fn header(call: &Call) -> Result<&str, Refusal> {
    let mut values = call.headers.get_all("dpop").iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(""),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(Refusal::proof("not_compact_jws", "send one DPoP header, not several")),
    };
    value.to_str().map_err(|_| Refusal::proof("not_compact_jws", "the DPoP header must be ASCII"))
}

/// What proofs of one call are checked against; owned, so that arrays can be checked on other threads.
#[derive(Debug, Clone)]
pub struct Check {
    methods: &'static [&'static str],
    target: Target,
    at: crate::protocol::time::Timestamp,
    nonces: Option<[String; 2]>,
}

impl Check {
    /// For the proofs of `call`, now.
    pub fn of(call: &Call) -> Self {
        let handle = call.handle();
        let at = handle.now();
        let methods: &[&str] = match call.method.as_str() {
            "GET" => &["GET"],
            // HEAD is as GET, so a proof for either shows who asks.
            "HEAD" => &["HEAD", "GET"],
            _ => &["POST"],
        };
        let nonces = call.shell.nonces.as_ref().map(|nonces| nonces.taken(at));
        Self { methods, target: Target::whole(&handle.public_url(), &call.path), at, nonces }
    }

    /// When the proofs are checked: `admittedAt` of the messages they prove.
    pub const fn at(&self) -> crate::protocol::time::Timestamp {
        self.at
    }

    /// Checks one proof.
    pub fn check(&self, text: &str, purpose: Purpose) -> Result<Proven, Refusal> {
        let nonces = self.nonces.as_ref().map(|nonces| nonces.each_ref().map(String::as_str));
        let mut outcome = Err(Refusal::proof("htm", "no method"));
        for htm in self.methods {
            outcome = proof::check(
                text,
                &proof::Call {
                    htm,
                    target: &self.target,
                    at: self.at,
                    ath: match purpose {
                        Purpose::Registration(ath) => Some(ath),
                        Purpose::Request | Purpose::Message => None,
                    },
                    nonces: nonces.as_ref().map(<[&str; 2]>::as_slice),
                    message: purpose == Purpose::Message,
                },
            );
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

/// What a proof spends.
pub fn spent(proven: &Proven) -> Spent {
    Spent { key: proven.replay_key(), issued_at: proven.issued_at() }
}

/// The caller of a reading request; its proof is spent.
pub fn reader(call: &Call) -> Result<Caller, Refusal> {
    let proven = Check::of(call).check(header(call)?, Purpose::Request)?;
    let caller = call.handle().caller(proven.thumbprint())?;
    call.handle().spend(spent(&proven))?;
    Ok(caller)
}

/// The caller of a reading request within the session of the path. A stranger is told so before a replay is, but its
/// proof is spent either way.
pub fn participant(call: &Call) -> Result<(Caller, SessionId), Refusal> {
    let proven = Check::of(call).check(header(call)?, Purpose::Request)?;
    let caller = call.handle().caller(proven.thumbprint())?;
    let session = call.session();
    let seat = call.handle().seat(&caller, session);
    let fresh = call.handle().spend(spent(&proven));
    seat?;
    fresh?;
    Ok((caller, session))
}
