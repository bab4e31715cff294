//! Hands the audit log's checkpoint to outside witnesses, and keeps what they sign.
//!
//! C2SP tlog-witness: `POST <url>/add-checkpoint`; 200 brings cosignatures, 409 the size that the witness remembers. A
//! witness that is away or refuses is asked again later and later; what it has not signed for ten minutes is an alarm.
//! Source: docs/spec/federation.md section 5.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::settings::Witness;
use crate::engine::handle::Handle;
use crate::protocol::witness::cosigned;

/// How often a witness is asked while the log grows.
const OFTEN: Duration = Duration::from_secs(10);
/// The longest pause after failures.
const SELDOM: Duration = Duration::from_mins(10);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Without a cosignature for so long, operators are told.
const TOLD_AFTER: Duration = Duration::from_mins(10);
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// Submits to each witness until the cell stops.
pub async fn submit(handle: Handle, witnesses: Vec<Witness>, stop: CancellationToken) {
    let client = match Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build() {
        Ok(client) => client,
        Err(error) if witnesses.is_empty() => return tracing::debug!(%error, "no HTTP client, and no witnesses"),
        Err(error) => return tracing::error!(%error, "alarm: no HTTP client: witnesses are not asked"),
    };
    let mut running = JoinSet::new();
    for witness in witnesses {
        running.spawn(keep(handle.clone(), client.clone(), witness));
    }
    // Nothing is lost by stopping in between: what was signed and not kept is signed again.
    tokio::select! {
        () = stop.cancelled() => {}
        _ = running.join_all() => {}
    }
}

async fn keep(handle: Handle, client: Client, witness: Witness) {
    let (mut pause, mut good, mut told) = (OFTEN, Instant::now(), false);
    loop {
        match ask(&handle, &client, &witness).await {
            Ok(()) => (pause, good, told) = (OFTEN, Instant::now(), false),
            Err(why) => {
                metrics::counter!("asp_witness_failures_total").increment(1);
                tracing::warn!(witness = %witness.key.name, %why, "the witness has not signed");
                pause = pause.saturating_mul(2).min(SELDOM);
            }
        }
        if good.elapsed() >= TOLD_AFTER && !told {
            told = true;
            metrics::counter!("asp_alarms_total").increment(1);
            tracing::error!(witness = %witness.key.name, "alarm: the witness has signed nothing for ten minutes");
        }
        tokio::time::sleep(pause).await;
    }
}

/// One question, and a second one from where the witness says it stands.
async fn ask(handle: &Handle, client: &Client, witness: &Witness) -> Result<(), String> {
    let mut remembered = None;
    for _ in 0..2 {
        let question = handle.question(&witness.key, remembered).map_err(|refusal| refusal.to_string())?;
        let Some(question) = question else { return Ok(()) };
        let (status, answer) = post(client, &witness.url, question.body).await?;
        match status {
            StatusCode::OK => {
                let signed = cosigned(&answer, &question.checkpoint, &witness.key);
                let (note, at) = signed.ok_or("its answer has no cosignature by its key")?;
                return handle.witnessed(&witness.key, &note, at).await.map_err(|refusal| refusal.to_string());
            }
            StatusCode::CONFLICT => {
                let size = answer.trim_end().parse().map_err(|_| "it answered 409 without a size")?;
                remembered = Some(size);
            }
            _ => return Err(format!("it answered {status}: {}", answer.chars().take(200).collect::<String>().trim())),
        }
    }
    Err("it answered 409 twice: somebody else submits this log".to_owned())
}

async fn post(client: &Client, url: &str, body: String) -> Result<(StatusCode, String), String> {
    let failed = |error: reqwest::Error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        format!("{error}{cause}")
    };
    let sent = client.post(format!("{}/add-checkpoint", url.trim_end_matches('/'))).body(body).send().await;
    let mut answer = sent.map_err(failed)?;
    let (status, mut read) = (answer.status(), Vec::new());
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        read.extend_from_slice(&piece);
        if read.len() > MAX_ANSWER {
            return Err(format!("its answer is longer than {MAX_ANSWER} bytes"));
        }
    }
    Ok((status, String::from_utf8_lossy(&read).into_owned()))
}
