//! Compiles the gRPC contract in `proto/` with protox, in pure Rust: a fresh machine needs no protoc.
//!
//! Only the feature `server` speaks gRPC; the pure core builds without touching `proto/`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    if std::env::var_os("CARGO_FEATURE_SERVER").is_some() {
        let contract = protox::compile(["asp/v1/cell.proto"], ["proto"])?;
        tonic_prost_build::configure().compile_fds(contract)?;
    }
    Ok(())
}
