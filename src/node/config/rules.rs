//! What each section of `cell.toml` may say, and what it says when it is silent.

use super::Depth;
use super::network::{api, federation, listens_on_loopback, peers, witnesses};
use super::section::Section;
use crate::node::settings::{Cell, Federation, Level, Limits, Settings, Telemetry, Vault};
use crate::protocol::money::Currency;
use crate::protocol::rate::Rate;
use crate::protocol::time::Span;
use crate::vault::MediaPolicy;
use crate::vault::wrapping::{self, Pin, Token};

const SPAN: &str = "an ISO 8601 duration of days, hours, minutes, seconds, such as PT30S or P30D";
/// A cell without traffic still replaces its epoch key daily (docs/spec/federation.md section 4).
const LONGEST_EPOCH: Span = Span::days(1);
/// docs/spec/details.md section 3: `answerWithin` PT1S to P7D.
const LONGEST_INVITATION: Span = Span::days(7);

/// Reads the whole document. `None` if something is missing; whatever is wrong has been noted.
pub fn read(mut root: Section<'_>, depth: Depth) -> Option<Settings> {
    let cell = cell(root.section("cell"));
    let api = api(root.section("api"), depth);
    grpc(root.section("grpc"));
    let operator = operator(root.section("operator"));
    let id = cell.as_ref().map(|cell| &cell.id);
    let federation = federation(root.section("federation"), id, depth);
    let anchors = if federation.as_ref().is_some_and(Federation::is_provided) { depth } else { Depth::Shape };
    let peers = peers(root.tables("peers"), id, anchors);
    let (keys, token) = keys(root.section("keys"));
    let witnesses = witnesses(root.tables("witnesses"));
    let vault = vault(root.section("vault"));
    let limits = limits(root.section("limits"));
    let retention = retention(root.section("retention"));
    let telemetry = telemetry(root.section("telemetry"));
    root.finish();
    Some(Settings {
        cell: cell?,
        api: api?,
        operator: operator?,
        federation: federation?,
        peers,
        keys,
        token,
        witnesses,
        vault,
        limits,
        retention,
        telemetry,
    })
}

fn cell(mut section: Section<'_>) -> Option<Cell> {
    let slug = "the cell's id, a lower-case slug, as in its certificate";
    let id = section.parsed("id", slug);
    let id = section.required("id", slug, id);
    let place = "the id of the region where the data lies, such as eu-west-1";
    let region = section.read("region", place, named);
    let region = section.required("region", place, region);
    let legal = "the legal zone of the region, upper case, such as EEA";
    let zone = section.read("zone", legal, zone);
    let zone = section.required("zone", legal, zone);
    let data_dir = section.path("data_dir").unwrap_or_else(|| section.relative("data"));
    let operator_org = section.parsed("operator_org", "an organisation's DNS name, or nothing");
    let dns_resolver = section.parsed("dns_resolver", "IP:PORT of a DNS resolver, or nothing for the system's");
    section.finish();
    Some(Cell { id: id?, region: region?, zone: zone?, data_dir, operator_org, dns_resolver })
}

/// The name of a region: what hellos and certificates can carry without quoting.
pub(super) fn named(text: &str) -> Option<String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_owned())
}

/// docs/spec/details.md section 8: upper-case strings, compared literally.
pub(super) fn zone(text: &str) -> Option<String> {
    named(text).filter(|zone| !zone.bytes().any(|c| c.is_ascii_lowercase()))
}

fn grpc(mut section: Section<'_>) {
    let listen: Option<String> = section.read("listen", "nothing", |text| Some(text.to_owned()));
    if listen.is_some() {
        section.wrong("listen", "this version serves agents over HTTP alone; expected an empty text");
    }
    section.finish();
}

fn operator(mut section: Section<'_>) -> Option<std::net::SocketAddr> {
    let listen = listens_on_loopback(&mut section, 8081);
    if listen.is_some_and(|address| !address.ip().is_loopback()) {
        section.wrong("listen", "the operators' token travels in clear here; expected a loopback address");
    }
    section.finish();
    listen
}

/// The keys directory, and the token that wraps what lies there.
fn keys(mut section: Section<'_>) -> (std::path::PathBuf, Option<Token>) {
    let provider = section.read("provider", "\"file\" or \"pkcs11\"", |text| match text {
        "file" => Some(false),
        "pkcs11" => Some(true),
        _ => None,
    });
    let (module, label) = (section.path("module"), section.text("token", "the token's label"));
    let (file, variable) = (section.path("pin_file"), section.text("pin_env", "an environment variable"));
    let token = if provider == Some(true) {
        let pin = file.map(Pin::File).or(variable.map(Pin::Variable));
        if !wrapping::PKCS11 {
            section.wrong("provider", "expected \"file\": this build has no PKCS#11, build with --features pkcs11");
        } else if module.is_none() || label.is_none() || pin.is_none() {
            section.wrong("provider", "\"pkcs11\" needs module, token and one of pin_file and pin_env beside it");
        }
        module.zip(label).zip(pin).map(|((module, label), pin)| Token { module, label, pin })
    } else {
        None
    };
    let path = section.path("path").unwrap_or_else(|| section.relative("keys"));
    section.finish();
    (path, token)
}

fn vault(mut section: Section<'_>) -> Vault {
    let path = section.path("path").unwrap_or_else(|| section.relative("vault"));
    let mirror = section.path("mirror");
    if mirror.as_ref() == Some(&path) {
        section.wrong("mirror", "expected another path than that of the vault, on another device");
    }
    let epoch = span(&mut section, "epoch", Span::days(1));
    if epoch > LONGEST_EPOCH {
        section.wrong("epoch", format!("expected at most {LONGEST_EPOCH}, found {epoch}"));
    }
    let media = section.read("media", "\"auto\" or \"untrusted\"", |text| match text {
        "auto" => Some(MediaPolicy::Auto),
        "untrusted" => Some(MediaPolicy::Untrusted),
        _ => None,
    });
    section.finish();
    Vault { path, mirror, epoch, media: media.unwrap_or(MediaPolicy::Auto) }
}

fn span(section: &mut Section<'_>, key: &'static str, default: Span) -> Span {
    section.parsed(key, SPAN).unwrap_or(default)
}

fn limits(mut section: Section<'_>) -> Limits {
    let limits = Limits {
        invitation_timeout: span(&mut section, "invitation_timeout", Span::seconds(30)),
        review_window: span(&mut section, "review_window", Span::days(3)),
        grace: span(&mut section, "grace", Span::days(1)),
        dispute_window: span(&mut section, "dispute_window", Span::days(30)),
        placement_timeout: span(&mut section, "placement_timeout", Span::seconds(2)),
        search_timeout: span(&mut section, "search_timeout", Span::seconds(2)),
        messages_per_second_per_agent: rate(&mut section),
        fx: section.amounts("fx", "USD per unit as a decimal text, such as EUR = \"1.10\"", |currency, rate| {
            currency.parse::<Currency>().is_ok() && rate.parse::<Rate>().is_ok()
        }),
    };
    if limits.invitation_timeout > LONGEST_INVITATION {
        section.wrong("invitation_timeout", format!("expected at most {LONGEST_INVITATION}"));
    }
    section.finish();
    limits
}

fn rate(section: &mut Section<'_>) -> u32 {
    let whole = |number: f64| (0.0..=1_000_000.0).contains(&number) && number.fract() == 0.0;
    let expected = "a whole number from 0 (no limit) to 1000000";
    let rate = section.number("messages_per_second_per_agent", expected, whole).unwrap_or(0.0);
    // `whole` has checked the range.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number within u32")]
    let rate = rate as u32;
    rate
}

fn retention(mut section: Section<'_>) -> Span {
    let sessions = span(&mut section, "sessions", Span::days(2557));
    section.finish();
    sessions
}

fn telemetry(mut section: Section<'_>) -> Telemetry {
    let log = section.read("log", "error, warn, info or debug", |text| match text {
        "error" => Some(Level::Error),
        "warn" => Some(Level::Warn),
        "info" => Some(Level::Info),
        "debug" => Some(Level::Debug),
        _ => None,
    });
    let metrics_public = section.flag("metrics_public").unwrap_or(false);
    section.finish();
    Telemetry { log: log.unwrap_or(Level::Info), metrics_public }
}
