//! What is done to the server and its clients: a case in each file, with its bar.

mod audit;
mod disk_full;
mod exhaust;
mod frozen;
mod half_open;
mod kill;
mod mixed;
mod mount;
mod power;
mod resume;
mod streams;
mod switch;
mod weather;

use anyhow::Result;
use moorline_proto::id::{Owner, RoomName};

use crate::args::Case;
use crate::report::Verdict;
use crate::world::Plan;

pub(crate) async fn run(plan: &Plan) -> Result<Verdict> {
    match plan.arguments.case {
        Case::Mixed => mixed::run(plan).await,
        Case::Kill => kill::run(plan).await,
        Case::Streams => streams::run(plan).await,
        Case::Switch => switch::run(plan).await,
        Case::HalfOpen => half_open::run(plan).await,
        Case::Frozen => frozen::run(plan).await,
        Case::Resume => resume::run(plan).await,
        Case::Exhaust => exhaust::run(plan).await,
        Case::Power => power::run(plan).await,
        Case::DiskFull => disk_full::run(plan).await,
    }
}

/// A room that a case made up. What is no room's name would be everyone's own room.
fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap_or_else(|_| RoomName::own(&Owner::All))
}
