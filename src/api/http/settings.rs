//! What the HTTP side is told when it starts.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::crypto::secret::Secret;

/// Writes the metrics in the Prometheus text format.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// The settings of `[api]`, `[limits]` and `[telemetry]` that concern agents' requests.
#[derive(Clone, Default)]
pub struct Settings {
    /// Exact origins that browsers may call from.
    pub cors_origins: Vec<String>,
    /// With `dpop_nonce = "on"`: the key that nonces are made under, drawn at start.
    pub nonce_key: Option<Secret>,
    /// Messages an agent may send in a second; 0: as many as it likes.
    pub messages_per_second_per_agent: u32,
    /// With `metrics_public`: what `/metrics` answers.
    pub metrics: Option<MetricsText>,
    /// Cancelled when the cell drains: streams and long polls end, `/readyz` says no.
    pub shutdown: CancellationToken,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("cors_origins", &self.cors_origins)
            .field("dpop_nonce", &self.nonce_key.is_some())
            .field("messages_per_second_per_agent", &self.messages_per_second_per_agent)
            .field("metrics_public", &self.metrics.is_some())
            .finish_non_exhaustive()
    }
}
