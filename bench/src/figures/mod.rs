//! x
use anyhow::Result;
use crate::args;
pub(crate) fn run(_o: &args::Figures) -> Result<()> { Ok(()) }
