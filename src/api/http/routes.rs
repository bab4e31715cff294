//! The table of routes, and the one way every request goes through.
//!
//! negotiation → handler → document in the negotiated format; a refusal, an unknown path, another method and a panic
//! all leave as problem documents. Source: docs/spec/api.md section 1, docs/spec/details.md section 11.

use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method};
use axum::middleware;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};

use super::call::{Call, Shell, reading};
use super::media::{Accept, Choice, Offer};
use super::nonce::Nonces;
use super::rate::Rate;
use super::reply::{DPOP_NONCE, Outcome, Rejection};
use super::settings::Settings;
use super::{beside, cors, messages, open, registry, sessions, stream};
use crate::engine::Handle;
use crate::protocol::refusal::{Code, Refusal};

/// One route.
#[derive(Clone, Copy)]
struct Route {
    method: &'static str,
    path: &'static str,
    offer: Offer,
    run: fn(Call) -> BoxFuture<'static, Outcome>,
}

const fn get(path: &'static str, offer: Offer, run: fn(Call) -> BoxFuture<'static, Outcome>) -> Route {
    Route { method: "GET", path, offer, run }
}

const fn post(path: &'static str, run: fn(Call) -> BoxFuture<'static, Outcome>) -> Route {
    Route { method: "POST", path, offer: Offer::Document, run }
}

/// An outcome that needed no waiting.
fn done(outcome: Outcome) -> BoxFuture<'static, Outcome> {
    ready(outcome).boxed()
}

/// A read of the store, off the threads that serve connections.
fn read(call: Call, run: fn(&Call) -> Outcome) -> BoxFuture<'static, Outcome> {
    async move { reading(move || run(&call)).await? }.boxed()
}

const ROUTES: &[Route] = &[
    get("/healthz", Offer::Fixed, |_| done(Ok(open::healthz()))),
    get("/readyz", Offer::Fixed, |call| done(Ok(open::readyz(&call)))),
    get("/metrics", Offer::Fixed, |call| done(open::metrics(&call))),
    get("/openapi.json", Offer::Fixed, |_| done(Ok(open::openapi()))),
    get("/docs", Offer::Fixed, |_| done(Ok(open::docs()))),
    get("/.well-known/asp-configuration", Offer::Document, |call| done(Ok(open::discovery(&call)))),
    get("/.well-known/jwks.json", Offer::Document, |call| done(Ok(open::jwks(&call)))),
    post("/v1/asp/registry", |call| registry::register(call).boxed()),
    get("/v1/asp/registry", Offer::Document, |call| registry::search(call).boxed()),
    get("/v1/asp/registry/{agentId}", Offer::Document, |call| read(call, registry::profile)),
    get("/v1/asp/trust/{agentId}", Offer::Document, |call| read(call, registry::trust)),
    post("/v1/asp/trust/{agentId}/endorsements", |call| registry::endorse(call).boxed()),
    post("/v1/asp/sessions", |call| messages::invite(call).boxed()),
    get("/v1/asp/sessions", Offer::Document, |call| read(call, sessions::list)),
    get("/v1/asp/sessions/{id}", Offer::Document, |call| read(call, sessions::show)),
    get("/v1/asp/sessions/{id}/transcript", Offer::Document, |call| read(call, sessions::transcript)),
    post("/v1/asp/sessions/{id}/answer", |call| messages::answer(call).boxed()),
    post("/v1/asp/sessions/{id}/messages", |call| messages::send(call).boxed()),
    get("/v1/asp/sessions/{id}/messages", Offer::DocumentOrEvents, |call| messages::read(call).boxed()),
    post("/v1/asp/sessions/{id}/ratings", |call| beside::rate(call).boxed()),
    post("/v1/asp/sessions/{id}/disputes", |call| beside::dispute(call).boxed()),
    get("/v1/asp/sessions/{id}/disputes/{disputeId}", Offer::Document, |call| done(beside::show_dispute(&call))),
    get("/v1/asp/events", Offer::Events, |call| done(stream::of_agent(&call))),
];

/// Method and path template of every route; `HEAD` goes with every `GET`.
pub fn table() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().map(|route| (route.method, route.path))
}

/// The router of `[api] listen`.
pub fn router(handle: Handle, settings: Settings) -> Router {
    let nonces = settings.nonce_key.clone().map(Nonces::new);
    let rate = NonZeroU32::new(settings.messages_per_second_per_agent).map(Rate::new);
    let shell = Arc::new(Shell { handle, settings, nonces, rate });
    let mut router = Router::new();
    for route in ROUTES {
        let filter = if route.method == "POST" { MethodFilter::POST } else { MethodFilter::GET };
        let shell = Arc::clone(&shell);
        router = router.route(route.path, on(filter, move |request: Request| run(shell, *route, request)));
    }
    let (unknown, wrong) = (Arc::clone(&shell), Arc::clone(&shell));
    router
        .fallback(move |request: Request| ready(refuse(&unknown, &request, no_such_path())))
        .method_not_allowed_fallback(move |request: Request| ready(refuse(&wrong, &request, no_such_method())))
        .layer(middleware::from_fn_with_state(shell, cors::allow))
}

fn no_such_path() -> Refusal {
    Refusal::new(Code::NotFound, "no such path; /.well-known/asp-configuration and /openapi.json list what there is")
}

fn no_such_method() -> Refusal {
    Refusal::new(Code::NotFound, "the path does not take this method; Allow names those it takes").status(405)
}

/// A request to a route, from first to last.
async fn run(shell: Arc<Shell>, route: Route, request: Request) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let accept = Accept::of(request.headers());
    let instance = request.uri().path().to_owned();
    let nonces = Arc::clone(&shell);
    let (choice, outcome) = match accept.choose(route.offer) {
        Ok(choice) => (choice, AssertUnwindSafe(handled(shell, route, request, choice)).catch_unwind().await),
        Err(refusal) => (Choice::Events, Ok(Err(refusal.into()))),
    };
    // The panic's text is already in the log, by the process's hook; the caller gets none of it.
    let outcome = outcome.unwrap_or_else(|_| Err(Refusal::new(Code::Unspecified, "a handler panicked").into()));
    let response = match outcome {
        Ok(reply) => reply.into_response(choice),
        Err(rejection) => rejection.into_response(accept.problem(), &instance),
    };
    measured(&method, route.path, started, with_nonce(&nonces, response))
}

async fn handled(shell: Arc<Shell>, route: Route, request: Request, choice: Choice) -> Outcome {
    (route.run)(Call::of(shell, request, choice).await?).await
}

/// A request that no route takes.
fn refuse(shell: &Shell, request: &Request, refusal: Refusal) -> Response {
    let started = Instant::now();
    let format = Accept::of(request.headers()).problem();
    let response = Rejection::from(refusal).into_response(format, request.uri().path());
    measured(request.method(), "unmatched", started, with_nonce(shell, response))
}

/// With `dpop_nonce` on, every answer carries the next nonce (docs/spec/details.md section 1).
fn with_nonce(shell: &Shell, mut response: Response) -> Response {
    let nonce = shell.nonces.as_ref().map(|nonces| nonces.current(shell.handle.now()));
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::from_str(&nonce).ok()) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    response
}

/// Counts a request. Labels are bounded: templates of paths and known methods, never a name of anything.
fn measured(method: &Method, route: &'static str, started: Instant, response: Response) -> Response {
    let method = match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    };
    let status = response.status().as_u16().to_string();
    tracing::debug!(method, route, status, "answered");
    metrics::counter!("asp_http_requests_total", "route" => route, "method" => method, "status" => status).increment(1);
    metrics::histogram!("asp_http_request_seconds", "route" => route).record(started.elapsed().as_secs_f64());
    response
}
