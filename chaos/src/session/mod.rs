//! One client session: the reference client over a socket that may be broken, and all it sees written down.

mod driver;
mod faults;
mod frames;
mod hear;
mod linger;
mod log;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use moorline_proto::id::RoomName;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(crate) use self::frames::Greeting;
use self::log::Record;
use crate::content::Key;
use crate::proxy::{Flow, Proxy};
use crate::run::Run;
use crate::socket::Place;

/// Commands that wait for a session which is busy connecting; whoever sends more waits.
const COMMANDS_MAX: usize = 64;

/// What a session is like.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// Its place in the history.
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) place: Place,
    /// What stands between it and the server.
    pub(crate) proxy: Option<Arc<Proxy>>,
    /// The rooms that it joins whenever it has a session that knows none.
    pub(crate) rooms: Vec<RoomName>,
    /// It may come back without naming its positions, so that the server's own count.
    pub(crate) forgetful: bool,
    /// It acknowledges after so many messages of a room; 0: only by answering pings.
    pub(crate) acks_every: u32,
}

/// A message for a session to publish.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) key: Key,
    pub(crate) room: RoomName,
    /// The protocol's `to`.
    pub(crate) to: Value,
    /// Indices of the sessions that it is not for, and the protocol's `except`.
    pub(crate) except: Option<(Vec<usize>, Value)>,
}

/// What is done to a session, or asked of it.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Publish(Sending),
    Join(RoomName),
    Leave(RoomName),
    /// The network is another one from now on: the old connection stays silent for so long, a new one is made at once.
    Switch {
        held: Duration,
    },
    /// It reads nothing for so long, and does nothing else.
    Freeze(Duration),
    /// What the proxy does to its connection: to the server, and from it.
    Link(Flow, Flow),
    /// From now on it counts the last messages of these rooms.
    Settle(Arc<HashSet<RoomName>>),
    Stop,
}

/// A session that runs.
#[derive(Debug)]
pub(crate) struct Session {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<Record>,
}

impl Session {
    pub(crate) fn start(run: Arc<Run>, seat: Seat) -> Self {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        Self { commands, task: tokio::spawn(driver::Driver::new(run, seat, received).run()) }
    }

    pub(crate) async fn tell(&self, command: Command) {
        // One that has ended is found by its history.
        let _ended = self.commands.send(command).await;
    }

    /// As [`Session::tell`], where it has room for one more.
    pub(crate) fn offer(&self, command: Command) {
        // Frozen, and full of what was asked before: this one is left out.
        let _full = self.commands.try_send(command);
    }

    /// Ends it and returns what it saw; none where it broke.
    pub(crate) async fn stop(self) -> Option<Record> {
        self.tell(Command::Stop).await;
        self.task.await.ok()
    }
}

/// The rooms that a session receives through without joining them.
pub(crate) fn own_rooms(seat: &Seat) -> Vec<RoomName> {
    let names = [format!("@session/{}", seat.name), format!("@user/{}", seat.user), "@all".to_owned()];
    names.iter().filter_map(|name| RoomName::stored(name).ok()).collect()
}
