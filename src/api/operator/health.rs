//! gRPC health and reflection on the operators' listener: for machines that watch and people who look around, so
//! without a token; neither says more than `/readyz` and the published contract. Source: docs/spec/api.md section 2.

use std::time::Duration;

use axum::Router;
use futures::StreamExt as _;
use futures::stream::{BoxStream, unfold};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::contract::DESCRIPTORS;
use super::plain::{Vital, is_ready};

/// What can be asked for: the cell as a whole, and its one service by name.
const SERVICES: [&str; 2] = ["", "asp.v1.CellService"];
/// How often a watch looks.
const LOOK: Duration = Duration::from_secs(1);

/// `routes` with both services.
pub(super) fn with(routes: Router, vital: impl Vital) -> Router {
    let routes = routes.route_service("/grpc.health.v1.Health/{*rpc}", HealthServer::new(Probe(vital)));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    match reflection {
        Ok(service) => routes.route_service("/grpc.reflection.v1.ServerReflection/{*rpc}", service),
        Err(error) => {
            tracing::error!(%error, "gRPC reflection is off");
            routes
        }
    }
}

/// Answers with what the checks say at the moment.
#[derive(Clone)]
struct Probe<V>(V);

impl<V: Vital> Probe<V> {
    fn now(&self) -> ServingStatus {
        if is_ready(&self.0.checks()) { ServingStatus::Serving } else { ServingStatus::NotServing }
    }

    /// The status once it is another than `last`, and what to compare with next; `None` ends the watch.
    async fn change(self, last: Option<ServingStatus>) -> Option<(ServingStatus, (Self, Option<ServingStatus>))> {
        // A watch that said no ends, so that none holds a drain up; its client calls again.
        if last == Some(ServingStatus::NotServing) {
            return None;
        }
        loop {
            let now = self.now();
            if last != Some(now) {
                return Some((now, (self, Some(now))));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl<V: Vital> Health for Probe<V> {
    async fn check(&self, call: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if SERVICES.contains(&call.get_ref().service.as_str()) {
            return Ok(Response::new(response(self.now())));
        }
        Err(Status::not_found("no such service; expected none, or asp.v1.CellService"))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, call: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        if !SERVICES.contains(&call.get_ref().service.as_str()) {
            let unknown = response(ServingStatus::ServiceUnknown);
            return Ok(Response::new(futures::stream::iter([Ok(unknown)]).boxed()));
        }
        let changes = unfold((self.clone(), None), |(probe, last)| probe.change(last));
        Ok(Response::new(changes.map(|status| Ok(response(status))).boxed()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::Value;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    use super::*;
    use crate::api::operator::{Operator, Token, router};
    use crate::engine::Operation;
    use crate::protocol::refusal::{Code, Refusal};

    struct Nobody;

    impl Operator for Nobody {
        async fn operate(&self, _: Operation) -> Result<Value, Refusal> {
            Err(Refusal::new(Code::NotFound, "nobody"))
        }
    }

    #[derive(Clone, Default)]
    struct Store(Arc<AtomicBool>);

    impl Vital for Store {
        fn checks(&self) -> Vec<(&'static str, String)> {
            let state = if self.0.load(Ordering::SeqCst) { "stopped" } else { "ok" };
            vec![("store", state.to_owned())]
        }
    }

    fn listener(store: &Store) -> Router {
        router(Arc::new(Nobody), Token::new("t"), store.clone(), String::new)
    }

    fn asked(service: &str) -> HealthCheckRequest {
        HealthCheckRequest { service: service.to_owned() }
    }

    #[tokio::test]
    async fn health_says_what_the_checks_say() {
        let store = Store::default();
        let mut client = HealthClient::new(listener(&store));
        let mut watch = client.watch(asked("")).await.unwrap().into_inner();
        for service in SERVICES {
            let status = client.check(asked(service)).await.unwrap().into_inner().status();
            assert_eq!(status, ServingStatus::Serving);
        }
        assert_eq!(client.check(asked("other")).await.unwrap_err().code(), tonic::Code::NotFound);
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        store.0.store(true, Ordering::SeqCst);
        assert_eq!(client.check(asked("")).await.unwrap().into_inner().status(), ServingStatus::NotServing);
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        assert_eq!(watch.message().await.unwrap(), None, "a drain does not wait for it");
    }

    #[tokio::test]
    async fn reflection_lists_the_services() {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new(listener(&Store::default()));
        let answers = client.server_reflection_info(futures::stream::iter([request])).await.unwrap();
        let answer = answers.into_inner().message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(listed)) = answer else { panic!("{answer:?}") };
        let mut names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
        names.sort();
        assert_eq!(names, ["asp.v1.CellService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]);
    }
}
