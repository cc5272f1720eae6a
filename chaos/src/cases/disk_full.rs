use anyhow::Result;
use crate::{report::Verdict, world::Plan};
pub(super) async fn run(_plan: &Plan) -> Result<Verdict> { Ok(Verdict::default()) }
