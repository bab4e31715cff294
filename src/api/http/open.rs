//! What needs no proof: discovery, keys, health, metrics, the API's own description.
//!
//! Source: docs/spec/details.md section 11, S2, S23.

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::reply::{Outcome, Reply};
use crate::crypto::digest::Digest;
use crate::protocol::refusal::{Code, Refusal};

const JSON: &str = "application/json";
const OPENAPI: &str = include_str!("../../../docs/openapi.json");
const SCRIPT: &str = include_str!("docs.js");
const STYLE: &str = include_str!("docs.css");

/// The process answers.
pub fn healthz() -> Reply {
    Reply::text(JSON, json!({"status": "ok"}).to_string())
}

/// Whether requests can be taken now, and what stands in the way (S23).
pub fn readyz(call: &Call) -> Reply {
    let draining = call.shell.settings.shutdown.is_cancelled();
    let listener = if draining { "draining" } else { "ok" };
    let mut checks = call.handle().checks();
    checks.push(("listener", listener.to_owned()));
    let ready = checks.iter().all(|(_, state)| state == "ok");
    let checks: Map<String, Value> = checks.into_iter().map(|(name, state)| (name.to_owned(), json!(state))).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::text(JSON, json!({"ready": ready, "checks": checks}).to_string()).status(status)
}

/// The metrics, if they are public here.
pub fn metrics(call: &Call) -> Outcome {
    let hidden =
        || Refusal::new(Code::NotFound, "metrics are on the operator listener; `metrics_public` opens them here");
    let render = call.shell.settings.metrics.as_ref().ok_or_else(hidden)?;
    Ok(Reply::text("text/plain; version=0.0.4; charset=utf-8", render()))
}

/// The discovery document (S2).
pub fn discovery(call: &Call) -> Reply {
    Reply::document(call.handle().discovery())
}

/// The cell's keys.
pub fn jwks(call: &Call) -> Reply {
    let discovery = call.handle().discovery();
    let none = json!({"keys": []});
    Reply::document(discovery.pointer("/cell/jwks").cloned().unwrap_or(none))
}

/// The description of this API.
pub fn openapi() -> Reply {
    Reply::text(JSON, OPENAPI.to_owned())
}

/// A page that renders the description. It holds all it needs and may load nothing but that.
pub fn docs() -> Reply {
    static PAGE: LazyLock<(String, String)> = LazyLock::new(page);
    let (html, policy) = &*PAGE;
    let reply = Reply::text("text/html; charset=utf-8", html.clone());
    reply.header(CONTENT_SECURITY_POLICY, policy).header(X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// The page and its content security policy, which names script and style by their hashes.
fn page() -> (String, String) {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>asp-cell API</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\
         <body><main id=\"api\">Loading openapi.json …</main><script>{SCRIPT}</script></body></html>"
    );
    let hash = |text: &str| STANDARD.encode(Digest::of(&[text.as_bytes()]).bytes());
    let policy = format!(
        "default-src 'none'; connect-src 'self'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    (html, policy)
}
