//! Real clients, real shards and a real broker in virtual time, with everything between and beneath them that can go wrong.
//!
//! One thread and one seed decide everything, so that a failure repeats. What happens is the [`world`]'s; what must hold
//! whatever happens is in [`invariants`], one property a file; what a node lives on, and loses, is a [`ground::Ground`].

pub mod backend;
pub mod driver;
pub mod ground;
pub mod invariants;
pub mod link;
pub mod names;
pub mod peer;
pub mod planted;
pub mod producer;
pub mod random;
pub mod seed;
pub mod trace;
pub mod truth;
pub mod wire;
pub mod world;
pub mod written;
