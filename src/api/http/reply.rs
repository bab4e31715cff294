//! Answers and problem documents as they leave the cell.
//!
//! What the caller may see and what the log keeps are two texts: a fault of ours goes out with a trace id only.
//! Source: docs/spec/protocol.md section 8, docs/spec/details.md sections 1, 11, 14 and S1.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use super::media::{Choice, Format};
use crate::protocol::refusal::{Code, Refusal};
use crate::wire::msgpack;

/// Says that the answer repeats the first one to the same message.
pub const REPLAYED: HeaderName = HeaderName::from_static("asp-replayed");
/// The next nonce.
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// What a handler answers.
pub type Outcome = Result<Reply, Rejection>;

/// An answer.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// A document, in the format that was negotiated.
    Document(Value),
    /// A text of a fixed type.
    Text(&'static str, String),
    /// A finished response: a stream of events.
    Response(Response),
}

impl Reply {
    /// A document with status 200.
    pub const fn document(document: Value) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), content: Content::Document(document) }
    }

    /// A text of this media type.
    pub const fn text(media: &'static str, text: String) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), content: Content::Text(media, text) }
    }

    /// A stream of events.
    pub const fn stream(response: Response) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), content: Content::Response(response) }
    }

    /// Another status.
    pub const fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// One more header; a value that no header can hold is left out.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// The response, with a document in the chosen format.
    pub fn into_response(self, choice: Choice) -> Response {
        let mut response = match self.content {
            Content::Document(document) => document_response(&document, choice),
            Content::Text(media, text) => with_type(Response::new(Body::from(text)), media),
            Content::Response(response) => response,
        };
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

fn document_response(document: &Value, choice: Choice) -> Response {
    let format = match choice {
        Choice::Document(format) => format,
        Choice::Events => Format::Json,
    };
    let mut response = with_type(Response::new(Body::from(encoded(document, format))), format.name());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn encoded(document: &Value, format: Format) -> Vec<u8> {
    if format.is_message_pack() { msgpack::write(document) } else { document.to_string().into_bytes() }
}

fn with_type(mut response: Response, media: &'static str) -> Response {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// A refusal with what HTTP alone adds to it.
#[derive(Debug)]
pub struct Rejection {
    refusal: Refusal,
    retry_after: Option<u64>,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, retry_after: None }
    }
}

impl Rejection {
    /// Says after how many seconds the request may be sent again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The problem document as response.
    pub fn into_response(self, format: Format, instance: &str) -> Response {
        let problem = problem(&self.refusal, instance);
        let mut response = with_type(Response::new(Body::from(encoded(&problem, format))), format.problem_name());
        *response.status_mut() =
            StatusCode::from_u16(self.refusal.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = challenge(self.refusal.code) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.refusal.http_status() == 429 {
            headers.insert(RETRY_AFTER, self.retry_after.unwrap_or(1).into());
        }
        response
    }
}

/// The problem document of a refusal (RFC 9457); a fault of ours gets a trace id and goes to the log.
pub fn problem(refusal: &Refusal, instance: &str) -> Value {
    let mut problem = refusal.problem();
    if let Value::Object(members) = &mut problem {
        members.insert("instance".to_owned(), json!(instance));
        if refusal.code == Code::Unspecified {
            let trace = Uuid::new_v4().to_string();
            tracing::error!(trace, detail = refusal.detail, "a request failed by a fault of the cell");
            members.insert("detail".to_owned(), json!("the cell failed; its log knows more under the trace id"));
            members.insert("traceId".to_owned(), json!(trace));
        }
    }
    problem
}

/// `WWW-Authenticate` of a 401 (RFC 9449 section 7.1; docs/spec/details.md section 1).
fn challenge(code: Code) -> Option<&'static str> {
    if code.status() != 401 {
        return None;
    }
    Some(if code == Code::Unauthorized {
        r#"DPoP algs="ES256""#
    } else if code == Code::UseDpopNonce {
        r#"DPoP error="use_dpop_nonce", algs="ES256""#
    } else {
        r#"DPoP error="invalid_dpop_proof", algs="ES256""#
    })
}
