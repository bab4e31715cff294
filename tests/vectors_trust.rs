//! `tests/vectors/trust.json`: the figures of the score. docs/spec/details.md section 5.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::pedantic,
    reason = "a test may panic"
)]

mod vector;

use asp_cell::crypto::digest::Digest;
use asp_cell::protocol::ids::AgentId;
use asp_cell::protocol::refusal::Code;
use asp_cell::protocol::time::{Span, Timestamp};
use asp_cell::protocol::trust::{
    Components, Endorsement, EscrowDuty, Estimate, HomeWord, Identity, Level, Penalty, Score, admit,
    behavioural_consistency, commitment_fulfilment, completed_history, credit, economic_reliability, enforced,
    peer_endorsement, review_quality, security_posture, weight,
};
use serde_json::Value;
use vector::{Case, File};

const DAY: f64 = 86_400_000.0;

fn file() -> File {
    let others = &["note", "tolerance", "weights", "recovery"];
    let scored = &["components", "base", "T", "score", "level"];
    let grown = &["components", "base", "T", "score", "level", "n"];
    let peers = &[
        "baseHome",
        "decidedCommitmentsSeen",
        "effective",
        "homeLevel",
        "homePenalty",
        "homeScore",
        "level",
        "ownEstimate",
        "peerPenalty",
        "trustCap",
    ];
    File::load(
        "trust.json",
        others,
        &[
            ("CH", &["n", "value"]),
            ("components", &["component", "facts", "value"]),
            ("base", scored),
            ("floor", &["T", "score", "level"]),
            ("levels", &["level", "from", "ceilingUSD", "sessionsPer24h", "escrow"]),
            ("growth", grown),
            ("breach", &["base", "severity", "penalty", "T", "score", "level"]),
            ("decay", &["ms", "factor", "scoreOf80"]),
            ("booking", &["stored", "steps"]),
            ("sessionWeight", &["sessions", "n", "credit"]),
            ("endorsements", &["agentId", "endorsements", "PE", "points"]),
            ("peers", peers),
        ],
    )
}

#[test]
fn every_case() {
    let mut file = file();
    components_and_base(&mut file);
    score_and_levels(&mut file);
    penalty_over_time(&mut file);
    endorsements_count_by_organisation(&mut file);
    peers_enforce_the_least(&mut file);
}

#[test]
fn the_guides_three_worked_examples() {
    // A supplier at 82 with one breach of severity 3, and its way back.
    let mut penalty = Penalty::none(Timestamp(0));
    penalty.breach(3);
    let fallen = Score::of(82.0, penalty.booked);
    assert_eq!((Level::of(Score::floored(82.0)).number(), Level::of(fallen).number()), (3, 0));
    assert_eq!(
        (fallen.to_string().as_str(), Level::of(fallen).ceiling(), Level::of(fallen).sessions_a_day()),
        ("18.29", Some(100), Some(3))
    );
    for _ in 0..299 {
        penalty.close(Timestamp(0), credit(1.0));
    }
    assert!(Score::of(82.0, penalty.booked) < Score::floored(82.0));
    penalty.close(Timestamp(0), credit(1.0));
    assert_eq!(Score::of(82.0, penalty.booked), Score::floored(82.0), "300 successful sessions");

    // Five Sybils at 30, one legitimate endorser at 85, the same of one's own organisation, one below 30.
    let of: AgentId = "agent://acme.example/target".parse().unwrap();
    let given = |org: &str, score: f64| {
        let by: AgentId = format!("agent://{org}/a").parse().unwrap();
        let (digest, organisation) = (Digest::of(&[by.as_str().as_bytes()]), by.organisation());
        Endorsement { by: digest, organisation, score: Score::floored(score), rating: 5 }
    };
    let points = |given: &[Endorsement]| (5.0 * peer_endorsement(&of.organisation(), given)).round() / 100.0;
    let sybils: Vec<_> = (0..5).map(|n| given(&format!("sybil{n}.example"), 30.0)).collect();
    assert_eq!(points(&sybils), 2.5);
    assert_eq!(points(&[given("beta.example", 85.0)]), 4.01);
    assert_eq!(points(&[given("acme.example", 85.0)]), 2.01);
    assert_eq!(points(&[given("beta.example", 29.99)]), 0.0);

    // The supplier of the restock at 87 misses its deadline: severity 2.
    let mut penalty = Penalty::none(Timestamp(0));
    penalty.breach(2);
    let fallen = Score::of(87.0, penalty.booked);
    assert_eq!(
        (fallen.to_string().as_str(), Level::of(fallen).number(), Level::of(fallen).ceiling()),
        ("32.00", 1, Some(1_000))
    );
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn near(place: &str, found: f64, expected: &Value) {
    let expected = number(expected);
    assert!((found - expected).abs() <= 1e-9, "{place}: {found} is not {expected}");
}

/// Scores and levels are compared exactly.
fn scored(place: &str, score: Score, case: &Value) {
    assert_eq!(score.value(), number(&case["score"]), "{place}");
    assert_eq!(u64::from(Level::of(score).number()), case["level"].as_u64().expect("a level"), "{place}");
}

fn whole(case: &Case) -> Value {
    Value::Object(case.members().clone())
}

fn moment(days: f64) -> Timestamp {
    Timestamp((days * DAY).round() as i64)
}

fn components(values: &Value) -> Components {
    let value = |name: &str| values.get(name).map_or(0.0, number);
    Components {
        iv: value("IV"),
        cf: value("CF"),
        ch: value("CH"),
        bc: value("BC"),
        rq: value("RQ"),
        sp: value("SP"),
        er: value("ER"),
        pe: value("PE"),
    }
}

fn identity(level: u64) -> Identity {
    let all = [Identity::ApiKey, Identity::BoundKey, Identity::Domain, Identity::Scim];
    all.into_iter().find(|identity| u64::from(identity.level()) == level).expect("an identity level")
}

fn component(case: &Case) -> f64 {
    let facts = &case["facts"];
    let count = |name: &str| facts[name].as_u64().expect("a count");
    let days = |value: &Value| Span((number(value) * DAY).round() as i64);
    match case.text("component") {
        "IV" => f64::from(match facts["identity"].as_str().expect("an identity") {
            "api key" => Identity::ApiKey.level(),
            "DPoP-bound key" => Identity::BoundKey.level(),
            "domain verified" => Identity::Domain.level(),
            "SCIM and DPoP-bound key" => Identity::Scim.level(),
            other => panic!("{}: {other}", case.place()),
        }),
        "CF" => commitment_fulfilment(count("settled"), count("breached")),
        "RQ" => {
            let ratings: Vec<u64> =
                facts["ratings"].as_array().expect("ratings").iter().filter_map(Value::as_u64).collect();
            let sum = ratings.iter().sum();
            review_quality(ratings.len() as u64, sum, number(&facts["successes"]), number(&facts["closed"]))
        }
        "ER" => economic_reliability(count("paymentsInTime"), count("paymentsDecided")),
        "SP" => {
            let used = Some(&facts["endToEndDaysAgo"]).filter(|ago| !ago.is_null()).map(days);
            security_posture(days(&facts["keyAgeDays"]), used, identity(count("IV")))
        }
        "BC" => {
            let seconds: Vec<f64> = facts["responseSeconds"].as_array().expect("seconds").iter().map(number).collect();
            behavioural_consistency(&seconds)
        }
        other => panic!("{}: unknown component {other}", case.place()),
    }
}

fn components_and_base(file: &mut File) {
    for case in file.cases("CH") {
        near(case.place(), completed_history(number(&case["n"])), &case["value"]);
    }
    for case in file.cases("components") {
        near(case.place(), component(&case), &case["value"]);
    }
    let weights = file.other("weights").as_object().expect("weights").clone();
    assert_eq!(weights.len(), Components::WEIGHTS.len());
    for (name, weight) in Components::WEIGHTS {
        assert_eq!(number(&weights[name]), weight, "{name}");
    }
    for case in file.cases("base").into_iter().chain(file.cases("growth")) {
        let components = components(&case["components"]);
        if let Some(n) = case.get("n") {
            near(case.place(), completed_history(number(n)), &case["components"]["CH"]);
        }
        near(case.place(), components.base(), &case["base"]);
        near(case.place(), Score::unfloored(components.base(), 0.0), &case["T"]);
        scored(case.place(), Score::of(components.base(), 0.0), &whole(&case));
    }
}

fn score_and_levels(file: &mut File) {
    let tolerance = file.other("tolerance");
    assert_eq!((number(&tolerance["score"]), number(&tolerance["others"])), (0.0, 1e-9));
    for case in file.cases("floor") {
        scored(case.place(), Score::floored(number(&case["T"])), &whole(&case));
    }
    for case in file.cases("levels") {
        let place = case.place();
        let number = case["level"].as_u64().expect("a number");
        let level = Level::ALL.into_iter().find(|level| u64::from(level.number()) == number).expect(place);
        assert_eq!(level.name(), case.text("name"), "{place}");
        assert_eq!(level.from().map(u64::from), case["from"].as_u64(), "{place}");
        assert_eq!(level.ceiling().map(|usd| usd.to_string()).as_deref(), case["ceilingUSD"].as_str(), "{place}");
        assert_eq!(level.sessions_a_day().map(u64::from), case["sessionsPer24h"].as_u64(), "{place}");
        let escrow = match level.escrow() {
            EscrowDuty::Required => "required",
            EscrowDuty::Recommended => "recommended",
            EscrowDuty::Optional => "optional",
            EscrowDuty::NotRequired => "notRequired",
        };
        assert_eq!(escrow, case.text("escrow"), "{place}");
    }
    for case in file.cases("breach") {
        let mut penalty = Penalty::none(Timestamp(0));
        penalty.breach(u8::try_from(case["severity"].as_u64().expect("a severity")).expect("small"));
        near(case.place(), penalty.booked, &case["penalty"]);
        near(case.place(), Score::unfloored(number(&case["base"]), penalty.booked), &case["T"]);
        scored(case.place(), Score::of(number(&case["base"]), penalty.booked), &whole(&case));
    }
}

fn penalty_over_time(file: &mut File) {
    for case in file.cases("decay") {
        let penalty = Penalty::none(Timestamp(0)).at(Timestamp(case["ms"].as_i64().expect("milliseconds")));
        near(case.place(), (-penalty).exp(), &case["factor"]);
        assert_eq!(Score::of(80.0, penalty).value(), number(&case["scoreOf80"]), "{}", case.place());
    }
    for case in file.cases("booking") {
        let mut penalty = Penalty { booked: number(&case["stored"]), since: Timestamp(0) };
        for step in case["steps"].as_array().expect("steps") {
            near(case.place(), booked(&mut penalty, step), &step["penalty"]);
        }
    }
    for case in file.cases("sessionWeight") {
        let (mut n, mut credits) = (0.0, 0.0);
        for session in case["sessions"].as_array().expect("sessions") {
            let [inside, outcome, breach] = [&session[0], &session[1], &session[2]];
            let outcome = outcome.as_str().expect("a word").parse().expect("an outcome");
            let weight = weight(outcome, breach.as_bool().expect("a flag"), inside.as_bool().expect("a flag"));
            n += weight;
            credits += credit(weight);
        }
        near(case.place(), n, &case["n"]);
        near(case.place(), credits, &case["credit"]);
    }
    recovers(file.other("recovery"));
}

/// One step of a booking: what Λ reads after it.
fn booked(penalty: &mut Penalty, step: &Value) -> f64 {
    let members = step.as_object().expect("a step");
    if let Some(day) = members.get("read") {
        return penalty.at(moment(number(day)));
    }
    if let Some(day) = members.get("closed") {
        penalty.close(moment(number(day)), number(&members["credit"]));
        return penalty.booked;
    }
    let severity = members.get("breach").expect("read, closed or breach");
    penalty.breach(u8::try_from(severity.as_u64().expect("a severity")).expect("small"));
    penalty.booked
}

fn recovers(recovery: &Value) {
    let mut penalty = Penalty { booked: 1.5, since: Timestamp(0) };
    let (mut left, mut recovered) = (None, None);
    for (sessions, step) in recovery["steps"].as_array().expect("steps").iter().enumerate() {
        assert_eq!(step["sessions"].as_u64(), Some(sessions as u64));
        if sessions > 0 {
            penalty.close(Timestamp(0), credit(1.0));
        }
        near("recovery", penalty.booked, &step["penalty"]);
        near("recovery", Score::unfloored(82.0, penalty.booked), &step["T"]);
        let score = Score::of(82.0, penalty.booked);
        scored("recovery", score, step);
        left = left.or((Level::of(score) > Level::Probation).then_some(sessions as u64));
        recovered = recovered.or((score.value() == 82.0).then_some(sessions as u64));
    }
    assert_eq!(left, recovery["leavesProbationAfter"].as_u64());
    assert_eq!(recovered, recovery["recoveredAfter"].as_u64());
}

fn endorsements_count_by_organisation(file: &mut File) {
    for case in file.cases("endorsements") {
        let of: AgentId = case.text("agentId").parse().expect("an agent");
        let given =
            case["endorsements"].as_array().expect("endorsements").iter().filter_map(|given| endorsement(given, &of));
        let pe = peer_endorsement(&of.organisation(), &given.collect::<Vec<_>>());
        near(case.place(), pe, &case["PE"]);
        near(case.place(), 0.05 * pe, &case["points"]);
    }
}

/// The endorsement, unless it is refused.
fn endorsement(given: &Value, of: &AgentId) -> Option<Endorsement> {
    let agent: AgentId = given["agentId"].as_str().expect("an agent").parse().expect("an agent");
    for member in given.as_object().expect("an endorsement").keys() {
        let known = ["agentId", "score", "rating", "self", "noSession", "daysSinceClosed"];
        assert!(known.contains(&member.as_str()), "unknown member {member}");
    }
    let by = if given.get("self").is_some() { of } else { &agent };
    let days =
        given.get("daysSinceClosed").map_or(Some(1.0), Value::as_f64).filter(|_| given.get("noSession").is_none());
    match admit(by, of, days.map(|days| Span((days * DAY) as i64))) {
        Ok(()) => {}
        Err(refusal) => {
            assert_eq!(refusal.code, Code::PolicyViolation);
            return None;
        }
    }
    let rating = u8::try_from(given["rating"].as_u64().expect("a rating")).expect("small");
    let by = Digest::of(&[agent.as_str().as_bytes()]);
    Some(Endorsement { by, organisation: agent.organisation(), score: Score::floored(number(&given["score"])), rating })
}

fn peers_enforce_the_least(file: &mut File) {
    for case in file.cases("peers") {
        let home =
            HomeWord { score: Score::floored(number(&case["homeScore"])), penalty: number(&case["homePenalty"]) };
        near(case.place(), home.base(), &case["baseHome"]);
        let estimate = Estimate {
            penalty: number(&case["peerPenalty"]),
            score: case["ownEstimate"].as_f64().map(Score::floored),
            decided: case["decidedCommitmentsSeen"].as_u64().expect("a count"),
        };
        let score = enforced(&home, &estimate, number(&case["trustCap"]));
        assert_eq!(score.value(), number(&case["effective"]), "{}", case.place());
        assert_eq!(u64::from(Level::of(score).number()), case["level"].as_u64().expect("a level"), "{}", case.place());
        assert!(case["homeLevel"].is_u64(), "a level of the home never counts: {}", case.place());
    }
}
