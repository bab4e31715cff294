//! `peer`: other cells that this one talks to.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::answer::Answer;
use super::failure::Failure;
use super::running::{Cell, answer, text_of};
use crate::api::operator::contract::peer_add_request::Anchor;
use crate::api::operator::contract::{
    PeerAddRequest, PeerForwardRequest, PeerListRequest, PeerRemoveRequest, PeerRetryRequest,
};

/// Peers.
#[derive(Debug, Subcommand)]
pub enum Peer {
    /// Add a peer, or change what is known of it.
    Add(Add),
    /// Peers and their links.
    List,
    /// Remove a peer and close the link to it.
    Remove {
        /// The peer's cell id.
        id: String,
    },
    /// Dial a peer at once.
    Retry {
        /// The peer's cell id.
        id: String,
    },
    /// Go on with a peer although one of the two was restored from a backup older than the other knows; the operators
    /// of both say it within an hour, and open sessions that the restored cell hosts for both are frozen for good.
    Forward {
        /// The peer's cell id.
        id: String,
        /// Why, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// A peer as an operator knows it.
#[derive(Debug, Args)]
pub struct Add {
    /// The cell id in its certificate.
    id: String,
    /// Host or IP address and UDP port.
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// The region it says it is in.
    #[arg(long)]
    region: String,
    /// The legal zone of that region.
    #[arg(long)]
    zone: String,
    #[command(flatten)]
    anchor: AnchorFlags,
    /// Highest trust score enforced for its agents.
    #[arg(long, value_name = "SCORE")]
    trust_cap: Option<f64>,
}

/// How its certificate is known.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct AnchorFlags {
    /// The CA that issues its certificates, PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// base64url SHA-256 of its certificate's public key.
    #[arg(long, value_name = "HASH")]
    spki: Option<String>,
}

impl Peer {
    pub async fn carry_out(self, cell: &mut Cell) -> Result<Answer, Failure> {
        match self {
            Self::Add(verb) => answer(cell.peer_add(verb.request()?).await),
            Self::List => answer(cell.peer_list(PeerListRequest {}).await),
            Self::Remove { id } => answer(cell.peer_remove(PeerRemoveRequest { cell: id }).await),
            Self::Retry { id } => answer(cell.peer_retry(PeerRetryRequest { cell: id }).await),
            Self::Forward { id, reason } => answer(cell.peer_forward(PeerForwardRequest { cell: id, reason }).await),
        }
    }
}

impl Add {
    fn request(self) -> Result<PeerAddRequest, Failure> {
        let ca = self.anchor.ca.map(|file| text_of(&file).map(Anchor::Ca)).transpose()?;
        Ok(PeerAddRequest {
            cell: self.id,
            address: self.address,
            region: self.region,
            zone: self.zone,
            anchor: ca.or(self.anchor.spki.map(Anchor::Spki)),
            trust_cap: self.trust_cap,
        })
    }
}
