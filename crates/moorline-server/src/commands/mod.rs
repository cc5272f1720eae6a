//! What the program can be told to do, a file for each command.

pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod keys;
mod pages;
pub(crate) mod publish;
pub(crate) mod rooms;
pub(crate) mod sessions;
pub(crate) mod store;
pub(crate) mod stream;
pub(crate) mod tail;
pub(crate) mod token;
