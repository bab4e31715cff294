//! For integration tests, ours and users': what stands between cells when the weather is bad.

pub mod relay;
