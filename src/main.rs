//! The `asp-cell` binary.
fn main() {}
