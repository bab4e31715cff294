//! Server-sent events as a client reads them (the WHATWG form; docs/spec/details.md section 12 and S7).

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::agent;
use super::failure::Failure;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `data`, `control` or `meta`.
    pub channel: String,
    /// Where to resume after it; on a session's stream only `data` events have one.
    pub id: Option<String>,
    /// What it says.
    pub body: Value,
}

impl Event {
    /// The `type` of a `control` or `meta` event.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.body.get("type").and_then(Value::as_str).unwrap_or_default()
    }
}

/// An open stream. Dropping it closes it.
#[derive(Debug)]
pub struct Events {
    response: Response,
    unread: Vec<u8>,
    ready: VecDeque<Event>,
}

impl Events {
    /// Asks for a stream.
    pub async fn open(request: RequestBuilder) -> Result<Self, Failure> {
        let response = request.header("accept", "text/event-stream").send().await?;
        if response.status() == StatusCode::OK {
            return Ok(Self { response, unread: Vec::new(), ready: VecDeque::new() });
        }
        let refused = agent::read(response).await?.accepted().err();
        Err(refused.unwrap_or_else(|| Failure::Unexpected("no stream".into())))
    }

    /// The next event; `None` when the cell has ended the stream.
    pub async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(chunk) = self.response.chunk().await? else { return Ok(None) };
            self.unread.extend_from_slice(&chunk);
            while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                self.ready.extend(read(&String::from_utf8_lossy(&block))?);
            }
        }
    }

    /// The next event that `wanted` takes; others are passed over.
    pub async fn find(&mut self, within: Duration, wanted: impl Fn(&Event) -> bool) -> Result<Event, Failure> {
        let end = Instant::now() + within;
        loop {
            let next = timeout_at(end, self.next()).await;
            match next.map_err(|_| Failure::Overdue("an event on a stream".into()))?? {
                Some(event) if wanted(&event) => return Ok(event),
                Some(_) => {}
                None => return Err(Failure::Unexpected("the stream ended before the event".into())),
            }
        }
    }
}

/// One block of lines; `None` for a heartbeat.
fn read(block: &str) -> Result<Option<Event>, Failure> {
    let (mut channel, mut id, mut data) = (String::new(), None, String::new());
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut channel),
            "id" => id = Some(value.to_owned()),
            "data" => data.push_str(value),
            _ => {}
        }
    }
    if data.is_empty() {
        return Ok(None);
    }
    let body = serde_json::from_str(&data).map_err(|error| Failure::Unexpected(format!("an event: {error}")))?;
    Ok(Some(Event { channel, id, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_events_and_comments_are_none() {
        let event = read("id: 3\nevent: data\ndata: {\"a\":1}\n\n").unwrap().unwrap();
        assert_eq!((event.channel.as_str(), event.id.as_deref()), ("data", Some("3")));
        assert_eq!(event.body, serde_json::json!({"a": 1}));
        assert_eq!(read(": hb\n\n").unwrap(), None);
        assert!(read("event: data\ndata: {\n\n").is_err());
    }
}
