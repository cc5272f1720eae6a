#![allow(clippy::unwrap_used)]

mod bad_claims;
mod bad_forms;
mod fetched;
mod good;
mod loading;
mod support;
