//! What is done to the server and its clients: a case in each file, with its bar.

mod kill;
mod mixed;
mod switch;
mod weather;

use anyhow::Result;

use crate::args::Case;
use crate::report::Verdict;
use crate::world::Plan;

pub(crate) async fn run(plan: &Plan) -> Result<Verdict> {
    match plan.arguments.case {
        Case::Mixed => mixed::run(plan).await,
        Case::Kill => kill::run(plan).await,
        Case::Switch => switch::run(plan).await,
        _ => anyhow::bail!("not there"),
    }
}

/// The name of a room that a case made up.
fn room(name: &str) -> moorline_proto::id::RoomName {
    // Short, of letters and digits: always a name.
    moorline_proto::id::RoomName::new(name).unwrap_or_else(|_| moorline_proto::id::RoomName::own(&moorline_proto::id::Owner::All))
}
