//! What must be so of every frame that leaves a cell for another region: its ledger has an entry for it, under the
//! consents it goes under, with at least the classes it shows. docs/spec/federation.md section 2 ("Export ledger").

use std::collections::BTreeSet;

use asp_cell::crypto::digest::Digest;
use asp_cell::engine::tables::{EXPORTS, IMPORTS};
use asp_cell::protocol::class::DataClass;
use asp_cell::protocol::envelope::Envelope;
use asp_cell::protocol::ids::{CellId, OrgName, SessionId};
use asp_cell::store::{Order, View as _};
use asp_cell::wire::frame::{About, Body, Frame, PartFrame, Relied};

use super::net::Net;

/// What a frame shows, as an entry must have it.
struct Shown {
    what: &'static str,
    organisation: OrgName,
    to: CellId,
    envelope: Digest,
    relied: Vec<Relied>,
    classes: BTreeSet<String>,
}

/// An entry, as far as tests ask.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub organisation: String,
    pub other: String,
    pub envelope: Digest,
    pub classes: Vec<String>,
    pub versions: Vec<u64>,
    pub bytes: u64,
    pub session: Option<SessionId>,
}

/// The export ledger of a cell.
pub fn exports(net: &Net, cell: usize) -> Vec<Line> {
    lines(net, cell, true)
}

/// The import ledger of a cell.
pub fn imports(net: &Net, cell: usize) -> Vec<Line> {
    lines(net, cell, false)
}

fn lines(net: &Net, cell: usize, out: bool) -> Vec<Line> {
    let table = if out { &EXPORTS } else { &IMPORTS };
    let rows = net.read(cell, |view| view.rows.range(table, .., Order::Forward, usize::MAX).unwrap());
    let line = |(_, entry): (u64, asp_cell::engine::tables::Crossed)| Line {
        organisation: entry.organisation.to_string(),
        other: if out { entry.to.to_string() } else { entry.from.to_string() },
        envelope: entry.envelope,
        classes: entry.classes,
        versions: entry.relied.iter().map(|relied| relied.version).collect(),
        bytes: entry.bytes,
        session: entry.session,
    };
    rows.into_iter().map(line).collect()
}

/// Panics where a frame from `cell` has no such entry in the ledger of the cell whose data it shows.
pub fn check(net: &Net, cell: usize, frame: &[u8]) {
    let frame = Frame::decode(frame).unwrap();
    for shown in shown(net, cell, &frame) {
        let home = net.home(&shown.organisation);
        if net.cells[home].id == shown.to || net.cells[home].up.is_none() {
            // What comes home crosses nothing.
            continue;
        }
        let rows = net.read(home, |view| view.rows.range(&EXPORTS, .., Order::Forward, usize::MAX).unwrap());
        let found = rows.iter().any(|(_, entry)| {
            entry.organisation == shown.organisation
                && entry.to == shown.to
                && entry.envelope == shown.envelope
                && entry.relied == shown.relied
                && shown.classes.iter().all(|class| entry.classes.contains(class))
        });
        let entries: Vec<_> = rows.iter().filter(|(_, entry)| entry.envelope == shown.envelope).collect();
        assert!(
            found,
            "a {} of {} to {} under {:?} with {:?} has no such entry, but {entries:?}",
            shown.what, shown.organisation, shown.to, shown.relied, shown.classes
        );
    }
}

fn shown(net: &Net, cell: usize, frame: &Frame) -> Vec<Shown> {
    let to = frame.to.clone();
    let one = |what, organisation: OrgName, envelope, to: CellId, relied: Vec<Relied>, classes| {
        vec![Shown { what, organisation, to, envelope, relied, classes }]
    };
    match &frame.body {
        Body::Submit(submit) => {
            let envelope = Envelope::of_record(&record_of(submit)).hash();
            let own = submit.crossings.iter().find(|crossing| crossing.cell == to).unwrap();
            let trust = submit.profile.as_ref().is_some_and(|profile| profile.trust.is_some());
            let classes = classes(submit.parts.iter(), trust, DataClass::Metadata);
            one("submission", frame.on_behalf_of.clone().unwrap(), envelope, to, own.relied.clone(), classes)
        }
        Body::Record(placed) => {
            let envelope = Envelope::of_record(&placed.record).hash();
            let inviter =
                || net.kept(cell, placed.record.session_id).unwrap().session.participants[0].home.organisation.clone();
            let organisation = frame.on_behalf_of.clone().unwrap_or_else(inviter);
            let trust = placed.profile.as_ref().is_some_and(|profile| profile.trust.is_some());
            let classes = classes(placed.parts.iter(), trust, DataClass::Metadata);
            one("record", organisation, envelope, to, placed.relied.clone(), classes)
        }
        Body::Beside(note) => {
            let class = note.said.class().unwrap_or(DataClass::Metadata);
            let classes = classes(note.parts.iter(), false, class);
            let organisation = frame.on_behalf_of.clone().unwrap();
            one("note", organisation, note.said.envelope(), to, note.relied.clone(), classes)
        }
        Body::Statement { said, about, jws, relied, .. } => {
            let Some(class) = said.class() else {
                assert!(relied.is_empty());
                return Vec::new();
            };
            assert!(!matches!(about, About::Cells) && !relied.is_empty(), "a {said:?} under no consent");
            let organisations: BTreeSet<&OrgName> = relied.iter().map(|relied| &relied.from).collect();
            let of = |organisation: &OrgName| Shown {
                what: "statement",
                organisation: organisation.clone(),
                to: to.clone(),
                envelope: Digest::of(&[jws.as_bytes()]),
                relied: relied.iter().filter(|relied| relied.from == *organisation).cloned().collect(),
                classes: BTreeSet::from([class.name().to_owned()]),
            };
            organisations.into_iter().map(of).collect()
        }
        Body::Refused { .. }
        | Body::Receipt { .. }
        | Body::Want { .. }
        | Body::Assent(_)
        | Body::Organisations(_)
        | Body::Consent(_)
        | Body::Revocation { .. }
        | Body::Erase(_)
        | Body::Erased { .. }
        | Body::ConsentsHeld(_)
        | Body::ConsentsTold(_) => Vec::new(),
    }
}

fn classes<'p>(
    parts: impl Iterator<Item = (&'p String, &'p PartFrame)>,
    trust: bool,
    whole: DataClass,
) -> BTreeSet<String> {
    let open = parts.filter(|(_, part)| matches!(part, PartFrame::Open(_)));
    let open = open.filter_map(|(name, _)| DataClass::of_part(name));
    let all = open.chain([whole]).chain(trust.then_some(DataClass::Trust));
    all.map(|class| class.name().to_owned()).collect()
}

fn record_of(submit: &asp_cell::wire::frame::Submit) -> asp_cell::protocol::record::Record {
    use asp_cell::protocol::record::{Record, Sender};
    Record {
        session_id: submit.session_id,
        host: "nobody".parse().unwrap(),
        epoch: 1,
        sequence: 1,
        timestamp: submit.boxed.admitted_at,
        sender: Sender::Participant(submit.sender),
        performative: submit.performative,
        reference_id: submit.reference_id,
        seen: submit.seen,
        terms: submit.terms.clone(),
        message_id: submit.message_id,
        parts: submit.parts.iter().map(|(name, part)| (name.clone(), part.commitment())).collect(),
        proof_hash: asp_cell::protocol::record::proof_hash(""),
    }
}
