//! Composition: what turns the parts into one running cell.

pub mod config;
pub mod create;
pub mod listeners;
pub mod pki;
pub mod settings;
mod storage;
