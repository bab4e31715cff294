//! Compiles the gRPC contract in `proto/` with protox, in pure Rust: a fresh machine needs no protoc.
//!
//! Only the feature `server` speaks gRPC; the pure core builds without touching `proto/`.

use std::error::Error;
use std::path::Path;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    if std::env::var_os("CARGO_FEATURE_SERVER").is_some() {
        let contract = protox::compile(["asp/v1/cell.proto"], ["proto"])?;
        // What gRPC reflection shows.
        let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
        std::fs::write(Path::new(&out).join("asp.v1.bin"), contract.encode_to_vec())?;
        tonic_prost_build::configure().compile_fds(contract)?;
    }
    Ok(())
}
