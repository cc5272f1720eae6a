//! What is done to a session.

use std::sync::atomic::Ordering;
use std::time::Duration;

use moorline_proto::client::{Input, Publication as Asked};
use moorline_proto::id::PublishId;

use super::driver::Driver;
use super::linger::Lingering;
use super::{Command, Sending};
use crate::history::{Outcome, Publication, What};
use crate::proxy::Flow;
use crate::run::count;

impl Driver {
    pub(super) async fn command(&mut self, command: Command) {
        match command {
            Command::Publish(sending) => self.publish(sending),
            Command::Join(room) => self.join(room),
            Command::Leave(room) => {
                self.log.push(self.connection, What::Leaving { room: room.clone() });
                self.tell(Input::Leave { room });
            }
            Command::Switch { held } => self.switch(held),
            Command::Freeze(span) => self.frozen_until = Some(tokio::time::Instant::now() + span),
            Command::Link(up, down) => self.disturb(up, down),
            Command::Settle(rooms) => self.settles = Some(rooms),
            Command::Stop => {}
        }
    }

    fn publish(&mut self, sending: Sending) {
        let Sending { key, room, to, except } = sending;
        let Ok(id) = PublishId::new(&key.to_string()) else { return };
        let (excluded, except) = except.unzip();
        self.publishes.insert(key.to_string(), self.log.record.publications.len());
        self.log.record.publications.push(Publication {
            key,
            room,
            sent: self.run.now(),
            outcome: Outcome::Unknown,
            excluded: excluded.unwrap_or_default(),
        });
        self.tell(Input::Publish(Asked { to, message: key.text(), except, id }));
    }

    /// Leaves the connection as a phone leaves one that its network no longer carries, and comes back at once.
    ///
    /// Only once it is established: a `hello` that was held back and arrives late would take the session from its
    /// newer connection, which the protocol allows.
    fn switch(&mut self, held: Duration) {
        if !self.is_up {
            return;
        }
        let (Some(socket), Some(link)) = (self.socket.take(), self.link.take()) else { return };
        link.set(Flow::Hold, Flow::Hold);
        let (run, connection) = (self.run.clone(), self.connection);
        let lingering = Lingering { run, socket, link, connection, epochs: self.epochs.clone(), held };
        self.lingering.push(tokio::spawn(lingering.watch()));
        self.down();
        self.tell(Input::Closed(None));
        // A client that knows of the new network does not wait.
        let now = self.now();
        let delay = self.machine.poll_timeout().map_or(Duration::ZERO, |at| at.since(now));
        self.ahead += delay;
        let now = self.now();
        self.machine.handle_timeout(now);
    }

    fn disturb(&mut self, up: Flow, down: Flow) {
        let Some(link) = &self.link else { return };
        let breaks = |flow| matches!(flow, Flow::Cut(_) | Flow::Reset | Flow::HalfClose);
        if breaks(up) || breaks(down) {
            self.log.push(self.connection, What::Broken);
        }
        link.set(up, down);
    }

    /// Once nothing is open, says how many last messages it will get.
    pub(super) fn settle(&mut self) {
        if !self.is_up || self.machine.unanswered() > 0 || !self.joining.is_empty() {
            return;
        }
        let Some(rooms) = self.settles.take() else { return };
        let own = super::own_rooms(&self.seat);
        let due = self.members.iter().chain(&own).filter(|room| rooms.contains(*room));
        self.awaited = due.cloned().collect();
        self.run.progress.due.fetch_add(self.awaited.len(), Ordering::Relaxed);
        count(&self.run.progress.settled);
    }
}
