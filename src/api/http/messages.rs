//! Messages in, records out: INVITE, answers, messages one by one or in arrays; pages and long polls.
//!
//! The first failure is the answer: size, syntax, shape, proof, session and participant, envelope hash are judged
//! here, in this order; all that follows is the engine's. Source: docs/spec/details.md section 1 "Order and retries".

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::call::{Call, reading};
use super::letter::{Letters, Writing};
use super::media::Choice;
use super::proof;
use super::reply::{Outcome, REPLAYED, Reply, problem};
use super::stream::{self, Channels};
use crate::engine::request::{Answer, Caller, Invitation};
use crate::protocol::ids::SessionId;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Span;
use crate::wire::message::Batch;
use crate::wire::request;

/// `POST /v1/asp/sessions`
pub async fn invite(call: Call) -> Outcome {
    let body = call.document()?;
    call.query(&[])?;
    let request::Invite { message, invitees, answer_within, salt, proof } = request::Invite::read(&body)?;
    call.no_authorization()?;
    let letters = Letters::one(&call, proof).await?;
    call.limited(&letters.caller, 1)?;
    let location = format!("/v1/asp/sessions/{}", message.session_id);
    let submission = letters.bind_one(&call, Writing { message, salt })?;
    let answer = call.handle().invite(Invitation { submission, invitees, answer_within }).await;
    Ok(one(answer)?.header(LOCATION, &location))
}

/// `POST …/answer`
pub async fn answer(call: Call) -> Outcome {
    let body = call.document()?;
    call.query(&[])?;
    let mut request = request::Answer::read(&body)?;
    call.no_authorization()?;
    let letters = Letters::one(&call, request.proof.take()).await?;
    call.limited(&letters.caller, 1)?;
    let session = call.session();
    let addressed = call.handle().seat(&letters.caller, session).and_then(|seat| {
        let asked = call.handle().asked(&letters.caller, session, request.message_id)?;
        Ok(request.into_message(session, seat.participant, asked))
    });
    let message = letters.keep(&call, addressed)?;
    let submission = letters.bind_one(&call, Writing { message, salt: None })?;
    one(first(call.handle().submit(vec![submission]).await))
}

/// `POST …/messages`
pub async fn send(call: Call) -> Outcome {
    let body = call.batch()?;
    call.query(&[])?;
    let (mut drafts, array) = match Batch::read(&body)? {
        Batch::One(draft) => (vec![*draft], false),
        Batch::Many(drafts) => (drafts, true),
    };
    call.no_authorization()?;
    let mut proofs: Vec<Option<String>> = drafts.iter_mut().map(|draft| draft.proof.take()).collect();
    let letters = if array {
        Letters::many(&call, own_proofs(proofs)?).await?
    } else {
        Letters::one(&call, proofs.pop().flatten()).await?
    };
    call.limited(&letters.caller, drafts.len())?;
    let session = call.session();
    let seat = letters.keep(&call, call.handle().seat(&letters.caller, session))?;
    let writings = drafts.into_iter().map(|mut draft| {
        let salt = draft.committed.salt.take();
        Writing { message: draft.into_message(session, seat.participant), salt }
    });
    let submissions = letters.bind(&call, writings.collect())?;
    let expected = submissions.len();
    let answers = call.handle().submit(submissions).await;
    if array { Ok(many(answers, expected, &call.path)) } else { one(first(answers)) }
}

/// In an array every message carries its own proof.
fn own_proofs(proofs: Vec<Option<String>>) -> Result<Vec<String>, Refusal> {
    let missing = |index| Refusal::invalid(format!("/{index}/proof"), "the message's own proof, as in every array");
    proofs.into_iter().enumerate().map(|(index, proof)| proof.ok_or_else(|| missing(index))).collect()
}

fn first(answers: Vec<Answer>) -> Answer {
    answers.into_iter().next().unwrap_or(Answer::NotAttempted)
}

/// The answer to one message (S6).
pub(super) fn one(answer: Answer) -> Outcome {
    match answer {
        Answer::Placed { body, replayed } => {
            let reply = Reply::document(body).status(StatusCode::CREATED);
            Ok(if replayed { reply.header(REPLAYED, "true") } else { reply })
        }
        Answer::Queued { message_id } => {
            let body = json!({"delivery": "queued", "messageId": message_id});
            Ok(Reply::document(body).status(StatusCode::ACCEPTED))
        }
        Answer::Refused(refusal) => Err(refusal.into()),
        Answer::NotAttempted => Err(Refusal::new(Code::Unspecified, "the engine left a message unanswered").into()),
    }
}

/// The answer to an array: 201 if all were placed, else 200, one result each (S6).
fn many(answers: Vec<Answer>, expected: usize, instance: &str) -> Reply {
    let placed = |answer: &Answer| matches!(answer, Answer::Placed { .. });
    let replayed = |answer: &Answer| matches!(answer, Answer::Placed { replayed: true, .. });
    let whole = answers.len() == expected;
    let status = if whole && answers.iter().all(placed) { StatusCode::CREATED } else { StatusCode::OK };
    let again = whole && answers.iter().all(replayed);
    let mut results: Vec<Value> = answers.into_iter().map(|answer| result(answer, instance)).collect();
    results.resize(expected, json!({"status": "notAttempted"}));
    let reply = Reply::document(json!({"results": results})).status(status);
    if again { reply.header(REPLAYED, "true") } else { reply }
}

fn result(answer: Answer, instance: &str) -> Value {
    match answer {
        Answer::Placed { mut body, replayed: _ } => {
            if let Value::Object(members) = &mut body {
                members.insert("status".to_owned(), json!(201));
            }
            body
        }
        Answer::Queued { message_id } => json!({"status": 202, "delivery": "queued", "messageId": message_id}),
        Answer::Refused(refusal) => {
            json!({"status": refusal.http_status(), "problem": problem(&refusal, instance)})
        }
        Answer::NotAttempted => json!({"status": "notAttempted"}),
    }
}

/// `GET …/messages`: a page, a long poll, or a stream.
pub async fn read(call: Call) -> Outcome {
    let query = call.query(&["after", "limit", "wait", "channels"])?;
    let (limit, wait, channels) = (query.limit()?, query.wait()?, Channels::of(&query)?);
    let streamed = call.choice == Choice::Events;
    let after = if streamed { stream::start(&call, &query)? } else { query.number("after", 0, u64::MAX)? };
    call.no_authorization()?;
    let (caller, session) = proof::participant(&call)?;
    let after = after.unwrap_or(0);
    if streamed {
        return Ok(Reply::stream(stream::of_session(&call, caller, session, after, channels)));
    }
    let page = Page { caller, session, after, limit };
    Ok(Reply::document(match wait {
        Some(wait) => page.await_first(&call, wait).await?,
        None => page.read(&call).await?,
    }))
}

/// What a reader asked for.
#[derive(Clone)]
struct Page {
    caller: Caller,
    session: SessionId,
    after: u64,
    limit: usize,
}

impl Page {
    async fn read(&self, call: &Call) -> Result<Value, Refusal> {
        let (handle, page) = (call.handle().clone(), self.clone());
        reading(move || handle.messages(&page.caller, page.session, page.after, page.limit)).await?
    }

    /// Waits until there is a record to answer with, the time is over, or the cell drains.
    async fn await_first(&self, call: &Call, wait: Span) -> Result<Value, Refusal> {
        let deadline = Instant::now() + std::time::Duration::from_millis(wait.0.unsigned_abs());
        let mut added = call.handle().watch_session(self.session);
        loop {
            added.borrow_and_update();
            let page = self.read(call).await?;
            let empty = page.get("messages").and_then(Value::as_array).is_none_or(Vec::is_empty);
            let waited = async {
                tokio::select! {
                    changed = added.changed() => changed.is_ok(),
                    () = sleep_until(deadline) => false,
                    () = call.shell.settings.shutdown.cancelled() => false,
                }
            };
            if !empty || !waited.await {
                return Ok(page);
            }
        }
    }
}
