//! The consent that a topology makes between two of its organisations.

use crate::engine::operation::ConsentTerms;
use crate::protocol::ids::OrgName;
use crate::protocol::time::{Span, Timestamp};

/// A consent that is active when the topology has started: offered by one organisation, accepted by the other.
///
/// Unless said otherwise it covers cards, metadata, content and trust, in both directions, for every purpose and
/// agent, for a day. Where it leads into another zone the residency policies are opened for it.
#[derive(Debug, Clone)]
pub struct ConsentSpec {
    pub(super) offers: String,
    pub(super) accepts: String,
    classes: Vec<String>,
    purposes: Vec<String>,
    outward: bool,
    inward: bool,
    agents: Option<Vec<String>>,
    basis: String,
    retention: Option<Span>,
    lasts: Span,
}

/// What a consent covers unless said otherwise: all that a deal needs, and no personal data.
const CLASSES: [&str; 4] = ["card", "content", "metadata", "trust"];

impl ConsentSpec {
    /// A consent that `offers` offers and `accepts` accepts.
    #[must_use]
    pub fn between(offers: &str, accepts: &str) -> Self {
        Self {
            offers: offers.to_owned(),
            accepts: accepts.to_owned(),
            classes: CLASSES.map(str::to_owned).to_vec(),
            purposes: vec!["*".to_owned()],
            outward: true,
            inward: true,
            agents: None,
            basis: "SCC-2021/914 module 1".to_owned(),
            retention: None,
            lasts: Span::days(1),
        }
    }

    /// The data classes it covers.
    #[must_use]
    pub fn classes(mut self, classes: &[&str]) -> Self {
        self.classes = classes.iter().map(|class| (*class).to_owned()).collect();
        self.classes.sort();
        self
    }

    /// The purposes it covers: globs.
    #[must_use]
    pub fn purposes(mut self, purposes: &[&str]) -> Self {
        self.purposes = purposes.iter().map(|purpose| (*purpose).to_owned()).collect();
        self.purposes.sort();
        self
    }

    /// The agents it covers: globs over their ids.
    #[must_use]
    pub fn agents(mut self, agents: &[&str]) -> Self {
        self.agents = Some(agents.iter().map(|agent| (*agent).to_owned()).collect());
        self
    }

    /// Data flows only from the one that offers.
    #[must_use]
    pub const fn only_outward(mut self) -> Self {
        self.inward = false;
        self
    }

    /// The transfer basis, where a zone is left.
    #[must_use]
    pub fn basis(mut self, basis: &str) -> Self {
        basis.clone_into(&mut self.basis);
        self
    }

    /// How long what crossed under it is kept.
    #[must_use]
    pub const fn retention(mut self, span: Span) -> Self {
        self.retention = Some(span);
        self
    }

    /// How long it is in force.
    #[must_use]
    pub const fn lasts(mut self, span: Span) -> Self {
        self.lasts = span;
        self
    }

    /// The terms of the offer made at `now`.
    pub(super) fn terms(&self, peer_org: OrgName, now: Timestamp) -> ConsentTerms {
        ConsentTerms {
            peer_org,
            classes: self.classes.clone(),
            purposes: self.purposes.clone(),
            outward: self.outward,
            inward: self.inward,
            agents: self.agents.clone(),
            basis: Some(self.basis.clone()),
            retention: self.retention,
            not_before: None,
            not_after: now + self.lasts,
        }
    }

    pub(super) fn basis_text(&self) -> &str {
        &self.basis
    }
}
