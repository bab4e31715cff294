//! Nobody changes a transcript unseen: every member of the standing transcript is changed, struck, written twice or
//! exchanged in turn, and each result is corrupt, or the place is on the list of those that prove nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod vector;

use std::collections::BTreeMap;
use std::fmt;

use asp_cell::crypto::jwk::PublicKey;
use asp_cell::protocol::certificate::Authorities;
use asp_cell::protocol::transcript::{Pins, Verdict, verify, verify_bytes};
use proptest::prelude::*;
use serde_json::{Value, json};
use vector::File;

fn standing() -> (Value, Pins) {
    let others = &["note", "caPem", "organisationKeys", "transcript", "verdict", "messages"];
    let mut file =
        File::load("transcript.json", others, &[("mutations", &["patch", "verdict", "messages", "problem"])]);
    file.cases("mutations");
    let keys = file.other("organisationKeys").as_object().unwrap().iter();
    let pins = Pins {
        authorities: Some(Authorities::from_pem(file.other("caPem").as_str().unwrap()).unwrap()),
        cells: BTreeMap::new(),
        organisations: keys
            .map(|(name, jwk)| (name.parse().unwrap(), vec![PublicKey::from_jwk(jwk).unwrap()]))
            .collect(),
        witnesses: Vec::new(),
    };
    (file.other("transcript").clone(), pins)
}

/// What was done, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Changed,
    Struck,
    Twice,
    Exchanged,
    Moved,
}

struct Mutation {
    act: Act,
    at: String,
    file: Value,
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.act, self.at)
    }
}

/// A pattern of JSON pointers (`*` is any one step, a last `**` any rest), what may be done there, and why it proves
/// nothing.
#[allow(dead_code, reason = "the last member is for the reader")]
struct Harmless(&'static str, &'static [Act], &'static str);

use Act::{Changed, Exchanged, Moved, Struck, Twice};

/// Places that prove nothing, because nothing there is signed, or because what is signed says it elsewhere too.
const HARMLESS: &[Harmless] = &[
    Harmless("/exportedAt", &[Changed, Struck], "the exporter's clock; nobody signs it"),
    Harmless("/complete", &[Changed, Struck], "a weaker claim: the seal is judged as far as it goes"),
    Harmless("/cells/*/publicUrl", &[Struck], "then a proof's htu is compared by the end of its path"),
    Harmless("/cells/*/jwks/keys/*/use", &[Changed, Struck], "a hint of RFC 7517; certificate and typ decide"),
    Harmless("/cells/*/jwks/keys/*", &[Twice], "the same key"),
    Harmless("/consents/*/status", &[Changed, Struck], "derived by the exporter; the signed period counts"),
    Harmless("/consents/*/keys", &[Struck], "the organisations' keys were given"),
    Harmless("/consents/*/keys/*", &[Struck], "the organisations' keys were given"),
    Harmless("/consents/*", &[Twice], "the same consent"),
    Harmless("/keys/*/until", &[Struck], "absent as null: still the agent's; the statement says so"),
    Harmless("/keys/*", &[Twice], "the same statement"),
    Harmless("/receipts", &[Struck], "the chain carries the records, the seal has its own receipts"),
    Harmless("/receipts/*", &[Struck, Twice, Exchanged, Moved], "order means nothing, the chain carries the records"),
    Harmless("/seal/receipts/*", &[Twice, Exchanged, Moved], "the same receipt; order means nothing"),
    Harmless("/outcome", &[Struck], "a claim less, and a warning"),
    Harmless("/outcome/*", &[Struck, Twice, Exchanged, Moved], "a claim less, or the same again"),
    Harmless("/erasures", &[Struck], "an empty list"),
    Harmless("/disputes", &[Struck], "an empty list"),
    Harmless("/session/suspended", &[Changed, Struck], "what the exporter's cell knows of its consents today"),
    Harmless("/session/you", &[Changed, Struck], "for whom the file was made"),
    Harmless("/session/disputes", &[Struck], "an empty list; the transcript has its own"),
    Harmless("/session/windows/disputeWindow", &[Changed], "nothing within the session follows from it"),
    Harmless("/session/windows/grace", &[Changed], "nothing follows from it where no deadline was missed"),
    Harmless("/session/commitments/*/escrow", &[Changed, Struck], "what accounts hold; receipts of holds prove it"),
    Harmless("/session/commitments/*/breach", &[Struck], "absent as null"),
    Harmless("/session/commitments/*/dependsOn", &[Struck], "absent as null"),
    Harmless("/session/commitments/*/replaces", &[Struck], "absent as null"),
    Harmless("/session/commitments/*/reviewUntil", &[Struck], "absent as null"),
    Harmless("/session/constraints/tokenBudget", &[Struck], "absent as null"),
    Harmless("/session/participants/*/trust/**", &[Changed, Struck], "what the host held of a score then; unsigned"),
    Harmless("/session/participants/*/trust", &[Struck], "what the host held of a score then; unsigned"),
];

/// Places where the file shows what follows from its records. Nobody signs them, a replay finds them: the file is
/// verified with a warning.
const DERIVED: &[&str] = &[
    "/session/answerBy",
    "/session/closedAt",
    "/session/commitments",
    "/session/commitments/**",
    "/session/constraints",
    "/session/constraints/**",
    "/session/expiresAt",
    "/session/offers",
    "/session/offers/**",
    "/session/openedAt",
    "/session/participants/*/joined",
    "/session/participants/*/role",
    "/session/phase",
    "/session/state",
    "/session/windows",
    "/session/windows/**",
];

impl Harmless {
    fn names(&self, act: Act, at: &str) -> bool {
        self.1.contains(&act) && fits(self.0, at)
    }
}

fn fits(pattern: &str, at: &str) -> bool {
    let (pattern, steps): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), at.split('/').collect());
    let open = pattern.last() == Some(&"**");
    let fixed = if open { &pattern[..pattern.len() - 1] } else { &pattern[..] };
    let long_enough = if open { steps.len() > fixed.len() } else { steps.len() == fixed.len() };
    long_enough && fixed.iter().zip(&steps).all(|(pattern, step)| pattern == step || *pattern == "*")
}

/// Every place of a value, containers too, by JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => {
            members.iter().map(|(name, child)| (name.replace('~', "~0").replace('/', "~1"), child)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(index, child)| (index.to_string(), child)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (name, child) in children {
        let at = format!("{at}/{name}");
        places(child, &at, found);
        found.push(at);
    }
}

fn with(file: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut file = file.clone();
    change(&mut file);
    file
}

fn struck(file: &Value, at: &str) -> Value {
    with(file, |file| {
        let (parent, name) = at.rsplit_once('/').unwrap();
        match file.pointer_mut(parent).unwrap() {
            Value::Object(members) => drop(members.remove(&name.replace("~1", "/").replace("~0", "~"))),
            Value::Array(items) => drop(items.remove(name.parse().unwrap())),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => unreachable!(),
        }
    })
}

/// Another value of the same type, as near as can be.
fn changed(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Null => json!("x"),
        Value::Bool(flag) => json!(!flag),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| json!(number.as_f64().unwrap() + 1.0), |n| json!(n + 1))
        }
        Value::String(text) => {
            let mut bytes = text.clone().into_bytes();
            // In the middle, where base64url has no unused bits: the next letter or digit.
            let from = bytes.len() / 2;
            let at = (from..bytes.len()).chain(0..from).find(|at| bytes[*at].is_ascii_alphanumeric())?;
            bytes[at] = match bytes[at] {
                b'9' => b'8',
                b'z' => b'y',
                b'Z' => b'Y',
                other => other + 1,
            };
            json!(String::from_utf8(bytes).unwrap())
        }
        Value::Array(_) | Value::Object(_) => return None,
    })
}

fn run(what: &str, mutations: impl Iterator<Item = Mutation>, pins: &Pins) {
    let (mut corrupt, mut warned, mut harmless, mut wrong) = (0, 0, 0, Vec::new());
    for mutation in mutations {
        let report = verify(&mutation.file, pins);
        let allowed = HARMLESS.iter().any(|place| place.names(mutation.act, &mutation.at));
        let derived = DERIVED.iter().any(|pattern| fits(pattern, &mutation.at));
        let noticed = !report.warnings().is_empty();
        match (report.verdict(), allowed, derived && noticed) {
            (Verdict::Corrupt, false, _) => corrupt += 1,
            (Verdict::Corrupt, true, _) => {
                wrong.push(format!("{mutation}: on the list of harmless places, yet corrupt"));
            }
            (_, _, true) => warned += 1,
            (_, true, false) => harmless += 1,
            (_, false, false) => wrong.push(format!("{mutation}: not seen")),
        }
    }
    println!("{what}: {corrupt} corrupt, {warned} found by replay, {harmless} harmless for a stated reason");
    assert!(wrong.is_empty(), "{} of {what}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_untouched_file_is_verified() {
    let (file, pins) = standing();
    let report = verify(&file, &pins);
    assert_eq!((report.verdict(), report.problems()), (Verdict::Verified, &[][..]));
    let bytes = serde_json::to_vec(&file).unwrap();
    assert_eq!(verify_bytes(&bytes, &pins), report);
}

#[test]
fn every_scalar_changed() {
    let (file, pins) = standing();
    let mut all = Vec::new();
    places(&file, "", &mut all);
    let mutations = all.iter().filter_map(|at| {
        let value = changed(file.pointer(at)?)?;
        let file = with(&file, |file| *file.pointer_mut(at).unwrap() = value);
        Some(Mutation { act: Changed, at: at.clone(), file })
    });
    run("scalars changed", mutations, &pins);
}

#[test]
fn every_member_and_item_struck() {
    let (file, pins) = standing();
    let mut all = Vec::new();
    places(&file, "", &mut all);
    let mutations = all.iter().map(|at| Mutation { act: Struck, at: at.clone(), file: struck(&file, at) });
    run("members and items struck", mutations, &pins);
}

#[test]
fn every_item_twice() {
    let (file, pins) = standing();
    let mut all = Vec::new();
    places(&file, "", &mut all);
    let mutations = all.iter().filter_map(|at| {
        let (parent, index) = at.rsplit_once('/').unwrap();
        let index: usize = file.pointer(parent)?.as_array().and(index.parse().ok())?;
        let doubled = with(&file, |file| {
            let items = file.pointer_mut(parent).unwrap().as_array_mut().unwrap();
            items.insert(index, items[index].clone());
        });
        Some(Mutation { act: Twice, at: at.clone(), file: doubled })
    });
    run("items twice", mutations, &pins);
}

/// The file's text with the member at `twin` written twice.
fn written_twice(value: &Value, at: &str, twin: &str) -> String {
    match value {
        Value::Object(members) => {
            let mut written = Vec::new();
            for (name, child) in members {
                let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                let member = format!("{}:{}", json!(name), written_twice(child, &place, twin));
                if place == twin {
                    written.push(member.clone());
                }
                written.push(member);
            }
            format!("{{{}}}", written.join(","))
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let written: Vec<_> = items.map(|(i, item)| written_twice(item, &format!("{at}/{i}"), twin)).collect();
            format!("[{}]", written.join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[test]
fn every_member_written_twice() {
    let (file, pins) = standing();
    let mut all = Vec::new();
    places(&file, "", &mut all);
    let in_object = |at: &&String| file.pointer(at.rsplit_once('/').unwrap().0).unwrap().is_object();
    let mut count = 0;
    for at in all.iter().filter(in_object) {
        let report = verify_bytes(written_twice(&file, "", at).as_bytes(), &pins);
        assert_eq!(report.verdict(), Verdict::Corrupt, "{at}");
        count += 1;
    }
    println!("members written twice: {count} corrupt");
}

#[test]
fn records_moved_and_put_back_elsewhere() {
    let (file, pins) = standing();
    let count = file["records"].as_array().unwrap().len();
    let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to))).filter(|(from, to)| from != to);
    let mutations = pairs.map(|(from, to)| Mutation {
        act: Moved,
        at: format!("/records/{from}"),
        file: with(&file, |file| {
            let records = file["records"].as_array_mut().unwrap();
            let record = records.remove(from);
            records.insert(to, record);
        }),
    });
    run("records moved", mutations, &pins);
}

#[test]
fn members_exchanged_between_records() {
    const MEMBERS: [&str; 11] = [
        "sequence",
        "timestamp",
        "sender",
        "performative",
        "terms",
        "messageId",
        "parts",
        "proofHash",
        "previousHash",
        "hash",
        "proof",
    ];
    let (file, pins) = standing();
    let count = file["records"].as_array().unwrap().len();
    let pairs = (0..count).flat_map(|a| (a + 1..count.min(a + 4)).map(move |b| (a, b)));
    let mutations = pairs.flat_map(|(a, b)| MEMBERS.map(|member| (a, b, member))).filter_map(|(a, b, member)| {
        let (one, other) = (file["records"][a].get(member)?, file["records"][b].get(member)?);
        let exchanged = with(&file, |file| {
            file["records"][a][member] = other.clone();
            file["records"][b][member] = one.clone();
        });
        (one != other).then(|| Mutation {
            act: Exchanged,
            at: format!("/records/{a}/{member} and {b}"),
            file: exchanged,
        })
    });
    run("members exchanged between records", mutations, &pins);
}

#[test]
fn parts_exchanged_between_records() {
    let (file, pins) = standing();
    let mut all = Vec::new();
    places(&file, "", &mut all);
    let parts: Vec<&String> = all.iter().filter(|at| fits("/records/*/parts/*", at)).collect();
    let pairs = parts.iter().enumerate().flat_map(|(i, a)| parts[i + 1..].iter().map(move |b| (*a, *b)));
    let mutations =
        pairs.flat_map(|(a, b)| ["", "/commitment", "/salt", "/value"].map(|m| (format!("{a}{m}"), format!("{b}{m}"))));
    let mutations = mutations.filter_map(|(a, b)| {
        let (one, other) = (file.pointer(&a)?, file.pointer(&b)?);
        let exchanged = with(&file, |file| {
            *file.pointer_mut(&a).unwrap() = other.clone();
            *file.pointer_mut(&b).unwrap() = one.clone();
        });
        Some(Mutation { act: Exchanged, at: format!("{a} and {b}"), file: exchanged })
    });
    run("parts exchanged between records", mutations, &pins);
}

/// Every JWS gets the signature, and the payload, of every other of its neighbours.
#[test]
fn signatures_and_payloads_exchanged() {
    let (file, pins) = standing();
    let mut all = Vec::new();
    places(&file, "", &mut all);
    let jws = |at: &&String| file.pointer(at).and_then(Value::as_str).is_some_and(|text| text.starts_with("eyJ"));
    let jws: Vec<&String> = all.iter().filter(jws).collect();
    let pairs = jws.iter().enumerate().flat_map(|(i, a)| jws[i + 1..].iter().take(4).map(move |b| (*a, *b)));
    let mutations = pairs.flat_map(|(a, b)| [1, 2].map(|segment| (a, b, segment))).filter_map(|(a, b, segment)| {
        let text = |at: &str| file.pointer(at).and_then(Value::as_str).unwrap();
        let (one, other): (Vec<_>, Vec<_>) = (text(a).split('.').collect(), text(b).split('.').collect());
        let take = |mine: &[&str], theirs: &[&str]| {
            let mut mine = mine.to_vec();
            mine[segment] = theirs[segment];
            json!(mine.join("."))
        };
        let exchanged = with(&file, |file| {
            *file.pointer_mut(a).unwrap() = take(&one, &other);
            *file.pointer_mut(b).unwrap() = take(&other, &one);
        });
        let at = format!("segment {segment} of {a} and {b}");
        (one[segment] != other[segment]).then_some(Mutation { act: Exchanged, at, file: exchanged })
    });
    run("signatures and payloads exchanged", mutations, &pins);
}

/// What the cell of the sender alone knows may be said otherwise within the minute that clocks may differ, no further.
#[test]
fn admitted_at_is_a_cell_s_word_within_a_minute_of_the_signed_time() {
    let (file, pins) = standing();
    let at = |moment: &str| verify(&with(&file, |file| file["records"][3]["admittedAt"] = json!(moment)), &pins);
    assert_eq!(at("2026-03-13T09:02:09.964Z").verdict(), Verdict::Verified);
    assert_eq!(at("2026-03-13T09:03:09.000Z").verdict(), Verdict::Verified, "iat + 60 s");
    assert_eq!(at("2026-03-13T09:03:09.001Z").verdict(), Verdict::Corrupt);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "[A-Za-z0-9_.-]{43}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::hash_map("[a-zA-Z/]{0,12}", inner, 0..5).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// No JSON anywhere in a transcript makes the verifier panic, and none but the listed places goes unseen.
    #[test]
    fn any_json_anywhere_is_judged(at in any::<prop::sample::Index>(), value in any_json()) {
        let (file, pins) = standing();
        let mut all = Vec::new();
        places(&file, "", &mut all);
        let at = at.get(&all);
        let report = verify(&with(&file, |file| *file.pointer_mut(at).unwrap() = value.clone()), &pins);
        let listed = HARMLESS.iter().any(|place| fits(place.0, at)) || DERIVED.iter().any(|pattern| fits(pattern, at));
        let same = file.pointer(at) == Some(&value);
        prop_assert!(report.verdict() == Verdict::Corrupt || listed || same || at.ends_with("/admittedAt"), "{}", at);
    }

    /// Nor does a file that is no transcript.
    #[test]
    fn any_json_is_judged(value in any_json()) {
        prop_assert_eq!(verify(&value, &Pins::default()).verdict(), Verdict::Corrupt);
        prop_assert_eq!(verify_bytes(value.to_string().as_bytes(), &Pins::default()).verdict(), Verdict::Corrupt);
    }

    /// Nor bytes that are no JSON.
    #[test]
    fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(verify_bytes(&bytes, &Pins::default()).verdict(), Verdict::Corrupt);
    }
}
