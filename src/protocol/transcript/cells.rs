//! The cells of a transcript and their signing keys: who may have signed what.
//!
//! A key counts when its certificate leads to a given authority, or when it was given; only when neither was given
//! does the file's own word count, with a warning. Source: docs/spec/details.md section 2 ("A verifier takes").

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Pins, Report, text};
use crate::crypto::jwk::PublicKey;
use crate::protocol::certificate;
use crate::protocol::consent::document::Party;
use crate::protocol::ids::CellId;

/// What is known about a key that is said to be a cell's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It is the cell's.
    Key(PublicKey),
    /// It is not: the cell is listed and all its keys hold, or the cell is not listed.
    No,
    /// Not to be told: the cell's keys did not hold, which was reported once and blames nothing else.
    Open,
}

impl Known {
    /// The key, if it is known to hold.
    pub(super) const fn key(self) -> Option<PublicKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::No | Self::Open => None,
        }
    }
}

#[derive(Debug, Default)]
struct Cell {
    keys: BTreeMap<String, PublicKey>,
    broken: bool,
    public_url: Option<String>,
    region: Option<String>,
    zone: Option<String>,
}

/// The cells that the file lists.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Cells(BTreeMap<CellId, Cell>);

impl Cells {
    pub(in crate::protocol) fn read(file: &Value, pins: &Pins, report: &mut Report) -> Self {
        let mut cells = Self::default();
        for entry in super::list(file, "cells", report) {
            let Some(id) = text(entry, "id").and_then(|id| id.parse::<CellId>().ok()) else {
                report.problem("cell", "an entry of `cells` has no cell id");
                continue;
            };
            let cell = read_cell(&id, entry, pins, report);
            if cells.0.insert(id.clone(), cell).is_some() {
                report.problem("cell", format!("cell {id} stands twice in `cells`"));
            }
        }
        cells
    }

    /// The cells.
    pub(in crate::protocol) fn ids(&self) -> impl Iterator<Item = &CellId> {
        self.0.keys()
    }

    /// The keys of a cell that hold.
    pub(in crate::protocol) fn keys(&self, id: &CellId) -> impl Iterator<Item = &PublicKey> {
        self.0.get(id).into_iter().flat_map(|cell| cell.keys.values())
    }

    pub(in crate::protocol) fn lists(&self, id: &CellId) -> bool {
        self.0.contains_key(id)
    }

    pub(super) fn public_url(&self, id: &CellId) -> Option<&str> {
        self.0.get(id)?.public_url.as_deref()
    }

    /// Whether the cell is shown where a signed consent says it is; a cell that is not listed is shown nowhere.
    pub(in crate::protocol) fn lies_where(&self, party: &Party) -> bool {
        self.0.get(&party.cell).is_none_or(|cell| {
            cell.region.as_deref() == Some(&party.region) && cell.zone.as_deref() == Some(party.zone.as_str())
        })
    }

    /// The key of that name if it is this cell's.
    pub(super) fn key(&self, id: &CellId, kid: &str) -> Known {
        match self.0.get(id) {
            Some(cell) => match cell.keys.get(kid) {
                Some(key) => Known::Key(*key),
                None if cell.broken => Known::Open,
                None => Known::No,
            },
            None => Known::No,
        }
    }

    /// The cell and key of that name, whichever cell it is.
    pub(super) fn key_of_any(&self, kid: &str) -> (Known, Option<&CellId>) {
        let found = self.0.iter().find_map(|(id, cell)| cell.keys.get(kid).map(|key| (Known::Key(*key), Some(id))));
        let broken = self.0.values().any(|cell| cell.broken);
        found.unwrap_or((if broken { Known::Open } else { Known::No }, None))
    }
}

fn read_cell(id: &CellId, entry: &Value, pins: &Pins, report: &mut Report) -> Cell {
    let shown = |member| text(entry, member).map(str::to_owned);
    let (public_url, region, zone) = (shown("publicUrl"), shown("region"), shown("zone"));
    let mut cell = Cell { public_url, region, zone, ..Cell::default() };
    let keys = entry.pointer("/jwks/keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if keys.is_empty() {
        report.problem("cell key", format!("cell {id} has no jwks"));
        cell.broken = true;
    }
    for jwk in keys {
        match trusted(id, jwk, pins, report) {
            Ok(key) => drop(cell.keys.insert(key.thumbprint().to_string(), key)),
            Err(why) => {
                report.problem("cell key", format!("a key of cell {id}: {why}"));
                cell.broken = true;
            }
        }
    }
    cell
}

/// The key of a `jwks` entry, if it is the cell's by what was given.
fn trusted(id: &CellId, jwk: &Value, pins: &Pins, report: &mut Report) -> Result<PublicKey, String> {
    let given = pins.cells.get(id);
    let certified = match (&pins.authorities, given) {
        (Some(authorities), _) => authorities.verify_jwk_in_its_time(jwk).map(Some),
        (None, None) if jwk.get("x5c").is_some() => certificate::unverified_jwk(jwk).map(Some),
        (None, _) => Ok(None),
    };
    let key = match certified.map_err(|bad| bad.to_string())? {
        Some(named) if named.cell == *id => named.key,
        Some(named) => return Err(format!("its certificate names cell {}", named.cell)),
        None => bare_key(jwk)?,
    };
    if pins.authorities.is_none() {
        match given {
            Some(keys) if !keys.contains(&key) => return Err("it is none of the keys given for the cell".to_owned()),
            Some(_) => {}
            None => report.warn(format!("the keys of cell {id} are the file's own word; give its CA to check them")),
        }
    }
    Ok(key)
}

fn bare_key(jwk: &Value) -> Result<PublicKey, String> {
    let key = PublicKey::from_jwk(jwk).map_err(|bad| format!("expected {bad}"))?;
    let kid = text(jwk, "kid");
    let right = kid.is_none_or(|kid| kid == key.thumbprint().to_string());
    if right { Ok(key) } else { Err("its kid is not its thumbprint".to_owned()) }
}
