//! What a token says, for a person who wonders about it. Nothing of it is believed.

use serde::Serialize;
use serde_json::Value;

use super::header::{Parts, decode};
use super::refusal::{JsonFault, Refusal};

/// A token's header and claims as they stand there, checked by nobody.
#[derive(Debug, Serialize)]
pub(crate) struct Inspection {
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Inspection {
    /// Decodes a token of up to 8 KiB.
    ///
    /// # Errors
    /// It cannot be decoded; says why.
    pub(crate) fn of(token: &str) -> Result<Self, String> {
        let read = || -> Result<Self, Refusal> {
            let parts = Parts::split(token)?;
            let header = value(&decode(parts.header, "header")?).map_err(Refusal::Header)?;
            let claims = value(&decode(parts.claims, "payload")?).map_err(Refusal::Claims)?;
            Ok(Self { header, claims })
        };
        read().map_err(|refusal| refusal.to_string())
    }
}

fn value(text: &[u8]) -> Result<Value, JsonFault> {
    moorline::check_depth(text).map_err(|_deep| JsonFault::TooDeep)?;
    serde_json::from_slice(text).map_err(|_other| JsonFault::NotAnObject)
}
