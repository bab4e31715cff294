//! The `cell.toml` that `init` writes: every key of docs/spec/details.md S22 with its explanation.

use crate::protocol::ids::CellId;

const TEMPLATE: &str = include_str!("cell.toml");

/// What a new cell must be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub id: CellId,
    /// Where its data will lie.
    pub region: String,
    /// The legal zone of the region.
    pub zone: String,
}

impl Identity {
    /// Checks region and zone as the configuration will.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn new(id: CellId, region: &str, zone: &str) -> Result<Self, &'static str> {
        let region = super::rules::named(region).ok_or("--region: expected a region's id, such as eu-west-1")?;
        let zone = super::rules::zone(zone).ok_or("--zone: expected a legal zone, upper case, such as EEA")?;
        Ok(Self { id, region, zone })
    }
}

/// The configuration of a new cell.
#[must_use]
pub fn write(identity: &Identity) -> String {
    let filled = TEMPLATE.replace("{id}", identity.id.as_str());
    filled.replace("{region}", &identity.region).replace("{zone}", &identity.zone)
}
