//! Composition: what turns the parts into one running cell.

pub mod pki;
