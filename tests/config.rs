//! Configuration: what `init` writes is accepted as it stands, and every mistake is named by place, key and what is
//! expected (docs/spec/details.md sections 15, 16 and S22).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use asp_cell::node::config::{Depth, Identity, load, template};
use asp_cell::node::settings::{Anchor, Settings};

struct Cell {
    dir: tempfile::TempDir,
    text: String,
}

impl Cell {
    fn new() -> Self {
        let identity = Identity::new("eu-west-1".parse().unwrap(), "eu-west-1", "EEA").unwrap();
        Self { dir: tempfile::tempdir().unwrap(), text: template(&identity) }
    }

    /// The configuration with one text for another.
    fn with(mut self, old: &str, new: &str) -> Self {
        assert!(self.text.contains(old), "{old} is not in the template");
        self.text = self.text.replacen(old, new, 1);
        self
    }

    fn file(&self) -> PathBuf {
        fs::create_dir_all(self.dir.path().join("cell")).unwrap();
        let file = self.dir.path().join("cell/cell.toml");
        fs::write(&file, &self.text).unwrap();
        file
    }

    fn load_in(&self, variables: &[(&str, &str)], depth: Depth) -> Result<Settings, String> {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let file = self.file();
        let directory = format!("{}/", file.parent().unwrap().display());
        load(&file, variables, depth).map_err(|mistakes| mistakes.to_string().replace(&directory, ""))
    }

    fn load(&self) -> Result<Settings, String> {
        self.load_in(&[], Depth::Files)
    }

    /// The one mistake, with `LINE` for the line that holds `at`.
    #[track_caller]
    fn mistaken(&self, at: &str, expected: &str) {
        let line = self.text.lines().position(|line| line.contains(at)).expect(at) + 1;
        assert_eq!(self.load().unwrap_err(), format!("cell.toml:{line}: {expected}"));
    }
}

const PEER: &str = "\n[[peers]]\ncell = \"us-east-1\"\naddress = \"127.0.0.1:7444\"\nregion = \"us-east-1\"\n\
                    zone = \"US\"\nspki = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n";

#[test]
fn what_init_writes_is_accepted_and_says_the_defaults() {
    let cell = Cell::new();
    let written = cell.load().unwrap();
    assert_eq!(written.cell.data_dir, cell.dir.path().join("cell/data"));
    assert_eq!(written.federation.cert, cell.dir.path().join("cell/../certs/eu-west-1.pem"));
    let mut silent = Cell { dir: cell.dir, text: String::new() };
    silent.text = "[cell]\nid = \"eu-west-1\"\nregion = \"eu-west-1\"\nzone = \"EEA\"\n".to_owned();
    let mut assumed = silent.load().unwrap();
    assumed.limits.fx = written.limits.fx.clone();
    assert_eq!(written, assumed);
}

#[test]
fn the_template_names_every_key_of_the_contract() {
    let contract = fs::read_to_string("docs/spec/details.md").unwrap();
    let s22 = contract.split("**S22 `cell.toml`**").nth(1).unwrap().split("```").nth(1).unwrap();
    let key = |line: &str| {
        let line = line.trim_start_matches("# ");
        line.split_once(" = ").map(|(key, _)| key.to_owned()).or_else(|| line.split(']').next().map(str::to_owned))
    };
    let template = Cell::new().text;
    let written: Vec<_> = template.lines().filter(|line| !line.is_empty()).filter_map(key).collect();
    for line in s22.lines().skip(1) {
        assert!(written.contains(&key(line).unwrap()), "not in the template: {line}");
    }
}

#[test]
fn the_example_cells_are_accepted_and_share_nothing() {
    let mut addresses = std::collections::BTreeSet::new();
    for id in ["eu-west-1", "us-east-1", "ap-northeast-1"] {
        let settings = load(&PathBuf::from(format!("cells/{id}/cell.toml")), [], Depth::Shape).unwrap();
        assert_eq!((settings.cell.id.as_str(), settings.peers.len()), (id, 2));
        for address in [settings.api.listen, settings.operator, settings.federation.listen] {
            assert!(addresses.insert(address), "{id} shares {address}");
        }
    }
}

#[test]
fn a_mistake_names_file_line_key_and_what_is_expected() {
    let cases: &[(&str, &str, &str)] = &[
        ("data_dir", "data_dri", "cell.data_dri: unknown key; did you mean data_dir?"),
        (
            "id = \"eu-west-1\"",
            "id = 7",
            "cell.id: expected the cell's id, a lower-case slug, as in its certificate, found 7",
        ),
        (
            "zone = \"EEA\"",
            "zone = \"eea\"",
            "cell.zone: expected the legal zone of the region, upper case, such as EEA, found \"eea\"",
        ),
        (
            "operator_org = \"\"",
            "operator_org = \"acme\"",
            "cell.operator_org: expected an organisation's DNS name, or nothing, found \"acme\"",
        ),
        (
            "listen = \"127.0.0.1:8080\"",
            "listen = \"8080\"",
            "api.listen: expected IP:PORT, such as 127.0.0.1:8080, found \"8080\"",
        ),
        (
            "listen = \"127.0.0.1:8081\"",
            "listen = 8081",
            "operator.listen: expected IP:PORT, such as 127.0.0.1:8081, found 8081",
        ),
        (
            "listen = \"127.0.0.1:8081\"",
            "listen = \"0.0.0.0:8081\"",
            "operator.listen: the operators' token travels in clear here; expected a loopback address",
        ),
        (
            "public_url = \"\"",
            "public_url = \"http://a/?b\"",
            "api.public_url: expected an http or https URL without query, fragment or user, such as https://asp.acme.example, found \"http://a/?b\"",
        ),
        ("behind_proxy = false", "behind_proxy = \"no\"", "api.behind_proxy: expected true or false, found \"no\""),
        (
            "dpop_nonce = \"off\"",
            "dpop_nonce = \"maybe\"",
            "api.dpop_nonce: expected \"off\" or \"on\", found \"maybe\"",
        ),
        (
            "cors_origins = []",
            "cors_origins = [\"*\"]",
            "api.cors_origins.0: expected an exact origin, such as https://app.acme.example, found \"*\"",
        ),
        (
            "listen = \"\"",
            "listen = \"127.0.0.1:9\"",
            "grpc.listen: this version serves agents over HTTP alone; expected an empty text",
        ),
        (
            "provider = \"file\"",
            "provider = \"pkcs11\"",
            "keys.provider: expected \"file\": this build has no PKCS#11, build with --features pkcs11",
        ),
        (
            "mirror = \"\"",
            "mirror = \"vault\"",
            "vault.mirror: expected another path than that of the vault, on another device",
        ),
        ("epoch = \"P1D\"", "epoch = \"P2D\"", "vault.epoch: expected at most PT24H, found PT48H"),
        ("media = \"auto\"", "media = \"disk\"", "vault.media: expected \"auto\" or \"untrusted\", found \"disk\""),
        (
            "grace = \"PT24H\"",
            "grace = \"1 day\"",
            "limits.grace: expected an ISO 8601 duration of days, hours, minutes, seconds, such as PT30S or P30D, found \"1 day\"",
        ),
        (
            "invitation_timeout = \"PT30S\"",
            "invitation_timeout = \"P8D\"",
            "limits.invitation_timeout: expected at most P7D",
        ),
        (
            "agent = 0",
            "agent = -1",
            "limits.messages_per_second_per_agent: expected a whole number from 0 (no limit) to 1000000, found -1",
        ),
        (
            "fx = { EUR = \"1.10\" }",
            "fx = { EUR = 1.1 }",
            "limits.fx.EUR: expected USD per unit as a decimal text, such as EUR = \"1.10\", found 1.1",
        ),
        (
            "sessions = \"P2557D\"",
            "sessions = \"P7Y\"",
            "retention.sessions: expected an ISO 8601 duration of days, hours, minutes, seconds, such as PT30S or P30D, found \"P7Y\"",
        ),
        ("log = \"info\"", "log = \"loud\"", "telemetry.log: expected error, warn, info or debug, found \"loud\""),
        ("[telemetry]", "[telemtry]", "telemtry: unknown key; did you mean telemetry?"),
        (
            "[retention]",
            "[cell.more]",
            "cell.more: unknown key; expected one of data_dir, dns_resolver, id, operator_org, region, zone",
        ),
    ];
    for (old, new, expected) in cases {
        Cell::new().with(old, new).mistaken(new, expected);
    }
}

#[test]
fn what_is_missing_is_named_with_what_it_should_be() {
    let cell = Cell::new().with("zone = \"EEA\"", "# zone");
    cell.mistaken("[cell]", "cell.zone: missing; expected the legal zone of the region, upper case, such as EEA");
    let absent = load(&PathBuf::from("/nowhere/cell.toml"), [], Depth::Shape).unwrap_err().to_string();
    assert!(absent.starts_with("/nowhere/cell.toml: cannot be read: "), "{absent}");
    assert!(absent.ends_with("`asp-cell init` makes one"), "{absent}");
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let cell = Cell::new().with("log = \"info\"", "log = 1").with("epoch = \"P1D\"", "epoch = \"\u{221e}\"");
    let told = cell.with("zone = \"EEA\"", "zone = \"EEA").load().unwrap_err();
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].contains("not TOML"), "{told}");
    assert!(lines.iter().any(|line| line.contains("vault.epoch")), "{told}");
    assert!(lines.last().unwrap().contains("telemetry.log"), "{told}");
}

#[test]
fn off_loopback_something_must_encrypt() {
    let open = || {
        Cell::new()
            .with("\"127.0.0.1:8080\"", "\"0.0.0.0:8080\"")
            .with("public_url = \"\"", "public_url = \"https://a\"")
    };
    open().mistaken(
        "0.0.0.0:8080",
        "api.listen: cleartext off loopback; expected tls, or behind_proxy = true, or a loopback address",
    );
    open().with("behind_proxy = false", "behind_proxy = true").load().unwrap();
    let nameless = open().with("behind_proxy = false", "behind_proxy = true").with("\"https://a\"", "\"\"");
    assert!(nameless.load().unwrap_err().contains("api.public_url: missing; expected"));
    let tls = open().with("# tls = {", "tls = {");
    let told = tls.load().unwrap_err();
    assert!(told.contains("api.tls.cert: there is no file"), "{told}");
    assert!(told.contains("api.tls.key: there is no file"), "{told}");
    assert!(tls.load_in(&[], Depth::Shape).is_ok(), "a client needs no key of the cell's");
}

#[test]
fn the_environment_overrides_the_file_and_is_named_when_it_is_wrong() {
    let cell = Cell::new();
    let settings = cell.load_in(
        &[
            ("ASP_CELL__API__LISTEN", "127.0.0.1:0"),
            ("ASP_CELL__API__BEHIND_PROXY", "true"),
            ("ASP_CELL__API__CORS_ORIGINS", "[\"https://a.example\"]"),
            ("ASP_CELL__LIMITS__MESSAGES_PER_SECOND_PER_AGENT", "20"),
            ("ASP_CELL__LIMITS__FX__GBP", "1.30"),
            ("ASP_CELL__PEERS__0__CELL", "us-east-1"),
            ("ASP_CELL__PEERS__0__ADDRESS", "peer.example:7444"),
            ("ASP_CELL__PEERS__0__REGION", "us-east-1"),
            ("ASP_CELL__PEERS__0__ZONE", "US"),
            ("ASP_CELL__PEERS__0__CA", "ca.pem"),
            ("ASP_CELL_CONFIG", "not a key"),
        ],
        Depth::Files,
    );
    let settings = settings.unwrap();
    assert_eq!(settings.api.listen.port(), 0);
    assert!(settings.api.behind_proxy);
    assert_eq!(settings.api.cors_origins, ["https://a.example"]);
    assert_eq!(settings.limits.messages_per_second_per_agent, 20);
    assert_eq!(settings.limits.fx["GBP"], "1.30");
    assert_eq!(settings.limits.fx["EUR"], "1.10");
    assert_eq!(settings.peers[0].address, "peer.example:7444");
    assert_eq!(settings.peers[0].anchor, Anchor::Ca(cell.dir.path().join("cell/ca.pem")));

    let wrong = |name, value| cell.load_in(&[(name, value)], Depth::Files).unwrap_err();
    assert_eq!(
        wrong("ASP_CELL__API__LISTEN", "here"),
        "ASP_CELL__API__LISTEN: api.listen: expected IP:PORT, such as 127.0.0.1:8080, found \"here\""
    );
    assert_eq!(
        wrong("ASP_CELL__API__LISTNE", "127.0.0.1:1"),
        "ASP_CELL__API__LISTNE: api.listne: unknown key; did you mean listen?"
    );
    assert_eq!(
        wrong("ASP_CELL__PEERS__1__CELL", "us-east-1"),
        "ASP_CELL__PEERS__1__CELL: peers.1.cell: expected an index up to 0: the list has 0 entries"
    );
    assert_eq!(
        wrong("ASP_CELL__API__LISTEN__PORT", "1"),
        "ASP_CELL__API__LISTEN__PORT: api.listen.port: expected no key below, this is \"127.0.0.1:8080\""
    );
}

#[test]
fn peers_are_checked_one_by_one() {
    let with_peers = |text: &str| {
        let mut cell = Cell::new();
        cell.text.push_str(text);
        cell
    };
    let peer = with_peers(PEER).load().unwrap().peers.remove(0);
    assert!((peer.trust_cap - 74.9).abs() < 1e-9);
    let cases: &[(&str, &str, &str)] = &[
        (
            "cell = \"us-east-1\"",
            "cell = \"eu-west-1\"",
            "peers.0.cell: this is the cell itself; expected another cell's id",
        ),
        (
            "127.0.0.1:7444",
            "127.0.0.1",
            "peers.0.address: expected HOST:PORT, the peer's UDP address, found \"127.0.0.1\"",
        ),
        (
            "spki = \"AAAA",
            "spki = \"",
            "peers.0.spki: expected base64url SHA-256 of the certificate's public key, 43 characters",
        ),
        ("zone = \"US\"", "zone = \"US\"\nca = \"ca.pem\"", "peers.0.spki: expected ca or spki, not both"),
        (
            "zone = \"US\"",
            "zone = \"US\"\ntrust_cap = 100",
            "peers.0.trust_cap: expected a score from 0 to 99.9, found 100",
        ),
        (
            "zone = \"US\"",
            "zone = \"US\"\nexposure = { USD = \"-1\" }",
            "peers.0.exposure.USD: expected an amount as a decimal text",
        ),
        (
            "zone = \"US\"",
            "",
            "peers.0.zone: missing; expected the legal zone of the peer's region, as in the peer's hello",
        ),
        ("spki = ", "# ", "peers.0.ca: missing; expected ca = \"PEM FILE\", or spki = \"PIN\""),
    ];
    for (old, new, expected) in cases {
        let told = with_peers(&PEER.replacen(old, new, 1)).load().unwrap_err();
        assert!(told.starts_with("cell.toml:") && told.contains(expected), "{told}\ninstead of\n{expected}");
    }
    let twice = with_peers(&PEER.repeat(2)).load().unwrap_err();
    assert!(twice.contains("peers.1.cell: this peer is named twice"), "{twice}");
}

#[cfg(unix)]
#[test]
fn certificate_files_are_all_there_or_none_and_keys_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let cell = Cell::new();
    assert!(!cell.load().unwrap().federation.is_provided());
    let certs = cell.dir.path().join("certs");
    fs::create_dir(&certs).unwrap();
    fs::write(certs.join("ca.pem"), "").unwrap();
    assert!(cell.load().is_ok(), "a CA alone is nobody's certificate");
    fs::write(certs.join("eu-west-1.pem"), "").unwrap();
    let told = cell.load().unwrap_err();
    assert!(told.contains("federation.key: there is no file") && told.lines().count() == 1, "{told}");
    let key = certs.join("eu-west-1.key");
    fs::write(&key, "").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let told = cell.load().unwrap_err();
    assert!(told.contains("federation.key: ") && told.contains("mode 0640") && told.contains("chmod 600"), "{told}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(cell.load().unwrap().federation.is_provided());
}
