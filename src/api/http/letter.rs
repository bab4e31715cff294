//! Signed writing: the proofs of a request with messages, checked and bound to what they prove.
//!
//! One message may be proven by the header `DPoP`, which then carries `asp_hash`; with a member `proof`, and for an
//! array, the header is an ordinary request proof beside the messages' own. Source: docs/spec/details.md section 1
//! "What is signed" and "Order and retries".

use super::call::Call;
use super::proof::{self, Check, Purpose, spent};
use crate::crypto::digest::Digest;
use crate::engine::request::{Caller, Noting, Spent, Submission};
use crate::protocol::beside::Beside;
use crate::protocol::message::Message;
use crate::protocol::proof::Proven;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Timestamp;
use crate::wire::parts::Committed;

/// Proofs that one blocking task checks: about a millisecond of work.
const PROOFS_A_TASK: usize = 16;

/// A message, ready for its proof.
pub struct Writing {
    /// The message.
    pub message: Message,
    /// SHA-256 of its salt.
    pub salt: Option<Digest>,
}

/// The proofs of one request, all by the caller's current key.
pub struct Letters {
    /// Who sends.
    pub caller: Caller,
    /// What the header spends, if it proves the request and no message.
    request: Option<Spent>,
    messages: Vec<Proven>,
    array: bool,
    at: Timestamp,
}

impl Letters {
    /// The proofs of a request with one message: `own` is its member `proof`.
    pub async fn one(call: &Call, own: Option<String>) -> Result<Self, Refusal> {
        if let Some(own) = own {
            return Self::check(call, vec![own], false).await;
        }
        let check = Check::of(call);
        let proven = check.check(proof::header(call)?, Purpose::Message)?;
        let caller = call.handle().caller(proven.thumbprint())?;
        Ok(Self { caller, request: None, messages: vec![proven], array: false, at: check.at() })
    }

    /// The proofs of a request with an array of messages.
    pub async fn many(call: &Call, own: Vec<String>) -> Result<Self, Refusal> {
        Self::check(call, own, true).await
    }

    async fn check(call: &Call, own: Vec<String>, array: bool) -> Result<Self, Refusal> {
        let check = Check::of(call);
        let header = check.check(proof::header(call)?, Purpose::Request)?;
        let messages = check_all(&check, own, array).await?;
        let caller = call.handle().caller(header.thumbprint())?;
        let foreign = messages.iter().position(|proven| proven.thumbprint() != caller.thumbprint);
        if let Some(index) = foreign {
            let detail = "a message is proven by the key that proves its request";
            return Err(Refusal::new(Code::Unauthorized, detail).at(place(index, array)));
        }
        Ok(Self { caller, request: Some(spent(&header)), messages, array, at: check.at() })
    }

    /// Passes on what was found out for the request; if that is a refusal, its proofs are spent all the same.
    pub fn keep<T>(&self, call: &Call, found: Result<T, Refusal>) -> Result<T, Refusal> {
        found.inspect_err(|_| self.spend(call))
    }

    fn spend(&self, call: &Call) {
        for mark in self.request.into_iter().chain(self.messages.iter().map(spent)) {
            // The request is refused for another reason already; whether this was a replay too changes nothing.
            let _ = call.handle().spend(mark);
        }
    }

    /// Binds the one message to its proof.
    pub fn bind_one(self, call: &Call, writing: Writing) -> Result<Submission, Refusal> {
        let bound = self.bind(call, vec![writing])?.pop();
        bound.ok_or_else(|| Refusal::new(Code::Unspecified, "a message without a proof"))
    }

    /// Binds each message to its proof; `hash_mismatch` for the first that is not the one proven.
    pub fn bind(self, call: &Call, writings: Vec<Writing>) -> Result<Vec<Submission>, Refusal> {
        let mut submissions = Vec::with_capacity(writings.len());
        for (index, (writing, proven)) in writings.into_iter().zip(&self.messages).enumerate() {
            let signed = proven.clone().bind(writing.message, self.at);
            let signed = self.keep(call, signed.map_err(|refusal| self.moved(refusal, index)))?;
            let (caller, spent) = (self.caller.clone(), spent(proven));
            submissions.push(Submission { caller, signed, spent, salt: writing.salt });
        }
        // A request proof that was seen before admits nothing new, but what is recorded gets its first answer. The
        // engine looks for that before it looks at what a message spends, so it is given the spent mark.
        if let Some(request) = self.request.filter(|request| call.handle().spend(*request).is_err()) {
            for submission in &mut submissions {
                submission.spent = request;
            }
        }
        Ok(submissions)
    }

    /// Binds what is said beside the chain to its proof.
    pub fn bind_beside(self, call: &Call, said: Beside, committed: Committed) -> Result<Noting, Refusal> {
        let proven = self.messages.first().ok_or_else(|| Refusal::new(Code::Unspecified, "nothing without a proof"))?;
        let vouched = self.keep(call, proven.clone().vouch(said, self.at))?;
        // As for messages: a request proof that was seen before admits nothing new.
        let replayed = self.request.filter(|request| call.handle().spend(*request).is_err());
        let spent = replayed.unwrap_or_else(|| spent(proven));
        Ok(Noting { caller: self.caller.clone(), vouched, parts: committed.parts, spent, salt: committed.salt })
    }

    fn moved(&self, refusal: Refusal, index: usize) -> Refusal {
        if self.array { refusal.at(format!("/{index}")) } else { refusal }
    }
}

/// Where the proof stands in the body.
fn place(index: usize, array: bool) -> String {
    if array { format!("/{index}/proof") } else { "/proof".to_owned() }
}

/// Checks messages' own proofs, many of them on several threads; the first failure in their order counts.
async fn check_all(check: &Check, texts: Vec<String>, array: bool) -> Result<Vec<Proven>, Refusal> {
    let checked = |check: &Check, texts: &[String]| -> Vec<Result<Proven, Refusal>> {
        texts.iter().map(|text| check.check(text, Purpose::Message)).collect()
    };
    let outcomes = if texts.len() <= PROOFS_A_TASK {
        checked(check, &texts)
    } else {
        let tasks = texts.chunks(PROOFS_A_TASK).map(|chunk| {
            let (check, chunk) = (check.clone(), chunk.to_vec());
            tokio::task::spawn_blocking(move || checked(&check, &chunk))
        });
        let mut outcomes = Vec::with_capacity(texts.len());
        for task in tasks.collect::<Vec<_>>() {
            outcomes.extend(task.await.map_err(|_| Refusal::new(Code::Unspecified, "checking proofs failed"))?);
        }
        outcomes
    };
    let placed =
        |(index, outcome): (usize, Result<Proven, Refusal>)| outcome.map_err(|refusal| refusal.at(place(index, array)));
    outcomes.into_iter().enumerate().map(placed).collect()
}
