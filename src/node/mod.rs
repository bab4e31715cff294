//! Composition: what turns the parts into one running cell.

pub mod config;
mod copies;
pub mod create;
mod dns;
mod exchange;
mod links;
pub mod listeners;
mod operators;
pub mod pki;
pub mod settings;
mod signing;
pub mod start;
mod storage;
pub mod telemetry;
mod witnesses;

pub use start::{Running, StartError, start};
