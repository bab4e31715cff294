//! From an opened data directory to a running engine: what is in memory is read again, what a crash cut off is
//! finished, then the writer takes work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, RwLock};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::clock::Clock;
use super::command::Command;
use super::core::{Counters, Engine};
use super::handle::Handle;
use super::shared::{Common, Facts, Settings, Shared, Signer};
use super::stop::bug;
use super::tables::{self, AgentRow};
use super::writer;
use super::{forgotten, registry, sealing};
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::NoteKey;
use crate::crypto::entropy::Entropy;
use crate::crypto::secret::Secret;
use crate::protocol::ids::{AgentId, CellId, OrgName, SessionId};
use crate::protocol::time::Timestamp;
use crate::store::erasures::Erasures;
use crate::store::{Fault, Format, Order, Read, Store, View as Rows};
use crate::vault::{EpochKeys, TagKey, Vault};

/// The format of the database: the tables of `engine::tables`.
pub const FORMAT: Format = Format { version: 6, migrations: &[] };

/// What an engine is made of.
pub struct Parts {
    /// What the configuration says.
    pub settings: Settings,
    /// The database.
    pub store: Store,
    /// The vault.
    pub vault: Vault,
    /// The keys of its epochs.
    pub epochs: Box<dyn EpochKeys>,
    /// The tag key.
    pub tags: TagKey,
    /// Kind of medium the vault lies on, and whether overwriting it is trusted.
    pub media: (String, bool),
    /// The cell's signing key.
    pub signer: Signer,
    /// What was erased: what the database does not know of is erased again before anything else happens.
    pub erasures: Option<Erasures>,
    /// What seals backups.
    pub backup_key: Secret,
    /// The seed of the key by which outside witnesses know the cell's log.
    pub note_key: Secret,
    /// Randomness.
    pub entropy: Box<dyn Entropy>,
}

impl Engine {
    /// An engine over an opened store, with what a crash cut off finished.
    pub fn open(parts: Parts, now: Timestamp) -> Result<(Self, Store), Fault> {
        let Parts { settings, mut store, vault, epochs, tags, media, signer, mut erasures, .. } = parts;
        let (backup_key, mut entropy) = (parts.backup_key, parts.entropy);
        let note_key = NoteKey::of(&parts.note_key).ok_or_else(|| bug("the seed of the note key is refused"))?;
        let stream = stream_id(&mut store, &mut *entropy)?;
        let rows = store.read()?;
        let facts = Arc::new(facts(&rows)?);
        let shared = Shared {
            settings,
            reader: store.reader(),
            vault,
            epochs,
            tags,
            media,
            stream,
            signer,
            facts: ArcSwap::from(Arc::clone(&facts)),
            directory: RwLock::new(HashMap::new()),
            spent: Mutex::new(spent(&rows)?),
            clock_off: AtomicI64::new(0),
            backup_key,
            note_key,
            erasures: erasures.as_ref().map(|ledger| ledger.path().to_owned()),
        };
        let directory = directory(&shared, &rows)?;
        *shared.directory.write().map_err(|_| bug("a lock is poisoned"))? = directory;
        let again = erasures.as_mut().map(|ledger| forgotten::unknown(&rows, ledger)).transpose()?.unwrap_or_default();
        let mut engine = Self {
            shared: Arc::new(shared),
            entropy,
            live: HashMap::new(),
            next: counters(&rows)?,
            due: due(&rows)?,
            facts,
            directory_changes: Vec::new(),
            receipts_due: BTreeSet::new(),
            erasures,
            forgot_at: now,
            ripe: BTreeSet::new(),
            waiting: BTreeMap::new(),
            owed: BTreeMap::new(),
            more_due: false,
            ordered: super::ordering::Ordered::default(),
            spoken: super::stated::Spoken::default(),
            looked_at: Timestamp(0),
            replayed: false,
        };
        engine.not_older()?;
        for erased in again {
            engine.commit(&mut store, now, vec![Command::EraseAgain(Box::new(erased))])?;
        }
        engine.unfinished_erasures(&store.read()?)?;
        engine.replayed = super::again::replayed(&store.read()?)?;
        while !engine.ripe.is_empty() {
            engine.commit(&mut store, now, Vec::new())?;
        }
        // An epoch that ended as the process did: what it sealed is certified before anything else happens.
        while engine.shared.unsealed()? {
            engine.commit(&mut store, now, vec![Command::EpochEnded])?;
        }
        Ok((engine, store))
    }

    /// The half that readers share.
    #[must_use]
    pub fn shared(&self) -> Common {
        Arc::clone(&self.shared)
    }
}

/// Opens the engine and starts its writer on a thread of its own.
pub fn start(parts: Parts, clock: Arc<dyn Clock>) -> Result<(Handle, std::thread::JoinHandle<()>), Fault> {
    let (engine, store) = Engine::open(parts, clock.now())?;
    let (jobs, waiting) = mpsc::channel(writer::QUEUE);
    let (handle, ear) = Handle::new(engine.shared(), Arc::clone(&clock), jobs);
    let thread = writer::start(engine, store, clock, waiting, ear)
        .map_err(|error| bug(format!("the writer thread did not start: {error}")))?;
    Ok((handle, thread))
}

/// The id of this cell's outgoing stream, drawn once in the life of a store.
fn stream_id(store: &mut Store, entropy: &mut dyn Entropy) -> Result<[u8; 16], Fault> {
    let mut write = store.write()?;
    if let Some(stream) = write.get(&tables::STREAM, &0)? {
        return Ok(stream);
    }
    let stream = crate::crypto::entropy::draw(entropy);
    write.put(&tables::STREAM, &0, &stream)?;
    write.commit()?;
    Ok(stream)
}

fn facts(rows: &Read) -> Result<Facts, Fault> {
    let all = usize::MAX;
    let orgs = rows.range(&tables::ORGS, .., Order::Forward, all)?;
    let consents = rows.range(&tables::CONSENTS, .., Order::Forward, all)?;
    let peers = rows.range(&tables::PEERS, .., Order::Forward, all)?;
    let mut untold: BTreeMap<CellId, BTreeMap<_, _>> = BTreeMap::new();
    for ((peer, consent), statement) in rows.range(&tables::UNTOLD, .., Order::Forward, all)? {
        untold.entry(peer).or_default().insert(consent, statement);
    }
    Ok(Facts {
        orgs: orgs.into_iter().map(|(_, org)| (org.name.clone(), org)).collect::<BTreeMap<OrgName, _>>(),
        consents: consents.into_iter().collect(),
        peers: peers.into_iter().collect(),
        untold,
        reminding: BTreeMap::new(),
    })
}

fn spent(rows: &Read) -> Result<HashMap<Digest, Timestamp>, Fault> {
    let rows = rows.range(&tables::SPENT, .., Order::Forward, usize::MAX)?;
    Ok(rows.into_iter().map(|((until, key), ())| (key, Timestamp(until.cast_signed()))).collect())
}

fn directory(shared: &Shared, rows: &Read) -> Result<HashMap<Digest, AgentId>, Fault> {
    let mut directory = HashMap::new();
    for (tag, row) in rows.range(&tables::AGENTS, .., Order::Forward, usize::MAX)? {
        let row: AgentRow = row;
        if let Some(agent) = registry::open_agent(shared, tag, &row)?
            && let Some(key) = agent.key()
        {
            directory.insert(key.thumbprint, agent.id.clone());
        }
    }
    Ok(directory)
}

fn counters(rows: &Read) -> Result<Counters, Fault> {
    let acked = rows.range(&tables::ACKED, .., Order::Forward, usize::MAX)?;
    Ok(Counters {
        log: next(rows.last(&tables::LOG)?),
        dead: next(rows.last(&tables::DEAD)?),
        exports: length(rows.last(&tables::EXPORTS)?),
        imports: length(rows.last(&tables::IMPORTS)?),
        audit: length(rows.last(&tables::AUDIT)?),
        postings: length(rows.last(&tables::POSTINGS)?),
        written: rows.get(&sealing::WRITTEN, &0)?.unwrap_or_default(),
        acked: acked.into_iter().collect::<HashMap<CellId, u64>>(),
        ..Counters::default()
    })
}

fn next<V>(last: Option<(u64, V)>) -> u64 {
    last.map_or(1, |(number, _)| number + 1)
}

/// The length of a log whose entries count from 0.
fn length<V>(last: Option<(u64, V)>) -> u64 {
    last.map_or(0, |(index, _)| index + 1)
}

fn due(rows: &Read) -> Result<BTreeSet<(Timestamp, SessionId)>, Fault> {
    let rows = rows.range(&tables::DEADLINES, .., Order::Forward, usize::MAX)?;
    Ok(rows.into_iter().map(|((at, session), ())| (Timestamp(at.cast_signed()), session)).collect())
}
