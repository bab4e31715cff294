//! Content negotiation: which media types a request's body may have and its answer shall have.
//!
//! Sources: RFC 9110 section 12.5.1; docs/spec/api.md section 1, docs/spec/details.md sections 11 and 14.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};

use crate::protocol::refusal::{Code, Refusal};

/// A media type of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/asp+json`
    AspJson,
    /// `application/msgpack`
    MessagePack,
    /// `application/asp+msgpack`
    AspMessagePack,
}

impl Format {
    const ALL: [Self; 4] = [Self::Json, Self::AspJson, Self::MessagePack, Self::AspMessagePack];

    /// The media type's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::AspJson => "application/asp+json",
            Self::MessagePack => "application/msgpack",
            Self::AspMessagePack => "application/asp+msgpack",
        }
    }

    /// The media type of a problem document in this format.
    pub const fn problem_name(self) -> &'static str {
        match self {
            Self::Json | Self::AspJson => "application/problem+json",
            Self::MessagePack | Self::AspMessagePack => self.name(),
        }
    }

    /// Whether it is MessagePack, else JSON.
    pub const fn is_message_pack(self) -> bool {
        matches!(self, Self::MessagePack | Self::AspMessagePack)
    }

    /// The format of a request's body; 415 for any other.
    pub fn of_body(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let (Some(Ok(sent)), None) = (types.next().map(|value| value.to_str()), types.next()) else {
            return Err(unsupported("no single Content-Type"));
        };
        let mut pieces = sent.split(';').map(str::trim);
        let name = pieces.next().unwrap_or_default();
        let charset =
            pieces.find_map(|parameter| parameter.to_ascii_lowercase().strip_prefix("charset=").map(str::to_owned));
        if charset.is_some_and(|charset| charset.trim_matches('"') != "utf-8") {
            return Err(unsupported("a charset other than utf-8"));
        }
        let found = Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| unsupported("another Content-Type"))
    }
}

/// 415: the body is not of a type that is taken.
pub fn unsupported(what: &str) -> Refusal {
    let detail = format!("{what} was sent; send application/json or application/msgpack, not encoded");
    Refusal::new(Code::ValidationFailed, detail).status(415)
}

/// What a route can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// A document in any [`Format`].
    Document,
    /// Server-sent events.
    Events,
    /// A document, or events if they are preferred.
    DocumentOrEvents,
    /// One fixed text, whatever is accepted.
    Fixed,
}

/// What the answer shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// A document.
    Document(Format),
    /// Server-sent events.
    Events,
}

/// The ranges of an `Accept` header, in order.
#[derive(Debug)]
pub struct Accept {
    ranges: Vec<Range>,
}

#[derive(Debug)]
struct Range {
    name: String,
    /// Thousandths.
    quality: u16,
}

/// How much a type is wanted: quality, then how closely it was named, then how early.
type Wish = (u16, u8, std::cmp::Reverse<usize>);

const EVENTS: &str = "text/event-stream";
const PROBLEM: &str = "application/problem+json";

impl Accept {
    /// Reads all `Accept` headers; a range that cannot be read counts for nothing.
    pub fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut ranges: Vec<Range> = values.flat_map(|value| value.split(',')).filter_map(Range::parse).collect();
        if ranges.is_empty() && !headers.contains_key(ACCEPT) {
            ranges.push(Range { name: "*/*".to_owned(), quality: 1000 });
        }
        Self { ranges }
    }

    /// The best of what is offered; 406 if nothing of it is accepted.
    pub fn choose(&self, offer: Offer) -> Result<Choice, Refusal> {
        let documents = Format::ALL.map(|format| (format.name(), Choice::Document(format)));
        let events = [(EVENTS, Choice::Events)];
        let offered: Vec<_> = match offer {
            Offer::Document => documents.to_vec(),
            Offer::Events => events.to_vec(),
            Offer::DocumentOrEvents => [&documents[..], &events[..]].concat(),
            Offer::Fixed => return Ok(Choice::Document(Format::Json)),
        };
        let mut best: Option<(Wish, Choice)> = None;
        for (name, choice) in &offered {
            let Some(wish) = self.wish(name) else { continue };
            // Equal wishes (a wildcard): the first offered.
            if best.is_none_or(|(least, _)| wish > least) {
                best = Some((wish, *choice));
            }
        }
        best.map(|(_, choice)| choice).ok_or_else(|| {
            let names: Vec<&str> = offered.iter().map(|(name, _)| *name).collect();
            let detail = format!("nothing in Accept can be answered; accept one of {}", names.join(", "));
            Refusal::new(Code::ValidationFailed, detail).status(406)
        })
    }

    /// The format of a problem document: JSON unless a MessagePack type is named and not less wanted.
    pub fn problem(&self) -> Format {
        let named = |format: Format| self.wish(format.name()).filter(|(_, named, _)| *named == 2);
        let json = [Format::Json, Format::AspJson].into_iter().filter_map(named).chain(self.wish(PROBLEM)).max();
        let packed = [Format::MessagePack, Format::AspMessagePack].into_iter();
        let best = packed.filter_map(|format| Some((named(format)?, format))).max_by_key(|(wish, _)| *wish);
        match best {
            Some((wish, format)) if json.is_none_or(|json| wish > json) => format,
            Some(_) | None => Format::Json,
        }
    }

    fn wish(&self, name: &str) -> Option<Wish> {
        let matching = self.ranges.iter().enumerate().filter_map(|(place, range)| {
            range.closeness(name).map(|closeness| (closeness, std::cmp::Reverse(place), range.quality))
        });
        let (closeness, place, quality) = matching.max()?;
        (quality > 0).then_some((quality, closeness, place))
    }
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let mut pieces = text.split(';').map(str::trim);
        let name = pieces.next().filter(|name| name.contains('/'))?.to_ascii_lowercase();
        let weight = pieces.find_map(|piece| piece.strip_prefix("q=").or_else(|| piece.strip_prefix("Q=")));
        let quality = weight.map_or(Some(1000), thousandths)?;
        Some(Self { name, quality })
    }

    /// 2: named, 1: its kind was named, 0: anything goes.
    fn closeness(&self, name: &str) -> Option<u8> {
        let kind = name.split('/').next().unwrap_or_default();
        if self.name == "*/*" {
            return Some(0);
        }
        if self.name == name {
            return Some(2);
        }
        (self.name.strip_suffix("/*") == Some(kind)).then_some(1)
    }
}

/// A weight of RFC 9110 section 12.4.2: 0 to 1 with at most three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || fraction.len() > 3 || !fraction.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let value = format!("{whole}{fraction:0<3}").parse().ok()?;
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> Accept {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, value.parse().unwrap());
        Accept::of(&headers)
    }

    #[test]
    fn the_best_offer_is_chosen() {
        let document = |value| match accept(value).choose(Offer::Document) {
            Ok(Choice::Document(format)) => format.name(),
            Ok(Choice::Events) => "events",
            Err(refusal) => {
                assert_eq!(refusal.http_status(), 406);
                "none"
            }
        };
        assert_eq!(document("*/*"), "application/json");
        assert_eq!(document("application/*"), "application/json");
        assert_eq!(document("application/asp+json"), "application/asp+json");
        assert_eq!(document("application/msgpack, */*"), "application/msgpack");
        assert_eq!(document("application/msgpack;q=0.5, application/json;q=0.9"), "application/json");
        assert_eq!(document("Application/MsgPack; q=1.000"), "application/msgpack");
        assert_eq!(document("application/json;q=0, */*"), "application/asp+json");
        assert_eq!(document("text/html"), "none");
        assert_eq!(document("text/event-stream"), "none");
        assert_eq!(document("application/json;q=0"), "none");
        assert_eq!(document("application/json;q=2"), "none");
        assert_eq!(document(""), "none");
    }

    #[test]
    fn events_are_chosen_only_when_asked_for() {
        let both = |value| accept(value).choose(Offer::DocumentOrEvents).unwrap();
        assert_eq!(both("*/*"), Choice::Document(Format::Json));
        assert_eq!(both("text/event-stream"), Choice::Events);
        assert_eq!(both("text/event-stream, */*;q=0.1"), Choice::Events);
        assert_eq!(both("application/json, text/event-stream"), Choice::Document(Format::Json));
        assert_eq!(accept("*/*").choose(Offer::Events).unwrap(), Choice::Events);
        assert!(accept("application/json").choose(Offer::Events).is_err());
        assert_eq!(Accept::of(&HeaderMap::new()).choose(Offer::Events).unwrap(), Choice::Events);
    }

    #[test]
    fn problems_are_json_unless_message_pack_is_named() {
        let problem = |value| accept(value).problem();
        assert_eq!(problem("*/*"), Format::Json);
        assert_eq!(problem("text/html"), Format::Json);
        assert_eq!(problem("application/msgpack"), Format::MessagePack);
        assert_eq!(problem("text/event-stream, application/asp+msgpack"), Format::AspMessagePack);
        assert_eq!(problem("application/json, application/msgpack;q=0.3"), Format::Json);
        assert_eq!(problem("application/problem+json, application/msgpack"), Format::Json);
        assert_eq!(problem("application/msgpack, */*"), Format::MessagePack);
    }

    #[test]
    fn bodies_have_one_known_type() {
        let body = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            Format::of_body(&headers).map_err(|refusal| refusal.http_status())
        };
        assert_eq!(body("application/json"), Ok(Format::Json));
        assert_eq!(body("Application/JSON; charset=UTF-8"), Ok(Format::Json));
        assert_eq!(body("application/asp+msgpack"), Ok(Format::AspMessagePack));
        assert_eq!(body("application/json; charset=latin1"), Err(415));
        assert_eq!(body("text/plain"), Err(415));
        assert_eq!(Format::of_body(&HeaderMap::new()).unwrap_err().http_status(), 415);
    }
}
