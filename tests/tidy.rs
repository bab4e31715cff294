//! The house rules that a machine can check: who may name whom, what every file says of itself, and what must never
//! be in the repository (ARCHITECTURE.md, CONTRIBUTING.md).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may name whom: each module with the modules of this crate that it may use. A module may always use itself.
const ARROWS: &[(&str, &[&str])] = &[
    ("crypto", &[]),
    ("protocol", &["crypto"]),
    ("wire", &["crypto", "protocol"]),
    ("disk", &["crypto", "protocol"]),
    ("vault", &["crypto", "protocol", "disk"]),
    ("store", &["crypto", "protocol", "disk", "vault"]),
    ("engine", &["crypto", "protocol", "wire", "disk", "vault", "store"]),
    ("peering", &["crypto", "protocol", "wire", "engine"]),
    ("api", &["crypto", "protocol", "wire", "engine"]),
    ("node", &["crypto", "protocol", "wire", "disk", "vault", "store", "engine", "peering", "api"]),
    ("testkit", &["crypto", "protocol", "wire", "disk", "vault", "store", "engine", "peering", "api", "node"]),
    ("cli", &["crypto", "protocol", "wire", "disk", "vault", "store", "engine", "peering", "api", "node", "testkit"]),
];

/// Modules that are given the time and never read it.
const TIMELESS: &[&str] = &["crypto", "protocol", "wire", "engine"];
/// The one file that reads the wall clock for them.
const CLOCK: &str = "src/engine/clock.rs";
/// Lines in a file, at most.
const LONGEST: usize = 600;
/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "types", "misc"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` with this ending, as paths from the root.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn rust() -> Vec<PathBuf> {
    ["src", "tests", "benches"].iter().flat_map(|folder| files(folder, "rs")).collect()
}

fn text(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The module of the crate that a file belongs to; `None` for lib.rs and main.rs.
fn module(file: &Path) -> Option<String> {
    let mut parts = file.strip_prefix("src").ok()?.iter().map(|part| part.to_str().unwrap());
    let first = parts.next()?;
    parts.next().map(|_| first.to_owned())
}

/// The code of a file: comments are no uses.
fn code(file: &Path) -> Vec<String> {
    let text = text(file);
    text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect()
}

/// The modules of this crate that one line names: `crate::x`, and `crate::{x, y::z}`.
fn named(line: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let word =
            |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            Some(list) => names.extend(list.split(['{', ',', '}']).map(word)),
            None => names.push(word(rest)),
        }
    }
    names
}

#[test]
fn the_arrows_between_modules_hold() {
    let mut wrong = Vec::new();
    for file in files("src", "rs") {
        let Some(module) = module(&file) else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: module {module} has no place in ARROWS", file.display()));
            continue;
        };
        for (number, line) in code(&file).iter().enumerate() {
            for other in named(line) {
                let known = ARROWS.iter().any(|(name, _)| *name == other);
                if known && other != module && !allowed.contains(&other.as_str()) {
                    wrong.push(format!("{}:{}: {module} may not name {other}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    let mut wrong = Vec::new();
    for file in rust() {
        let text = text(&file);
        if !text.starts_with("//! ") {
            wrong.push(format!("{}: expected to open with //!", file.display()));
        }
        let lines = text.lines().count();
        if lines > LONGEST {
            wrong.push(format!("{}: {lines} lines, expected at most {LONGEST}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_module_is_named_after_nothing() {
    for file in files("src", "rs") {
        for part in &file {
            let name = part.to_str().unwrap().trim_end_matches(".rs");
            assert!(!EMPTY_NAMES.contains(&name), "{}: say what is inside, not {name}", file.display());
        }
    }
}

#[test]
fn time_is_an_argument() {
    let clocks = ["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now", "now_utc"];
    for file in files("src", "rs") {
        let timeless = module(&file).is_some_and(|module| TIMELESS.contains(&module.as_str()));
        if timeless && file != Path::new(CLOCK) {
            for (number, line) in code(&file).iter().enumerate() {
                // tokio's own clock measures waiting and can be paused; it is no time of day.
                let line = line.replace("tokio::time::Instant::now", "");
                let read = clocks.iter().find(|clock| line.contains(**clock));
                assert!(
                    read.is_none(),
                    "{}:{}: reads a clock; take the time as an argument",
                    file.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn only_the_store_knows_redb() {
    for file in files("src", "rs") {
        if module(&file).is_none_or(|module| module != "store") {
            let named = code(&file).iter().any(|line| line.contains("redb::"));
            assert!(!named, "{}: names redb; ask the store", file.display());
        }
    }
}

#[test]
fn nothing_is_left_to_do_in_a_comment() {
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    for file in rust() {
        for (number, line) in text(&file).lines().enumerate() {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            let mut words = comment.split(|c: char| !c.is_ascii_alphanumeric());
            let left = words.any(|word| marks.iter().any(|mark| mark == word));
            assert!(!left, "{}:{}: do it, or write down why not", file.display(), number + 1);
        }
    }
}

/// Files that git tracks; nothing if this is no git checkout.
fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let names = listed.map(|output| output.stdout).unwrap_or_default();
    names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).as_ref().into())
        .collect()
}

/// The test vectors hold keys that are published on purpose.
fn is_vector(file: &Path) -> bool {
    file.starts_with("tests/vectors")
}

#[test]
fn no_private_key_is_in_the_repository() {
    let (pem, jwk) = (["PRIVATE", "KEY-----"].join(" "), ["\"d\"", ":"].concat());
    for file in tracked().into_iter().filter(|file| !is_vector(file)) {
        assert!(file.extension().is_none_or(|extension| extension != "key"), "{} is a key", file.display());
        let Ok(text) = fs::read_to_string(root().join(&file)) else { continue };
        assert!(!text.contains(&pem), "{} holds a private key", file.display());
        let secret = text.lines().any(|line| line.contains(&jwk) && line.contains("\"crv\""));
        assert!(!secret, "{} holds a private JWK", file.display());
    }
}

#[test]
fn nothing_of_one_machine_is_in_the_repository() {
    let signs = [
        ["/ho", "me/"],
        ["/ro", "ot/"],
        ["/wo", "rk/"],
        ["C:\\", "Users"],
        ["registry.", "npmjs"],
        ["index.", "crates.io"],
    ];
    let signs = signs.map(|halves| halves.concat());
    for file in tracked().into_iter().filter(|file| !is_vector(file) && file != Path::new("Cargo.lock")) {
        let Ok(text) = fs::read_to_string(root().join(&file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let found = signs.iter().find(|sign| line.contains(sign.as_str()));
            assert!(found.is_none(), "{}:{}: names {}", file.display(), number + 1, found.unwrap());
        }
    }
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(named("use crate::store::Layout;"), ["store"]);
    assert_eq!(named("use crate::{api, node::config};"), ["api", "node", ""]);
    assert_eq!(named("pub(crate) fn x(y: crate::engine::Handle)"), ["engine"]);
    assert_eq!(module(Path::new("src/node/config/mod.rs")).as_deref(), Some("node"));
    assert_eq!(module(Path::new("src/lib.rs")), None);
}
