//! `/metrics`, `/healthz` and `/readyz` on the operators' listener: for machines that watch, so without a token.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

/// Whether the cell can do its work: asked at each `/readyz`.
pub trait Vital: Clone + Send + Sync + 'static {
    /// Checks by name, each `"ok"` or what is wrong (docs/spec/details.md S23).
    fn checks(&self) -> Vec<(&'static str, String)>;
}

pub(super) fn routes(vital: impl Vital, metrics: impl Fn() -> String + Clone + Send + Sync + 'static) -> Router {
    Router::new()
        .route("/healthz", get(|| async { axum::Json(json!({"status": "ok"})) }))
        .route("/readyz", get(move || async move { ready(vital.checks()) }))
        .route("/metrics", get(move || async move { prometheus(metrics()) }))
}

/// Whether no check has anything to say.
pub(super) fn is_ready(checks: &[(&'static str, String)]) -> bool {
    checks.iter().all(|(_, state)| state == "ok")
}

/// docs/spec/details.md S23: 503 as soon as one check is not `ok`.
fn ready(checks: Vec<(&'static str, String)>) -> Response {
    let ready = is_ready(&checks);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let checks: Map<String, Value> = checks.into_iter().map(|(name, state)| (name.to_owned(), state.into())).collect();
    (status, axum::Json(json!({"ready": ready, "checks": checks}))).into_response()
}

/// The Prometheus text format, version 0.0.4.
fn prometheus(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failing_check_is_enough() {
        let checks = |store: &str| vec![("store", store.to_owned()), ("keys", "ok".to_owned())];
        assert_eq!(ready(checks("ok")).status(), StatusCode::OK);
        assert_eq!(ready(checks("stopped")).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
