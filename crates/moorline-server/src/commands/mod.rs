//! Commands that do one thing and end.

pub(crate) mod config;
