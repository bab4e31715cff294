//! The standing transcript of the vectors, replayed record by record, ends in the session it shows: each record is
//! judged well, and view, state and outcome agree. docs/spec/details.md S8b, S13, S18.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::pedantic,
    reason = "a test may panic"
)]

mod scene;

use std::collections::BTreeMap;

use asp_cell::crypto::digest::Digest;
use asp_cell::protocol::ids::{MessageId, ParticipantId};
use asp_cell::protocol::json::Json;
use asp_cell::protocol::message::Seen;
use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::record::{Record, Sender};
use asp_cell::protocol::session::{
    Act, Event, Facts, Head, History, Home, Opening, Reader, Seated, Session, Standing, Windows,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

struct Log<'a>(&'a [(Record, Head)]);

impl History for Log<'_> {
    fn hash_at(&self, sequence: u64) -> Option<Digest> {
        self.0.iter().find(|(_, head)| head.sequence == sequence).map(|(_, head)| head.hash)
    }
    fn sequence_of(&self, message: MessageId) -> Option<u64> {
        self.0.iter().find(|(record, _)| record.message_id == message).map(|(record, _)| record.sequence)
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn seen(value: &Value) -> Seen {
    Seen { sequence: read(&value["sequence"]), hash: read(&value["hash"]) }
}

fn record(value: &Value) -> (Record, Head) {
    let performative: Performative = read(&value["performative"]);
    let sender = match performative {
        Performative::System => Sender::Cell(read(&value["sender"])),
        _ => Sender::Participant(read(&value["sender"])),
    };
    let record = Record {
        session_id: read(&value["sessionId"]),
        host: read(&value["host"]),
        epoch: read(&value["epoch"]),
        sequence: read(&value["sequence"]),
        timestamp: read(&value["timestamp"]),
        sender,
        performative,
        reference_id: value.get("referenceId").map(read),
        seen: value.get("seen").map(seen),
        terms: value.get("terms").map(Json::of),
        message_id: read(&value["messageId"]),
        parts: BTreeMap::new(),
        proof_hash: read(&value["proofHash"]),
    };
    let head = Head { sequence: record.sequence, hash: read(&value["hash"]), timestamp: record.timestamp };
    (record, head)
}

fn open(shown: &Value, invite: &(Record, Head)) -> Session {
    let seat = |participant: &Value| {
        let trust = &participant["trust"];
        let agent: asp_cell::protocol::ids::AgentId = read(&participant["agentId"]);
        Seated {
            id: read(&participant["participantId"]),
            home: Home { cell: read(&participant["cell"]), organisation: agent.organisation() },
            standing: Some(Standing {
                score: read(&trust["score"]),
                effective: read(&trust["effective"]),
                level: read(&trust["level"]),
                as_of: read(&trust["asOf"]),
                verified_by: read(&trust["verifiedBy"]),
            }),
        }
    };
    let windows = &shown["windows"];
    let opening = Opening {
        id: read(&shown["sessionId"]),
        host: read(&shown["host"]),
        participants: shown["participants"].as_array().expect("participants").iter().map(seat).collect(),
        windows: Windows {
            answer_within: read(&windows["answerWithin"]),
            review: read(&windows["reviewWindow"]),
            grace: read(&windows["grace"]),
            dispute: read(&windows["disputeWindow"]),
        },
        head: invite.1,
    };
    let act = Act::of_record(&invite.0, invite.0.sender.participant().expect("an agent")).expect("well formed");
    Session::invite(&act, opening).expect("a good INVITE")
}

#[test]
fn the_standing_transcript_ends_as_it_shows() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/transcript.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors")).expect("JSON");
    let shown = &file["transcript"]["session"];
    let records: Vec<_> = file["transcript"]["records"].as_array().expect("records").iter().map(record).collect();
    let mut session = open(shown, &records[0]);
    for (index, (record, head)) in records.iter().enumerate().skip(1) {
        let event = Event::of(record).expect("well formed");
        match &event {
            Event::Act(act) => {
                let history = Log(&records[..index]);
                let facts = Facts { history: &history, score: None };
                session.judge(act, head.timestamp, &facts).unwrap_or_else(|refusal| panic!("{index}: {refusal}"));
            }
            Event::System(event) => session.derivable(event, head.timestamp).expect("derivable"),
        }
        session.apply(&event, *head);
    }
    let agents = shown["participants"].as_array().expect("participants");
    let agent = |id: ParticipantId| {
        let found = agents.iter().find(|participant| participant["participantId"] == json!(id));
        found.map(|participant| read(&participant["agentId"]))
    };
    let reader = Reader { you: Some(read(&shown["you"])), now: session.head.timestamp, agent: &agent };
    let mut view = session.view(&reader);
    assert_eq!(view.as_object_mut().expect("an object").remove("asks"), Some(Value::Null));
    assert_eq!(view, *shown);
}
