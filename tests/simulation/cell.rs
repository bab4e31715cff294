//! A simulated cell: the server's engine over disks that forget what was not synced.

use std::collections::BTreeMap;
use std::path::Path;

use asp_cell::crypto::entropy::{Entropy, Seeded, draw};
use asp_cell::crypto::es256::SigningKey;
use asp_cell::crypto::secret::Secret;
use asp_cell::disk::SimulatedDisk;
use asp_cell::engine::Engine;
use asp_cell::engine::shared::{Common, Settings, Signer};
use asp_cell::engine::start::{FORMAT, Parts};
use asp_cell::protocol::ids::CellId;
use asp_cell::protocol::money::{Currency, Money};
use asp_cell::protocol::rate::Rates;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::store::{Place, Store, Terms};
use asp_cell::vault::keys::KeyFile;
use asp_cell::vault::{TagKey, Vault};
use serde_json::json;

/// A cell with its disks; up or down.
pub struct Cell {
    pub id: CellId,
    zone: &'static str,
    peers: BTreeMap<CellId, (String, String)>,
    database: SimulatedDisk,
    vault: SimulatedDisk,
    keys: SimulatedDisk,
    store_key: [u8; 32],
    tag_key: [u8; 32],
    signer: String,
    seed: u64,
    /// Rates from its next start on.
    pub fx: Rates,
    pub up: Option<(Engine, Store)>,
}

impl Cell {
    /// A new cell, up.
    pub fn new(id: &str, zone: &'static str, others: &[(&str, &str)], seed: u64, now: Timestamp) -> Self {
        let mut luck = Seeded::new(seed);
        let peers = others.iter().map(|(id, zone)| (id.parse().unwrap(), ((*id).to_owned(), (*zone).to_owned())));
        let signer = SigningKey::generate(&draw(&mut luck)).unwrap().to_pkcs8_pem().unwrap().to_string();
        let mut cell = Self {
            id: id.parse().unwrap(),
            zone,
            peers: peers.collect(),
            database: SimulatedDisk::new(),
            vault: SimulatedDisk::new(),
            keys: SimulatedDisk::new(),
            store_key: draw(&mut luck),
            tag_key: draw(&mut luck),
            signer,
            seed,
            fx: Rates::default(),
            up: None,
        };
        let keys = KeyFile::create_on(cell.keys.clone(), &mut luck).unwrap();
        let vault = Vault::create(Path::new("vault"), Box::new(cell.vault.clone()), &keys, cell.entropy()).unwrap();
        let place = Place::Simulated(cell.database.clone());
        let store = Store::create(&place, cell.terms(&vault), now).unwrap();
        cell.assemble(store, vault, now);
        cell
    }

    /// From now on the disks say "durable" and forget.
    pub fn lie(&self) {
        self.database.lie_about_syncs();
        self.vault.lie_about_syncs();
    }

    /// Power is cut: what was not synced is kept, lost or torn by luck.
    pub fn cut_power(&mut self, luck: &mut Seeded) {
        self.up = None;
        self.database = self.database.power_cut(luck);
        self.vault = self.vault.power_cut(luck);
    }

    /// The same cell on disks of its own, as they are now; down.
    pub fn fork(&self) -> Self {
        let copy = |disk: &SimulatedDisk| SimulatedDisk::from_image(disk.image());
        Self {
            id: self.id.clone(),
            zone: self.zone,
            peers: self.peers.clone(),
            database: copy(&self.database),
            vault: copy(&self.vault),
            keys: copy(&self.keys),
            store_key: self.store_key,
            tag_key: self.tag_key,
            signer: self.signer.clone(),
            seed: self.seed,
            fx: self.fx.clone(),
            up: None,
        }
    }

    /// What the engine did so far: rows opened and sealed, and bytes that it wrote to the vault.
    pub fn touched(&self) -> (u64, u64) {
        (self.up.as_ref().unwrap().1.rows_touched(), self.vault.bytes_written())
    }

    /// From now on every change but the next few fails: of the vault, or of the database.
    pub fn fail_after(&self, vault: bool, changes: u64) {
        let disk = if vault { &self.vault } else { &self.database };
        disk.fail_after(changes, std::io::ErrorKind::Other);
    }

    /// Starts again on what the disks hold.
    pub fn restart(&mut self, now: Timestamp) {
        let keys = KeyFile::open_on(self.keys.clone());
        let vault = Vault::open(Path::new("vault"), Box::new(self.vault.clone()), &keys, self.entropy()).unwrap();
        let store = Store::open(&Place::Simulated(self.database.clone()), self.terms(&vault)).unwrap();
        self.assemble(store, vault, now);
    }

    /// What readers share, while the cell is up.
    pub fn shared(&self) -> Option<Common> {
        self.up.as_ref().map(|(engine, _)| engine.shared())
    }

    fn entropy(&mut self) -> Box<dyn Entropy> {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Box::new(Seeded::new(self.seed))
    }

    fn terms(&mut self, vault: &Vault) -> Terms {
        let key = Secret::take(&mut self.store_key.clone());
        let (cell, vault) = (self.id.clone(), vault.identity());
        Terms { key, cell, vault, format: FORMAT, cache_bytes: 1 << 20, entropy: self.entropy() }
    }

    fn assemble(&mut self, store: Store, vault: Vault, now: Timestamp) {
        let key = SigningKey::from_pkcs8_pem(&self.signer).unwrap();
        let mut jwk = key.public().to_jwk();
        jwk["kid"] = json!(key.thumbprint());
        let settings = Settings {
            cell: self.id.clone(),
            region: self.id.to_string(),
            zone: self.zone.to_owned(),
            public_url: public_url(&self.id),
            invitation_timeout: Span::seconds(3600),
            review_window: Span::days(3),
            grace: Span::days(1),
            dispute_window: Span::days(30),
            retention: Span::days(2557),
            placement_timeout: Span::seconds(2),
            peers: self.peers.clone(),
            trust_caps: BTreeMap::new(),
            fx: self.fx.clone(),
            exposure: self.peers.keys().map(|peer| (peer.clone(), owed())).collect(),
            operator_org: None,
        };
        let parts = Parts {
            settings,
            store,
            vault,
            epochs: Box::new(KeyFile::open_on(self.keys.clone())),
            tags: TagKey::new(Secret::take(&mut self.tag_key.clone())),
            media: ("simulated".to_owned(), true),
            signer: Signer { key, jwks: json!({"keys": [jwk]}) },
            erasures: None,
            backup_key: Secret::take(&mut [1; 32]),
            note_key: Secret::take(&mut [2; 32]),
            entropy: self.entropy(),
        };
        self.up = Some(Engine::open(parts, now).unwrap());
    }
}

/// The most that a peer may owe.
fn owed() -> BTreeMap<Currency, Money> {
    BTreeMap::from([(Currency::USD, Money { minor: 8_000, currency: Currency::USD })])
}

/// Where a cell's agents reach it.
pub fn public_url(id: &CellId) -> String {
    format!("https://{id}.example")
}
