//! Finding a running cell by its configuration, and asking it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::answer::Answer;
use super::failure::Failure;
use crate::api::operator::Token;
use crate::api::operator::contract::Document;
use crate::api::operator::contract::cell_service_client::CellServiceClient;
use crate::disk::private;
use crate::node::config::{self, Depth};
use crate::node::listeners;
use crate::node::settings::Settings;
use crate::protocol::refusal::{Code, Refusal};

/// The operators' face of a running cell.
pub type Cell = CellServiceClient<InterceptedService<Channel, Bearer>>;

/// A listener on the same machine answers at once or not at all.
const CONNECT: Duration = Duration::from_secs(5);
/// The largest document that is taken from the cell: a long session's transcript.
const LARGEST: usize = 256 * 1024 * 1024;

/// Puts the operators' token on each call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut call: Request<()>) -> Result<Request<()>, Status> {
        call.metadata_mut().insert("authorization", self.0.clone());
        Ok(call)
    }
}

/// Asks the running cell of `config`.
pub fn ask(
    config: Option<&Path>,
    verb: impl AsyncFnOnce(&mut Cell) -> Result<Answer, Failure>,
) -> Result<Answer, Failure> {
    let config = config.ok_or_else(|| Failure::usage("which cell? expected --config FILE, or ASP_CELL_CONFIG"))?;
    let settings = config::load(config, std::env::vars_os(), Depth::Shape)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::here)?;
    runtime.block_on(async { verb(&mut connect(&settings, config).await?).await })
}

/// The document that a call was answered with.
pub fn document(answered: Result<Response<Document>, Status>) -> Result<Value, Failure> {
    serde_json::from_str(&answered?.into_inner().json).map_err(Failure::here)
}

/// The document, printed as it is.
pub fn answer(answered: Result<Response<Document>, Status>) -> Result<Answer, Failure> {
    document(answered).map(Answer::new)
}

async fn connect(settings: &Settings, config: &Path) -> Result<Cell, Failure> {
    let not_running = |why: String| {
        let detail = format!("{why}; start the cell with: asp-cell run --config {}", config.display());
        let refusal = Refusal::new(Code::PeerUnreachable, detail);
        Failure::from(refusal.with("cell", json!(settings.cell.id))).titled("The cell does not answer its operator")
    };
    let Some(address) = listeners::read(&settings.layout()).map(|listeners| listeners.operator) else {
        return Err(not_running(format!("cell {} is not running", settings.cell.id)));
    };
    let bearer = bearer(&settings.token_file())?;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(Failure::here)?;
    let channel = endpoint.connect_timeout(CONNECT).tcp_nodelay(true).connect().await;
    let channel = channel.map_err(|_| not_running(format!("nobody listens on {address}")))?;
    Ok(CellServiceClient::with_interceptor(channel, bearer).max_decoding_message_size(LARGEST))
}

fn bearer(file: &Path) -> Result<Bearer, Failure> {
    let bytes = private::read(file)?;
    let token = std::str::from_utf8(&bytes).map(Token::new).map_err(Failure::here)?;
    let value = token.header().parse().map(|mut value: MetadataValue<Ascii>| {
        value.set_sensitive(true);
        value
    });
    value.map(Bearer).map_err(|_| Failure::here(format!("{}: holds no token", file.display())))
}

/// The text of a file that a verb was given.
pub fn text_of(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| Failure::file(file, &error))
}

/// Writes what a verb has for somebody else: it may show what agents said, so a new file is the caller's alone.
pub fn save(file: &Path, text: &str) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(file).and_then(|mut open| std::io::Write::write_all(&mut open, text.as_bytes()));
    written.map_err(|error| Failure::file(file, &error))
}
