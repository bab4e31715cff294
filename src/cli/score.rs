//! What people see of `trust show`: the score, how it comes about, and each fact it stands on, a line each. Keys,
//! signatures and outcomes are for `--json` and `trust verify`.

use serde_json::Value;

use super::answer::Answer;
use super::outline::aligned;
use crate::protocol::trust::{Components, Decision, Fact};

/// An agent's trust as [`Answer`].
pub fn shown(document: Value) -> Answer {
    let text = told(&document);
    Answer::new(document).told_as(text)
}

fn told(trust: &Value) -> String {
    let text = |pointer| trust.pointer(pointer).map_or_else(String::new, plain);
    let number = |pointer: &str| trust.pointer(pointer).and_then(Value::as_f64).unwrap_or_default();
    let ceiling = match trust.pointer("/ceiling/amount") {
        Some(amount) => format!("it may deal up to {} {}", plain(amount), text("/ceiling/currency")),
        None => "it may deal without a ceiling".to_owned(),
    };
    let mut lines = vec![
        format!("{}: trust {:.2}, level {}; {ceiling}", text("/agentId"), number("/score"), text("/level")),
        String::new(),
    ];
    let mut rows = vec![["COMPONENT", "", "VALUE", "WEIGHT", "POINTS"].map(str::to_owned).to_vec()];
    let mut base = 0.0;
    for (name, weight) in Components::WEIGHTS {
        let value = number(&format!("/components/{name}"));
        base += weight * value;
        let figures = [format!("{value:.2}"), format!("{weight:.2}"), format!("{:.2}", weight * value)];
        rows.push([name.to_owned(), meaning(name).to_owned()].into_iter().chain(figures).collect());
    }
    lines.extend(aligned(&rows));
    let penalty = number("/penalty");
    lines.push(format!(
        "base {base:.2}, penalty {penalty:.3}: {base:.2} x e^-{penalty:.3} = {:.2}{}",
        base * (-penalty).exp(),
        if number("/level") > 4.5 { "; level 5 is its operator's word" } else { "" }
    ));
    lines.push(String::new());
    let facts = trust.get("facts").and_then(Value::as_array).map_or([].as_slice(), Vec::as_slice);
    let mut rows = vec![["AT", "SESSION", "FACT"].map(str::to_owned).to_vec()];
    rows.extend(facts.iter().map(|row| {
        let of = |name| row.get(name).filter(|value| !value.is_null()).map_or_else(|| "-".to_owned(), plain);
        let fact = row.get("fact").cloned().unwrap_or_default();
        let fact = serde_json::from_value::<Fact>(fact.clone()).map_or_else(|_| fact.to_string(), |fact| said(&fact));
        vec![of("at"), of("sessionId"), fact]
    }));
    lines.extend(aligned(&rows));
    lines.join("\n")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// docs/spec/protocol.md section 5.
fn meaning(component: &str) -> &'static str {
    match component {
        "IV" => "identity verified",
        "CF" => "commitments fulfilled",
        "CH" => "completed sessions",
        "BC" => "steady response times",
        "RQ" => "ratings",
        "SP" => "security posture",
        "ER" => "payments in time",
        "PE" => "endorsements",
        _ => "",
    }
}

fn said(fact: &Fact) -> String {
    match fact {
        Fact::Closed(closed) => format!("closed a session: {} of {} for success", closed.success, closed.whole),
        Fact::Recounted(change) => format!("a closed session counts {change:+} for success"),
        Fact::Decided(decision) => decided(*decision),
        Fact::Reversed(decision) => format!("reversed by a dispute: {}", decided(*decision)),
        Fact::Rated(rating) => format!("rated {rating} of 5"),
        Fact::Answered(times) => format!("answered {} times, in {} s on average", times.len(), average(times)),
        Fact::Endorsed(given) => {
            format!("endorsed by an agent of {} with score {}: {} of 5", given.organisation, given.score, given.rating)
        }
        Fact::Imported(history) => {
            let counts = &history.counts;
            let by = history.attested_by.as_ref().map_or("its operator".to_owned(), |cell| format!("cell {cell}"));
            format!(
                "history on the word of {by}: {} of {} sessions, {} settled, {} breached",
                counts.successes, counts.closed, counts.settled, counts.breached
            )
        }
        Fact::Infrastructure(true) => "level 5 assigned by the operator".to_owned(),
        Fact::Infrastructure(false) => "level 5 taken back by the operator".to_owned(),
        Fact::Fined(severity) => format!("a dispute was resolved against it, severity {severity}"),
    }
}

fn decided(decision: Decision) -> String {
    let what = if decision.payment { "payment" } else { "delivery" };
    let how = if decision.settled { "settled" } else { "breached" };
    let severity = decision.severity.map_or_else(String::new, |severity| format!(", severity {severity}"));
    format!("{what} {how}{severity}")
}

#[allow(clippy::cast_precision_loss, reason = "a few response times")]
fn average(times: &[f64]) -> String {
    format!("{:.1}", times.iter().sum::<f64>() / times.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_score_is_told_with_what_it_comes_from() {
        let decision =
            serde_json::to_value(Fact::Decided(Decision { payment: false, settled: false, severity: Some(2) }));
        let trust = json!({
            "agentId": "agent://beta.example/express", "score": 32.0, "level": 1, "penalty": 1.0,
            "ceiling": {"amount": "1000.00", "currency": "USD"},
            "components": {"IV": 100.0, "CF": 100.0, "CH": 80.0, "BC": 50.0, "RQ": 100.0, "SP": 100.0, "ER": 0.0, "PE": 100.0},
            "facts": [{"at": "2026-03-13T09:00:00.000Z", "sessionId": null, "fact": decision.unwrap()}],
        });
        let text = told(&trust);
        let first = "agent://beta.example/express: trust 32.00, level 1; it may deal up to 1000.00 USD";
        assert_eq!(text.lines().next(), Some(first));
        for line in [
            "CH         completed sessions     80.00   0.15    12.00",
            "base 82.00, penalty 1.000: 82.00 x e^-1.000 = 30.17",
            "2026-03-13T09:00:00.000Z  -        delivery breached, severity 2",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }

    #[test]
    fn every_component_has_a_meaning() {
        assert!(Components::WEIGHTS.iter().all(|(name, _)| !meaning(name).is_empty()));
    }
}
