//! Server-sent events: one session's stream, or the stream over all sessions of an agent.
//!
//! A stream holds one page at most: it reads the next one when the client has taken the last, so a slow reader costs
//! a page and loses nothing. Source: docs/spec/details.md section 12 and S7.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream::unfold;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use super::call::{Call, Shell, reading};
use super::proof;
use super::query::{Query, whole};
use super::reply::{Outcome, Reply};
use crate::engine::request::{Caller, Channel, Position, StreamItem};
use crate::protocol::ids::SessionId;
use crate::protocol::refusal::Refusal;

/// How often a stream that has nothing to say shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How many items are read at a time.
const PAGE: usize = 64;

/// `GET /v1/asp/events`
pub fn of_agent(call: &Call) -> Outcome {
    let query = call.query(&["after", "channels"])?;
    let (after, channels) = (start(call, &query)?, Channels::of(&query)?);
    call.no_authorization()?;
    let caller = proof::reader(call)?;
    Ok(Reply::stream(stream(call, caller, Source::Agent { cursor: after.unwrap_or(0) }, channels)))
}

/// `GET …/messages` with `Accept: text/event-stream`; proof and seat were checked.
pub fn of_session(call: &Call, caller: Caller, session: SessionId, after: u64, channels: Channels) -> Response {
    let at = Position { sequence: after, events: 0 };
    stream(call, caller, Source::Session { session, at }, channels)
}

/// Where the reader wants to go on: `Last-Event-ID` beats `after`.
pub fn start(call: &Call, query: &Query) -> Result<Option<u64>, Refusal> {
    let after = query.number("after", 0, u64::MAX)?;
    let Some(last) = call.headers.get("last-event-id") else { return Ok(after) };
    let number = last.to_str().ok().filter(|text| !text.is_empty()).and_then(whole);
    let expected = || Refusal::invalid("/Last-Event-ID", "the id of an event of this stream, a whole number");
    number.map(Some).ok_or_else(expected)
}

/// Which channels the reader wants.
#[derive(Debug, Clone, Copy)]
pub struct Channels {
    data: bool,
    control: bool,
    meta: bool,
}

impl Channels {
    /// Reads `channels`; absent: all.
    pub fn of(query: &Query) -> Result<Self, Refusal> {
        let Some(text) = query.get("channels") else { return Ok(Self { data: true, control: true, meta: true }) };
        let mut channels = Self { data: false, control: false, meta: false };
        for name in text.split(',') {
            match name {
                "data" => channels.data = true,
                "control" => channels.control = true,
                "meta" => channels.meta = true,
                _ => return Err(Refusal::invalid("/channels", "some of data, control, meta, separated by commas")),
            }
        }
        Ok(channels)
    }

    const fn has(self, channel: Channel) -> bool {
        match channel {
            Channel::Data => self.data,
            Channel::Control => self.control,
            Channel::Meta => self.meta,
        }
    }
}

/// What is streamed, and how far it has come.
enum Source {
    Session { session: SessionId, at: Position },
    Agent { cursor: u64 },
}

struct Reading {
    shell: Arc<Shell>,
    caller: Caller,
    source: Source,
    channels: Channels,
    /// Wakes when there may be more; `None` on the agent's stream, where `agent` says so.
    session: Option<watch::Receiver<u64>>,
    agent: watch::Receiver<u64>,
    page: VecDeque<Event>,
    ended: bool,
}

fn stream(call: &Call, caller: Caller, source: Source, channels: Channels) -> Response {
    // Subscribed before anything is read, so that nothing falls between a page and the wait for the next.
    let session = match &source {
        Source::Session { session, .. } => Some(call.handle().watch_session(*session)),
        Source::Agent { .. } => None,
    };
    let agent = call.handle().watch_agent(&caller.agent);
    let (shell, page) = (Arc::clone(&call.shell), VecDeque::new());
    let reading = Reading { shell, caller, source, channels, session, agent, page, ended: false };
    let events = unfold(reading, |mut reading| async move {
        reading.next().await.map(|event| (Ok::<_, Infallible>(event), reading))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("hb")).into_response();
    // Proxies that buffer answers would hold events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Reading {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.page.pop_front() {
                return Some(event);
            }
            if self.ended || self.shell.settings.shutdown.is_cancelled() {
                return None;
            }
            self.mark_seen();
            // A rotated key ends the stream.
            self.shell.handle.caller(self.caller.thumbprint).ok()?;
            if self.read().await.ok()? || self.ended {
                continue;
            }
            self.wait().await?;
        }
    }

    fn mark_seen(&mut self) {
        self.agent.borrow_and_update();
        if let Some(session) = &mut self.session {
            session.borrow_and_update();
        }
    }

    /// Reads a page; whether it held anything (also if all of it was filtered out).
    async fn read(&mut self) -> Result<bool, Refusal> {
        let (handle, caller) = (self.shell.handle.clone(), self.caller.clone());
        let items = match &mut self.source {
            Source::Session { session, at } => {
                let (session, from) = (*session, *at);
                let page = reading(move || handle.stream(&caller, session, from, PAGE)).await??;
                *at = page.next;
                self.ended = page.ended;
                page.items
            }
            Source::Agent { cursor } => {
                let from = *cursor;
                let items = reading(move || handle.feed(&caller, from, PAGE)).await??;
                *cursor = items.last().map_or(*cursor, |item| item.cursor);
                items
            }
        };
        let some = !items.is_empty();
        let wanted = items.iter().filter(|item| self.channels.has(item.channel));
        let events: Vec<Event> = wanted.map(|item| self.event(item)).collect();
        self.page.extend(events);
        if self.ended && self.channels.control {
            self.page.extend(self.end());
        }
        Ok(some)
    }

    /// Until there may be more; `None` when the cell drains.
    async fn wait(&mut self) -> Option<()> {
        let Self { shell, session, agent, .. } = self;
        let of_session = async {
            match session {
                Some(session) => session.changed().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = shell.settings.shutdown.cancelled() => None,
            changed = agent.changed() => changed.ok(),
            changed = of_session => changed.ok(),
        }
    }

    fn event(&self, item: &StreamItem) -> Event {
        let event = Event::default().event(name(item.channel)).data(item.body.to_string());
        match (&self.source, item.channel) {
            (Source::Agent { .. }, _) => event.id(item.cursor.to_string()),
            (Source::Session { .. }, Channel::Data) => event.id(item.sequence.to_string()),
            (Source::Session { .. }, Channel::Control | Channel::Meta) => event,
        }
    }

    /// The last event of a session's stream.
    fn end(&self) -> Option<Event> {
        let Source::Session { session, at } = &self.source else { return None };
        let body = json!({"sessionId": session, "eventId": Uuid::now_v7(), "after": at.sequence, "type": "end"});
        Some(Event::default().event(name(Channel::Control)).data(body.to_string()))
    }
}

const fn name(channel: Channel) -> &'static str {
    match channel {
        Channel::Data => "data",
        Channel::Control => "control",
        Channel::Meta => "meta",
    }
}
