//! Composition: what turns the parts into one running cell.

pub mod config;
pub mod pki;
pub mod settings;
