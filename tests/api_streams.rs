//! Readers: streams resume without loss or repeat and end when they must; long polls wait and no longer.
//!
//! docs/spec/details.md sections 11, 12 and S7.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod http;

use std::time::{Duration, Instant};

use asp_cell::api::http::Settings;
use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures::StreamExt as _;
use http::{Agent, Cell, Proof, SESSIONS, Session, message, salt, uuid7};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// One event as it was written.
#[derive(Debug, Default, Clone, PartialEq)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

/// A stream being read.
struct Stream {
    body: BodyDataStream,
    text: String,
}

const SOON: Duration = Duration::from_secs(5);

impl Stream {
    async fn open(cell: &Cell, agent: &Agent, path_and_query: &str, last: Option<&str>) -> Self {
        let path = path_and_query.split('?').next().unwrap();
        let proof = Proof::of("GET", &cell.url(path)).sign(agent);
        let mut request = Request::get(path_and_query).header("dpop", proof).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = cell.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next block; `None` when the stream ended.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = String::from(rest);
                return Some(block);
            }
            let chunk = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn next(&mut self) -> Option<Event> {
        let block = tokio::time::timeout(SOON, self.block()).await.expect("nothing more came")?;
        let mut event = Event::default();
        for line in block.lines() {
            match line.split_once(": ").unwrap() {
                ("event", name) => event.name = String::from(name),
                ("id", id) => event.id = Some(id.to_owned()),
                ("data", data) => event.data = serde_json::from_str(data).unwrap(),
                other => panic!("{other:?}"),
            }
        }
        Some(event)
    }

    /// The next event on `data`.
    async fn record(&mut self) -> (String, Value) {
        loop {
            let event = self.next().await.expect("the stream ended");
            if event.name == "data" {
                return (event.id.unwrap(), event.data["record"].clone());
            }
        }
    }

    /// All events up to the end of the stream.
    async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

async fn query(cell: &Cell, session: &Session) -> Value {
    let query = message("QUERY", json!({"content": "how many?", "salt": salt()}));
    session.say(cell, &session.buyer, &query).await.expect(201)["record"].clone()
}

async fn close(cell: &Cell, session: &Session) {
    let seen = session.head(cell).await;
    let close = message("CLOSE", json!({"terms": {"outcome": "success"}, "seen": seen}));
    session.say(cell, &session.buyer, &close).await.expect(201);
}

#[tokio::test]
async fn a_stream_tells_the_past_and_then_what_happens() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let mut stream = Stream::open(&cell, &session.seller, &session.path("messages"), None).await;
    assert_eq!(stream.record().await.0, "1");
    assert_eq!(stream.record().await.0, "2");
    let placed = query(&cell, &session).await;
    let (id, record) = stream.record().await;
    assert_eq!(id, "3");
    let page = cell.get(&session.seller, &format!("{}?after=2", session.path("messages"))).await.expect(200);
    assert_eq!((&record["hash"], &record), (&placed["hash"], &page["messages"][0]));
}

#[tokio::test]
async fn a_stream_resumes_where_its_reader_stopped() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    for _ in 0..5 {
        query(&cell, &session).await;
    }
    close(&cell, &session).await;
    let path = session.path("messages");
    let whole = Stream::open(&cell, &session.seller, &path, None).await.rest().await;
    let last = whole.last().unwrap();
    assert_eq!((last.name.as_str(), &last.data["type"]), ("control", &json!("end")));
    assert!(whole.iter().all(|event| event.id.is_some() == (event.name == "data")), "{whole:?}");
    for event in whole.iter().filter(|event| event.name != "data") {
        for member in ["sessionId", "eventId", "after", "type"] {
            assert!(!event.data[member].is_null(), "{event:?} has no {member}");
        }
    }
    let ids = |events: &[Event]| events.iter().filter_map(|event| event.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&whole), ["1", "2", "3", "4", "5", "6", "7", "8"]);
    for from in 0..8_usize {
        // What follows record n is sent again on resumption from n, with the same event ids.
        let start = whole.iter().position(|event| event.id.as_deref() == Some(from.to_string().as_str()));
        let expected = &whole[start.map_or(0, |at| at + 1)..whole.len() - 1];
        let by_query = Stream::open(&cell, &session.seller, &format!("{path}?after={from}"), None).await.rest().await;
        assert_eq!(&by_query[..by_query.len() - 1], expected, "after {from}");
        let from = from.to_string();
        let by_header = Stream::open(&cell, &session.seller, &format!("{path}?after=1"), Some(&from)).await;
        let by_header = by_header.rest().await;
        assert_eq!(&by_header[..by_header.len() - 1], expected, "Last-Event-ID {from}");
    }
    let data = Stream::open(&cell, &session.seller, &format!("{path}?channels=data"), None).await.rest().await;
    assert!(data.iter().all(|event| event.name == "data"));
    assert_eq!(data.len(), 8);
    let control = Stream::open(&cell, &session.seller, &format!("{path}?channels=control"), None).await.rest().await;
    assert!(control.len() > 1 && control.iter().all(|event| event.name == "control"));
}

#[tokio::test]
async fn the_agents_stream_has_a_cursor_on_every_event() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let mut live = Stream::open(&cell, &session.seller, "/v1/asp/events", None).await;
    let mut seen = vec![live.next().await.unwrap(), live.next().await.unwrap()];
    assert_eq!(seen[0].data["record"]["performative"], json!("INVITE"));
    assert_eq!((seen[1].name.as_str(), &seen[1].data["type"]), ("control", &json!("invitation")));
    let invited = &seen[1].data["session"];
    assert_eq!(invited["you"], json!(session.participant(&session.seller)));
    assert_eq!(invited["asks"], seen[0].data["record"]["messageId"]);
    query(&cell, &session).await;
    while seen.last().unwrap().data["record"]["sequence"] != json!(3) {
        seen.push(live.next().await.unwrap());
    }
    assert!(seen.iter().all(|event| event.id.is_some()), "{seen:?}");
    for (place, event) in seen.iter().enumerate().take(seen.len() - 1) {
        let mut resumed = Stream::open(&cell, &session.seller, "/v1/asp/events", event.id.as_deref()).await;
        for expected in &seen[place + 1..] {
            assert_eq!(&resumed.next().await.unwrap(), expected);
        }
    }
    // The inviter is not invited, and the session's own stream has no invitations.
    close(&cell, &session).await;
    let mut inviters = Stream::open(&cell, &session.buyer, "/v1/asp/events", None).await;
    let mut types = Vec::new();
    while types.last() != Some(&json!("CLOSE")) {
        let event = inviters.next().await.unwrap().data;
        types.push(event.get("type").unwrap_or(&event["record"]["performative"]).clone());
    }
    assert!(!types.contains(&json!("invitation")), "{types:?}");
    let session_events = Stream::open(&cell, &session.seller, &session.path("messages"), None).await.rest().await;
    assert!(session_events.iter().all(|event| event.data["type"] != json!("invitation")), "{session_events:?}");
    // What happens next appears by itself.
    let path = format!("/v1/asp/events?channels=data&after={}", seen.last().unwrap().id.as_deref().unwrap());
    let mut later = Stream::open(&cell, &session.seller, &path, None).await;
    assert_eq!(later.next().await.unwrap().data["record"]["sequence"], json!(4));
    let other = Session::invite(&cell).await;
    let mut theirs = Stream::open(&cell, &other.seller, "/v1/asp/events?channels=control", None).await;
    assert_eq!(theirs.next().await.unwrap().data["sessionId"], json!(other.id));
}

#[tokio::test]
async fn a_stream_ends_when_its_reader_or_its_cell_does() {
    let settings = Settings::default();
    let cell = Cell::with(settings.clone()).await;
    let session = Session::open(&cell).await;
    let path = session.path("messages");
    let buyers = [
        Stream::open(&cell, &session.buyer, &path, None).await,
        Stream::open(&cell, &session.buyer, "/v1/asp/events", None).await,
    ];
    let sellers = Stream::open(&cell, &session.seller, &path, None).await;
    cell.register(&Agent::new(&session.buyer.id)).await.expect(200);
    for stream in buyers {
        tokio::time::timeout(SOON, stream.rest()).await.expect("a rotated key ends its streams");
    }
    settings.shutdown.cancel();
    tokio::time::timeout(SOON, sellers.rest()).await.expect("a drain ends streams");
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_lives() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    let mut stream =
        Stream::open(&cell, &session.buyer, &format!("{}?after=2&channels=data", session.path("messages")), None).await;
    let started = Instant::now();
    let block = tokio::time::timeout(Duration::from_secs(15), stream.block()).await.unwrap().unwrap();
    assert_eq!(block, ": hb");
    assert!(started.elapsed() > Duration::from_secs(9), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_long_poll_waits_for_the_first_record() {
    let settings = Settings::default();
    let cell = Cell::with(settings.clone()).await;
    let session = Session::open(&cell).await;
    let poll = |after: u64, wait: &str| format!("{}?after={after}&wait={wait}", session.path("messages"));
    let early = cell.get(&session.seller, &poll(1, "PT30S")).await.expect(200);
    assert_eq!(early["messages"].as_array().unwrap().len(), 1);
    let started = Instant::now();
    let late = cell.get(&session.seller, &poll(2, "PT1S")).await.expect(200);
    assert_eq!((&late["messages"], &late["head"]["sequence"]), (&json!([]), &json!(2)));
    assert!(started.elapsed() >= Duration::from_secs(1) && started.elapsed() < SOON);
    let waiting = poll(2, "PT30S");
    let (answer, placed) = tokio::join!(cell.get(&session.seller, &waiting), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        query(&cell, &session).await
    });
    assert_eq!(answer.expect(200)["messages"][0]["hash"], placed["hash"]);
    let started = Instant::now();
    let waiting = poll(3, "PT30S");
    let (drained, ()) = tokio::join!(cell.get(&session.seller, &waiting), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        settings.shutdown.cancel();
    });
    assert_eq!(drained.expect(200)["messages"], json!([]));
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
async fn pages_follow_each_other() {
    let cell = Cell::start().await;
    let session = Session::open(&cell).await;
    for _ in 0..4 {
        query(&cell, &session).await;
    }
    let sequences = async |query: &str| {
        let page = cell.get(&session.seller, &format!("{}?{query}", session.path("messages"))).await.expect(200);
        assert_eq!(page["head"]["sequence"], json!(6));
        let records = page["messages"].as_array().unwrap().clone();
        records.iter().map(|record| record["sequence"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(sequences("limit=2").await, [1, 2]);
    assert_eq!(sequences("limit=2&after=2").await, [3, 4]);
    assert_eq!(sequences("after=5").await, [6]);
    assert_eq!(sequences("after=6").await, [] as [u64; 0]);
    assert_eq!(sequences("after=9007199254740993").await, [] as [u64; 0]);
    let none = cell.get(&session.seller, &format!("{SESSIONS}/{}/messages", uuid7())).await;
    assert_eq!(none.problem().1, "not_found");
}

#[tokio::test]
async fn sessions_are_listed_newest_first() {
    let cell = Cell::start().await;
    let first = Session::invite(&cell).await;
    let listed = cell.get(&first.seller, SESSIONS).await.expect(200);
    assert_eq!((&listed["sessions"][0]["sessionId"], &listed["cursor"]), (&json!(first.id), &Value::Null));
    assert_eq!(listed["sessions"][0]["state"], json!("INVITED"));
    let open = cell.get(&first.seller, &format!("{SESSIONS}?state=CLOSED")).await.expect(200);
    assert_eq!(open["sessions"], json!([]));
    let transcript = cell.get(&first.buyer, &format!("{SESSIONS}/{}/transcript", first.id)).await.expect(200);
    assert_eq!(transcript["type"], json!("asp/1.0 transcript"));
    assert_eq!(transcript["records"].as_array().unwrap().len(), 1);
}
