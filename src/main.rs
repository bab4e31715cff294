//! The `asp-cell` binary: the command line, and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    asp_cell::cli::run()
}
