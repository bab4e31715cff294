//! Logs and metrics of this process.
//!
//! Logs are one JSON object a line on stderr. Neither logs nor labels hold organisations, agents, sessions or subjects
//! (docs/spec/details.md section 11); whoever writes one must see to it, nothing is filtered here.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use super::settings::Level;

/// Buckets of everything measured in seconds: from what a verification takes to what a client gives up on.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Buckets of the commands in one commit: powers of two up to the writer's batch.
const COMMANDS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Sends logs of `level` and above to stderr; dependencies say only what goes wrong. The first call counts.
pub fn log(level: Level) {
    let ours = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    let others = if level == Level::Error { "error" } else { "warn" };
    let filter = EnvFilter::new(format!("{others},asp_cell={ours}"));
    let subscriber = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = subscriber.try_init();
}

/// The process's metrics: one recorder, however many cells run in it.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full("asp_commit_commands".to_owned()), &COMMANDS)?
        .build_recorder();
    let handle = RECORDER.get_or_init(|| recorder.handle()).clone();
    // Whoever comes second finds a recorder that is already in place.
    if metrics::set_global_recorder(recorder).is_ok() {
        metrics::gauge!("asp_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    }
    Ok(handle)
}
