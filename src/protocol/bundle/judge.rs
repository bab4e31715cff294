//! The off-line verifier of residency bundles: what left, each under a consent valid at that moment, and nothing else.
//!
//! It trusts neither cell: what a bundle leaves out is missing from its tree, or from what the peers have signed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::claim::Claimed;
use super::imports::{Imports, MAX_LISTED, Selection};
use super::leaf::{Day, Entry, Leaf, session_tag};
use crate::crypto::digest::Digest;
use crate::crypto::json::{Rules, read};
use crate::crypto::jws::Claim;
use crate::protocol::audit::{cosigners, signed};
use crate::protocol::checkpoint::Checkpoint;
use crate::protocol::class::DataClass;
use crate::protocol::consent::Consent;
use crate::protocol::consent::negotiation::Revocation;
use crate::protocol::ids::{CellId, ConsentId, OrgName};
use crate::protocol::merkle;
use crate::protocol::statement::Statement as _;
use crate::protocol::time::{Span, Timestamp};
use crate::protocol::transcript::cells::Cells;
use crate::protocol::transcript::consents::Consents;
use crate::protocol::transcript::{Pins, Report, list, text};

/// The `type` of a bundle.
pub const BUNDLE: &str = "asp/1.0 residency";
/// A message is queued within this of its admission.
const SKEW: Span = Span::seconds(60);

/// Verifies a bundle's bytes.
#[must_use]
pub fn verify_bytes(bytes: &[u8], pins: &Pins) -> Report {
    let mut report = Report::default();
    match read(bytes, Rules::WRITTEN) {
        Ok(file) => verify(&file, pins, &mut report),
        Err(rejected) => report.problem("file", rejected.to_string()),
    }
    report
}

fn verify(file: &Value, pins: &Pins, report: &mut Report) {
    if text(file, "type") != Some(BUNDLE) {
        report.problem("type", format!("expected type \"{BUNDLE}\""));
    }
    let Some(selection) = Selection::of(file) else {
        return report.problem("selection", "expected `session`, or `organisation` and `day`");
    };
    let Some(cell) = text(file, "cell").and_then(|id| id.parse::<CellId>().ok()) else {
        return report.problem("cell", "expected `cell`, whose export ledger this is");
    };
    let cells = Cells::read(file, pins, report);
    let consents = Consents::read(file, pins, report);
    let entries = entries(file, report);
    let bundle = Bundle { file, selection, cell, cells: &cells, consents: &consents, entries: &entries };
    let Some(claimed) = bundle.claimed(report) else { return };
    bundle.about(&claimed, report);
    bundle.selected(report);
    if let Some(checkpoint) = signed(text(file, "checkpoint"), "exports", &bundle.cell, &cells, report) {
        if checkpoint.size != claimed.tree_size {
            report.problem("claim", format!("it is of a ledger of {} entries", claimed.tree_size));
        }
        bundle.complete(&checkpoint, report);
        bundle.included(&checkpoint, report);
    }
    let ends = bundle.revocations(report);
    for entry in &entries {
        if let Err(why) = bundle.permitted(entry, &ends) {
            report.problem("consent", format!("entry {}: {why}", entry.index));
        }
    }
    bundle.needed(report);
    bundle.imported(&claimed, report);
    if claimed.entries != entries.len() as u64 {
        report.problem("claim", format!("the cell signed {} entries", claimed.entries));
    }
}

/// The entries, each of exactly its shape.
fn entries(file: &Value, report: &mut Report) -> Vec<Entry> {
    let mut entries = Vec::new();
    if file.get("entries").is_none() {
        report.problem("entry", "expected `entries`, a list");
    }
    for (place, value) in list(file, "entries", report).iter().enumerate() {
        match Entry::of(value) {
            Some(entry) => entries.push(entry),
            None => report.problem("entry", format!("what stands at place {place} is no entry of a ledger")),
        }
    }
    entries
}

impl Entry {
    /// The entry that a value is, exactly.
    fn of(value: &Value) -> Option<Self> {
        let entry: Self = serde_json::from_value(value.clone()).ok()?;
        (serde_json::to_value(&entry).ok().as_ref() == Some(value)).then_some(entry)
    }
}

struct Bundle<'f> {
    file: &'f Value,
    selection: Selection,
    cell: CellId,
    cells: &'f Cells,
    consents: &'f Consents,
    entries: &'f [Entry],
}

impl Bundle<'_> {
    /// The cell's word for what its bundle is about.
    fn claimed(&self, report: &mut Report) -> Option<Claimed> {
        let key_of = |claimed: &Claimed, kid: &str| {
            self.cells.keys(&claimed.cell).find(|key| key.thumbprint().to_string() == kid).copied()
        };
        let jws = text(self.file, "claim").unwrap_or_default();
        match Claimed::verify(jws, key_of) {
            Ok(claimed) => Some(claimed),
            Err(why) => {
                report.problem("claim", format!("expected `claim`, a JWS of kind residency by the cell: {why}"));
                None
            }
        }
    }

    /// What is claimed is what the file shows; a day is proven when it is over.
    fn about(&self, claimed: &Claimed, report: &mut Report) {
        let tag = self.file.get("organisationTag").and_then(Value::as_str).and_then(Digest::parse);
        if claimed.cell != self.cell || claimed.selection != self.selection {
            report.problem("selection", "the cell signed a bundle about something else");
        }
        if claimed.organisation_tag != tag {
            report.problem("claim", "the cell signed another organisationTag");
        }
        match &self.selection {
            Selection::Session { session } => report.about("session", json!(session)),
            Selection::Day { organisation, day } => {
                report.about("organisation", json!(organisation));
                report.about("day", json!(day));
                match (*day).cmp(&Day::of(claimed.at)) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => {
                        report.warn(format!("{day} was not over at {}: more may have left since", claimed.at));
                    }
                    std::cmp::Ordering::Greater => report.problem("selection", format!("{day} had not begun")),
                }
            }
        }
        report.about("type", json!(BUNDLE));
        report.about("cell", json!(self.cell));
        report.about("at", json!(claimed.at));
        report.about("entries", json!(self.entries.len()));
    }

    /// Each entry is of what the bundle is about, and of this cell.
    fn selected(&self, report: &mut Report) {
        for entry in self.entries {
            let right = match &self.selection {
                Selection::Session { session } => entry.session_id == Some(*session),
                Selection::Day { organisation, day } => {
                    entry.organisation == *organisation
                        && entry.day == *day
                        && Some(entry.organisation_tag) == self.tag()
                }
            };
            if !right || entry.from != self.cell || entry.to == self.cell {
                let detail = format!("entry {} is not of what the bundle is about, or not an export", entry.index);
                report.problem("entry", detail);
            }
            // What waited for a consent was admitted before.
            if entry.day > Day::of(entry.at + SKEW) {
                report.problem("entry", format!("entry {} was queued before its day {}", entry.index, entry.day));
            }
            let first = entry.relied.first().map(|relied| (relied.consent_id, relied.version));
            if first != entry.consent_id.zip(entry.version) {
                report.problem("entry", format!("entry {} names another consent than it relies on first", entry.index));
            }
        }
    }

    /// Every leaf from the first entry to the end of the tree is there, and none but the entries' is of the selection.
    fn complete(&self, checkpoint: &Checkpoint, report: &mut Report) {
        let proof = &self.file["completeness"];
        let number = |member: &str| proof.get(member).and_then(Value::as_u64);
        let full: Option<Vec<Digest>> = digests(proof.get("consistency"));
        let others: Option<Vec<Leaf>> =
            proof.get("others").and_then(Value::as_array).and_then(|all| all.iter().map(leaf_of).collect());
        let (Some(first), Some(full), Some(others)) = (number("firstIndex"), full, others) else {
            let expected = "expected firstIndex, treeSize, consistency (hashes) and others (leaves)";
            return report.problem("completeness", expected);
        };
        if number("treeSize") != Some(checkpoint.size) {
            return report.problem("completeness", "treeSize is not the checkpoint's");
        }
        let mut leaves: BTreeMap<u64, Leaf> = BTreeMap::new();
        let own = self.entries.iter().map(Entry::leaf);
        for leaf in own.chain(others.iter().cloned()) {
            let index = leaf.index;
            if leaves.insert(index, leaf).is_some() {
                return report.problem("completeness", format!("leaf {index} stands twice"));
            }
        }
        let dense = leaves.keys().copied().eq(first..checkpoint.size);
        let peaks: Vec<u64> = merkle::peaks(first).collect();
        if !dense || peaks.len() != full.len() {
            let detail = format!("expected each leaf from {first} to {}, and the trees before", checkpoint.size);
            return report.problem("completeness", detail);
        }
        let before: Vec<(u64, Digest)> = peaks.into_iter().zip(full).collect();
        let hashes: Vec<Digest> = leaves.values().map(|leaf| merkle::leaf(leaf.text().as_bytes())).collect();
        let root = merkle::root_after(before.clone(), hashes.iter().copied());
        if root != checkpoint.root {
            report.problem("root", format!("the leaves have root {root}; signed is {}", checkpoint.root));
        }
        for other in others.iter().filter(|other| self.hides(other)) {
            report
                .problem("completeness", format!("leaf {} is of what the bundle is about, and no entry", other.index));
        }
        self.numbered(first, report);
        for note in list(self.file, "cosigned", report) {
            match self.cosigned(note, first, &before, &hashes) {
                Ok((names, size)) => names.into_iter().for_each(|name| report.cosigner(name, size)),
                Err(why) => report.problem("cosignature", why),
            }
        }
    }

    /// Who has signed an earlier state of the ledger: one that ends within the leaves of the bundle, which lead to it.
    fn cosigned(
        &self,
        note: &Value,
        first: u64,
        before: &[(u64, Digest)],
        hashes: &[Digest],
    ) -> Result<(Vec<CellId>, u64), String> {
        let (Checkpoint { size, root, .. }, others) = cosigners(note, "exports", &self.cell, self.cells)?;
        let leaves = size.checked_sub(first).and_then(|count| hashes.get(..usize::try_from(count).ok()?));
        let leaves =
            leaves.ok_or_else(|| format!("{size} entries were cosigned; that is not within the leaves here"))?;
        if merkle::root_after(before.to_vec(), leaves.iter().copied()) == root {
            Ok((others, size))
        } else {
            Err(format!("the first {size} entries are not those that were cosigned"))
        }
    }

    /// Whether a leaf that is shown as another's is one of the selection.
    fn hides(&self, leaf: &Leaf) -> bool {
        match &self.selection {
            Selection::Session { session } => leaf.session == session_tag(*session),
            Selection::Day { day, .. } => leaf.day == *day && Some(leaf.organisation) == self.tag(),
        }
    }

    /// The organisation's tag in this ledger; where it has no entry there is no leaf under it either.
    fn tag(&self) -> Option<Digest> {
        let shown = self.file.get("organisationTag").and_then(Value::as_str).and_then(Digest::parse);
        shown.or_else(|| self.entries.first().map(|entry| entry.organisation_tag))
    }

    /// The entries are the first, second and so on of the selection, and stand in the order of their places.
    fn numbered(&self, first: u64, report: &mut Report) {
        for (nth, entry) in self.entries.iter().enumerate() {
            let number = match &self.selection {
                Selection::Session { .. } => entry.of_session,
                Selection::Day { .. } => entry.of_day,
            };
            if number != nth as u64 || Some(entry.organisation_tag) != self.tag_of(entry) {
                let detail = format!("entry {} is number {number} of its kind, at place {nth} here", entry.index);
                report.problem("completeness", detail);
            }
        }
        let begins = self.entries.first().map_or(0, |entry| entry.index);
        if begins != first {
            report
                .problem("completeness", format!("firstIndex is {first}; expected {begins}, where the entries begin"));
        }
        let ordered = self.entries.windows(2).all(|pair| matches!(pair, [a, b] if a.index < b.index));
        if !ordered {
            report.problem("completeness", "the entries do not stand in the order of their places");
        }
    }

    /// An organisation has one tag.
    fn tag_of(&self, entry: &Entry) -> Option<Digest> {
        let same = self.entries.iter().find(|other| other.organisation == entry.organisation);
        same.map(|other| other.organisation_tag)
    }

    fn included(&self, checkpoint: &Checkpoint, report: &mut Report) {
        let paths = self.file.get("inclusion").and_then(Value::as_array);
        let paths: Option<Vec<Vec<Digest>>> =
            paths.and_then(|all| all.iter().map(|path| digests(Some(path))).collect());
        let Some(paths) = paths.filter(|paths| paths.len() == self.entries.len()) else {
            return report.problem("inclusion", "expected `inclusion`, a path of hashes for each entry");
        };
        for (entry, path) in self.entries.iter().zip(paths) {
            let leaf = entry.leaf().text();
            if !merkle::includes(checkpoint.root, checkpoint.size, entry.index, leaf.as_bytes(), &path) {
                let detail = format!("the path does not lead from entry {} to the signed root", entry.index);
                report.problem("inclusion", detail);
            }
        }
    }

    /// When the consents of the file were revoked, as far as it says so.
    fn revocations(&self, report: &mut Report) -> BTreeMap<ConsentId, Timestamp> {
        let mut ends = BTreeMap::new();
        for value in list(self.file, "revocations", report) {
            match self.revocation(value) {
                Some(revocation) => drop(ends.insert(revocation.consent_id, revocation.at)),
                None => report.problem("revocation", "expected a JWS by a party of a consent of the file, or its cell"),
            }
        }
        ends
    }

    fn revocation(&self, value: &Value) -> Option<Revocation> {
        let claim = Claim::read(value.as_str()?, Revocation::KIND).ok()?;
        let revocation = Revocation::read(&claim).ok()?;
        let organisation = &revocation.organisation;
        let of_it = self.consents.valid().iter().filter(|c| c.document.clauses().consent_id == revocation.consent_id);
        for consent in of_it {
            let Some(party) = consent.document.party(organisation) else { continue };
            let by_org = consent.keys.get(organisation).filter(|key| key.thumbprint() == party.kid);
            let mut keys = by_org.into_iter().chain(self.cells.keys(&party.cell));
            if keys.any(|key| claim.clone().verify(key).is_ok()) {
                return Some(revocation);
            }
        }
        None
    }

    /// The consents of the file are those that the entries rely on, each once.
    fn needed(&self, report: &mut Report) {
        let relied = self.entries.iter().flat_map(|entry| &entry.relied);
        let relied: BTreeSet<_> = relied.map(|relied| (relied.consent_id, relied.version)).collect();
        let mut seen = BTreeSet::new();
        for consent in self.consents.valid() {
            let clauses = consent.document.clauses();
            let name = (clauses.consent_id, clauses.version);
            if !relied.contains(&name) || !seen.insert(name) {
                report.problem(
                    "consent",
                    format!("consent {} version {} is relied on by no entry, or twice here", name.0, name.1),
                );
            }
        }
    }

    /// Whether the consents it relied on let this entry cross at its moment.
    fn permitted(&self, entry: &Entry, ends: &BTreeMap<ConsentId, Timestamp>) -> Result<(), String> {
        let receivers: BTreeSet<_> = entry.relied.iter().map(|relied| &relied.to).collect();
        if receivers.is_empty() {
            return Err("it relies on no consent".to_owned());
        }
        for receiver in receivers {
            let mut covered = BTreeSet::new();
            for relied in entry.relied.iter().filter(|relied| relied.to == *receiver) {
                let (id, version) = (relied.consent_id, relied.version);
                let consent = self.consents.find(id, version);
                let consent = consent
                    .ok_or_else(|| format!("consent {id} version {version}, signed by both, is not in the file"))?;
                if relied.from != entry.organisation {
                    return Err(format!("it relies on a consent for the data of {}", relied.from));
                }
                self.lets(consent, entry, receiver, ends)?;
                covered.extend(consent.document.clauses().classes.iter().map(DataClass::name));
            }
            if let Some(class) = entry.classes.iter().find(|class| !covered.contains(class.as_str())) {
                return Err(format!("class {class} is covered by no consent with {receiver}"));
            }
        }
        Ok(())
    }

    /// Window, direction, cells and zones of one consent.
    fn lets(
        &self,
        consent: &Consent,
        entry: &Entry,
        receiver: &OrgName,
        ends: &BTreeMap<ConsentId, Timestamp>,
    ) -> Result<(), String> {
        let clauses = consent.document.clauses();
        let (id, at) = (clauses.consent_id, entry.at);
        if at < clauses.not_before || at >= clauses.not_after {
            return Err(format!("at {at} consent {id} was not in force"));
        }
        if ends.get(&id).is_some_and(|end| at >= *end) {
            return Err(format!("at {at} consent {id} was revoked"));
        }
        if !clauses.directions.iter().any(|way| way.from == entry.organisation && way.to == *receiver) {
            return Err(format!("consent {id} lets nothing go from {} to {receiver}", entry.organisation));
        }
        let (from, to) = (consent.document.party(&entry.organisation), consent.document.party(receiver));
        let (Some(from), Some(to)) = (from, to) else { return Err(format!("{receiver} is no party of consent {id}")) };
        if from.cell != entry.from || to.cell != entry.to {
            return Err(format!("consent {id} is between the cells {} and {}", from.cell, to.cell));
        }
        for party in [from, to] {
            if !self.cells.lists(&party.cell) || !self.cells.lies_where(party) {
                let (region, zone) = (&party.region, &party.zone);
                return Err(format!("cell {} is not shown in region {region}, zone {zone}", party.cell));
            }
        }
        Ok(())
    }

    /// What the peers have signed of their imports is what left for them.
    fn imported(&self, claimed: &Claimed, report: &mut Report) {
        let mut left: BTreeMap<&CellId, Vec<&Entry>> = BTreeMap::new();
        for entry in self.entries {
            left.entry(&entry.to).or_default().push(entry);
        }
        let undelivered: Option<BTreeSet<u64>> = match self.file.get("undelivered") {
            None => Some(BTreeSet::new()),
            Some(all) => all.as_array().and_then(|all| all.iter().map(Value::as_u64).collect()),
        };
        let Some(undelivered) = undelivered else {
            return report.problem("imports", "expected `undelivered`, a list of indexes");
        };
        let silent: BTreeSet<&str> = list(self.file, "unanswered", report).iter().filter_map(Value::as_str).collect();
        let mut spoken = BTreeSet::new();
        for value in list(self.file, "imports", report) {
            match self.word(value) {
                Ok(word) => {
                    self.compared(&word, left.get(&word.cell).map_or(&[], Vec::as_slice), &undelivered, report);
                    if !spoken.insert(word.cell.clone()) {
                        report.problem("imports", format!("cell {} speaks twice", word.cell));
                    }
                }
                Err(why) => report.problem("imports", why),
            }
        }
        report.about("importers", json!(spoken));
        let expected: BTreeSet<&CellId> = left.keys().copied().chain(&claimed.asked).collect();
        for cell in expected.into_iter().filter(|cell| !spoken.contains(*cell)) {
            if silent.contains(cell.as_str()) {
                report.warn(format!("cell {cell} has not said what it imported: nobody but {} says so", self.cell));
            } else {
                report.problem("imports", format!("what cell {cell} says of its imports is not in the file"));
            }
        }
        if spoken.is_empty() {
            report.warn(format!("no other cell has said what it imported: this is the word of {} alone", self.cell));
        }
        if !undelivered.is_empty() {
            report.warn(format!("{} entries were queued and not imported by their peers yet", undelivered.len()));
        }
    }

    /// A peer's statement, about this cell and selection.
    fn word(&self, value: &Value) -> Result<Imports, String> {
        let jws = value.as_str().ok_or("expected JWS of kind imports")?;
        let key_of = |word: &Imports, kid: &str| {
            self.cells.keys(&word.cell).find(|key| key.thumbprint().to_string() == kid).copied()
        };
        let word = Imports::verify(jws, key_of).map_err(|why| format!("a JWS of kind imports: {why}"))?;
        if word.to != self.cell || word.asks || word.selection != self.selection || word.cell == self.cell {
            return Err(format!("the statement of {} is about something else", word.cell));
        }
        let checkpoint = signed(word.checkpoint.as_deref(), "imports", &word.cell, self.cells, &mut Report::default());
        let size = checkpoint.ok_or_else(|| format!("{} has signed no checkpoint of its imports", word.cell))?.size;
        let ascending = word.envelopes.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        let listed = word.envelopes.len();
        if word.count != listed as u64 || word.count > size || !ascending || listed > MAX_LISTED {
            return Err(format!("the statement of {} contradicts itself", word.cell));
        }
        Ok(word)
    }

    fn compared(&self, word: &Imports, left: &[&Entry], undelivered: &BTreeSet<u64>, report: &mut Report) {
        // What left again under another consent has two entries, and is one thing where it arrives.
        let mut arrived: BTreeMap<Digest, u64> = BTreeMap::new();
        for entry in left.iter().filter(|entry| !undelivered.contains(&entry.index)) {
            let bytes = arrived.entry(entry.envelope).or_default();
            *bytes = entry.bytes.max(*bytes);
        }
        let known: BTreeSet<Digest> = word.envelopes.iter().copied().collect();
        let all: BTreeSet<Digest> = left.iter().map(|entry| entry.envelope).collect();
        let (cell, says) = (&word.cell, word.count);
        if let Some(unlisted) = known.iter().find(|envelope| !all.contains(envelope)) {
            let detail = format!("cell {cell} imported {unlisted}, which is no entry: more left than is shown");
            return report.problem("imports", detail);
        }
        if arrived.len() as u64 != says || arrived.keys().any(|envelope| !known.contains(envelope)) {
            let detail = format!("{} entries went to cell {cell}, which has imported {says} of them", arrived.len());
            return report.problem("imports", detail);
        }
        // What was erased or narrowed on its way is shorter where it arrived, never longer.
        if word.bytes > arrived.values().sum() {
            report.problem("imports", format!("cell {cell} imported {} bytes, more than left for it", word.bytes));
        }
    }
}

fn digests(value: Option<&Value>) -> Option<Vec<Digest>> {
    let all = value?.as_array()?;
    all.iter().map(|hash| hash.as_str().and_then(Digest::parse)).collect()
}

fn leaf_of(value: &Value) -> Option<Leaf> {
    let leaf: Leaf = serde_json::from_value(value.clone()).ok()?;
    (serde_json::to_value(&leaf).ok().as_ref() == Some(value)).then_some(leaf)
}
