//! Query strings, read as strictly as bodies: unknown and repeated parameters are refused.
//!
//! A parameter is pointed at as if the query were an object: `/limit`. Source: docs/spec/details.md section 11.

use crate::protocol::refusal::Refusal;
use crate::protocol::time::Span;

/// The parameters of one query string.
#[derive(Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// Parameters that may come more than once.
const REPEATABLE: &str = "capability";

impl Query {
    /// Reads a query string (`application/x-www-form-urlencoded`) that may hold the parameters `known`.
    pub fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, Refusal> {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(pair);
        let pairs: Vec<(String, String)> = pairs.collect::<Result<_, _>>()?;
        for (place, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(Refusal::invalid(pointer(name), format!("no other parameters than {}", known.join(", "))));
            }
            if name != REPEATABLE && pairs.iter().take(place).any(|(earlier, _)| earlier == name) {
                return Err(Refusal::invalid(pointer(name), "each parameter once"));
            }
        }
        Ok(Self { pairs })
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    /// A whole number in decimal digits within `least..=most`.
    pub fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Refusal> {
        let expected = || Refusal::invalid(pointer(name), format!("a whole number from {least} to {most}"));
        let Some(text) = self.get(name) else { return Ok(None) };
        whole(text).filter(|number| (least..=most).contains(number)).map(Some).ok_or_else(expected)
    }

    /// `limit`: 1 to 500, 50 if absent.
    pub fn limit(&self) -> Result<usize, Refusal> {
        let limit = self.number("limit", 1, 500)?.unwrap_or(50);
        Ok(usize::try_from(limit).unwrap_or(500))
    }

    /// `wait`: at most PT60S.
    pub fn wait(&self) -> Result<Option<Span>, Refusal> {
        let expected = || Refusal::invalid("/wait", "an ISO 8601 duration up to PT60S, such as PT30S");
        let Some(text) = self.get("wait") else { return Ok(None) };
        text.parse().ok().filter(|wait| *wait <= Span::seconds(60)).map(Some).ok_or_else(expected)
    }
}

/// Decimal digits and nothing else.
pub fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The JSON Pointer of a parameter.
fn pointer(name: &str) -> String {
    format!("/{}", crate::crypto::json::escaped(name))
}

fn pair(text: &str) -> Result<(String, String), Refusal> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let name = decoded(name).ok_or_else(|| Refusal::invalid("", "a query of percent-encoded UTF-8"))?;
    let value = decoded(value).ok_or_else(|| Refusal::invalid(pointer(&name), "percent-encoded UTF-8"))?;
    Ok((name, value))
}

/// Undoes percent-encoding and `+`; `None` for a broken escape or what is not UTF-8 then.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["capability", "after", "limit", "wait"];

    #[test]
    fn values_are_decoded_and_repeated_where_they_may_be() {
        let query = Query::parse(Some("capability=a%2Eb&capability=c+d&after=7"), KNOWN).unwrap();
        assert_eq!(query.all("capability"), ["a.b", "c d"]);
        assert_eq!(query.number("after", 0, u64::MAX).unwrap(), Some(7));
        assert_eq!(query.limit().unwrap(), 50);
    }

    #[test]
    fn what_is_not_understood_is_refused_where_it_stands() {
        let refused = |text: &str| {
            let query = Query::parse(Some(text), KNOWN);
            let refusal = query.and_then(|q| q.number("after", 0, 9).and(q.limit()).and(q.wait())).unwrap_err();
            refusal.pointer.unwrap()
        };
        assert_eq!(refused("afer=1"), "/afer");
        assert_eq!(refused("after=1&after=2"), "/after");
        assert_eq!(refused("after=-1"), "/after");
        assert_eq!(refused("after=10"), "/after");
        assert_eq!(refused("after="), "/after");
        assert_eq!(refused("limit=0"), "/limit");
        assert_eq!(refused("limit=501"), "/limit");
        assert_eq!(refused("wait=PT61S"), "/wait");
        assert_eq!(refused("wait=30"), "/wait");
        assert_eq!(refused("after=%ff"), "/after");
        assert_eq!(refused("%zz=1"), "");
    }
}
