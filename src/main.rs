//! The `asp-cell` binary: the command line, and nothing else.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped: a key, a message or a request that was let go is not left behind in the heap.
/// docs/spec/federation.md section 4 "Gone means gone".
#[global_allocator]
static HEAP: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    asp_cell::cli::run()
}
