//! A world in virtual time: real clients, real shards, a real broker, and everything between them that can go wrong.
//!
//! One thread and one seed decide everything, so that a failure repeats. What is checked is in `checks`.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, of which each test uses some"
)]

pub mod checks;
pub mod link;
pub mod node;
pub mod peer;
pub mod random;
pub mod truth;
pub mod wire;
pub mod world;
