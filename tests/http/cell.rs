//! One cell without peers: a whole engine on a temporary directory, and the router before it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use asp_cell::api::http::{Settings, router};
use asp_cell::crypto::es256::SigningKey;
use asp_cell::engine::clock::{Clock as _, SystemClock};
use asp_cell::engine::shared::{Settings as CellSettings, Signer};
use asp_cell::engine::start::{FORMAT, Parts, start};
use asp_cell::engine::{Handle, Operation};
use asp_cell::protocol::time::Span;
use asp_cell::store::directory::Lock;
use asp_cell::store::{DataDir, Layout};
use asp_cell::vault::MediaPolicy;
use asp_cell::vault::entropy::OsEntropy;
use axum::Router;
use serde_json::json;

use super::Agent;

const ORGANISATIONS: [&str; 2] = ["acme.example", "beta.example"];

/// A running cell.
pub struct Cell {
    pub router: Router,
    pub handle: Handle,
    pub public_url: String,
    enrolment_keys: HashMap<String, String>,
    _lock: Lock,
    _directory: tempfile::TempDir,
}

impl Cell {
    /// A cell with two organisations.
    pub async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (parts, lock) = parts(directory.path());
        let public_url = parts.settings.public_url.clone();
        let (handle, _writer) = start(parts, Arc::new(SystemClock)).unwrap();
        let mut enrolment_keys = HashMap::new();
        for organisation in ORGANISATIONS {
            let added = handle.operate(Operation::OrgAdd { org: organisation.parse().unwrap() }).await.unwrap();
            enrolment_keys.insert(organisation.to_owned(), added["enrolmentKey"].as_str().unwrap().to_owned());
        }
        let router = router(handle.clone(), settings);
        Self { router, handle, public_url, enrolment_keys, _lock: lock, _directory: directory }
    }

    /// The same cell behind a router with other settings.
    pub fn behind(self, settings: Settings) -> Self {
        Self { router: router(self.handle.clone(), settings), ..self }
    }

    pub fn enrolment_key(&self, organisation: &str) -> &str {
        &self.enrolment_keys[organisation]
    }
}

/// Two agents of the cell's two organisations, not yet registered, with names of their own.
pub fn two_agents() -> (Agent, Agent) {
    let name = uuid::Uuid::new_v4();
    let agent = |organisation| Agent::new(&format!("agent://{organisation}/a-{name}"));
    (agent(ORGANISATIONS[0]), agent(ORGANISATIONS[1]))
}

fn parts(directory: &Path) -> (Parts, Lock) {
    let cell: asp_cell::protocol::ids::CellId = "eu-west-1".parse().unwrap();
    let place = DataDir {
        layout: Layout::under(directory),
        cell: cell.clone(),
        media: MediaPolicy::Untrusted,
        cache_bytes: 8 << 20,
        format: FORMAT,
    };
    place.create(SystemClock.now()).unwrap();
    let opened = place.open().unwrap();
    let key = SigningKey::generate(&[7; 32]).unwrap();
    let mut jwk = key.public().to_jwk();
    jwk["kid"] = json!(key.thumbprint());
    let parts = Parts {
        settings: CellSettings {
            cell,
            region: "eu-west-1".to_owned(),
            zone: "EEA".to_owned(),
            public_url: "http://cell.example:8080".to_owned(),
            invitation_timeout: Span::seconds(30),
            review_window: Span::days(3),
            grace: Span::days(1),
            dispute_window: Span::days(30),
            retention: Span::days(2557),
            placement_timeout: Span::seconds(2),
            peers: BTreeMap::new(),
            trust_caps: BTreeMap::new(),
            fx: asp_cell::protocol::rate::Rates::default(),
            exposure: BTreeMap::new(),
            operator_org: None,
        },
        store: opened.store,
        vault: opened.vault,
        epochs: Box::new(opened.epochs),
        tags: opened.tags,
        media: (opened.media.kind, opened.media.trusted),
        signer: Signer { key, jwks: json!({"keys": [jwk]}) },
        erasures: None,
        backup_key: asp_cell::crypto::secret::Secret::take(&mut [1; 32]),
        note_key: asp_cell::crypto::secret::Secret::take(&mut [2; 32]),
        entropy: Box::new(OsEntropy),
    };
    (parts, opened.lock)
}
