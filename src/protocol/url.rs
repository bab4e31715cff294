//! URLs as proofs name them: what `htu` must be, compared after RFC 3986 normalisation.
//!
//! It resolves and fetches nothing. Sources: RFC 3986 section 6.2; docs/spec/details.md section 1 "Checking a proof",
//! section 7 (agent ids in paths).

use std::fmt::Write as _;

use super::ids::AgentId;

/// What an `htu` must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Exactly this URL: where the sender's public URL is known.
    Whole(Url),
    /// Any URL whose path ends so: at cells that do not know the sender's public URL.
    PathEnd(String),
    /// No URL at all; a public URL or path that is none.
    Nothing,
}

impl Target {
    /// The call at `path` (which begins with `/`) of the cell at `public_url`.
    #[must_use]
    pub fn whole(public_url: &str, path: &str) -> Self {
        let url = Url::parse(&format!("{}{path}", public_url.trim_end_matches('/')));
        url.map_or(Self::Nothing, Self::Whole)
    }

    /// The call at `path` of a cell whose public URL is not known here.
    #[must_use]
    pub fn path_end(path: &str) -> Self {
        normal_path(path).map_or(Self::Nothing, Self::PathEnd)
    }

    /// Whether `htu` names it.
    #[must_use]
    pub fn matches(&self, htu: &str) -> bool {
        let Some(url) = Url::parse(htu) else { return false };
        match self {
            Self::Whole(expected) => *expected == url,
            Self::PathEnd(end) => url.path.ends_with(end.as_str()),
            Self::Nothing => false,
        }
    }
}

/// An absolute URL in normal form: no user, query, fragment or dot segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    authority: String,
    path: String,
}

impl Url {
    /// Reads and normalises; `None` for what may not be an `htu`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !text.bytes().all(|c| c.is_ascii_graphic()) || text.contains(['?', '#']) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() || authority.contains('@') {
            return None;
        }
        let default_port = match scheme.as_str() {
            "https" => ":443",
            "http" => ":80",
            _ => return None,
        };
        let authority = authority.to_ascii_lowercase();
        let authority = authority.strip_suffix(default_port).unwrap_or(&authority).to_owned();
        Some(Self { scheme, authority, path: normal_path(path)? })
    }
}

/// A path with every segment encoded in the one way; `None` if it has dot segments or broken percent-encoding.
fn normal_path(path: &str) -> Option<String> {
    let segments: Option<Vec<String>> = path.split('/').map(normal_segment).collect();
    Some(segments?.join("/"))
}

fn normal_segment(segment: &str) -> Option<String> {
    let bytes = percent_decoded(segment)?;
    let dots = bytes.as_slice() == b"." || bytes.as_slice() == b"..";
    if dots { None } else { Some(percent_encoded(&bytes)) }
}

/// All but RFC 3986 unreserved characters in upper-case hex.
fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut hex = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (hex()?, hex()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

/// An agent id as one segment of a path.
#[must_use]
pub fn agent_segment(agent: &AgentId) -> String {
    percent_encoded(agent.as_str().as_bytes())
}

/// The agent id in one (still encoded) segment of a path; `None` if it is none.
#[must_use]
pub fn agent_of_segment(segment: &str) -> Option<AgentId> {
    String::from_utf8(percent_decoded(segment)?).ok()?.parse().ok()
}
