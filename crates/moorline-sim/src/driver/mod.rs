//! The driver of one shard: performs its outputs as an asynchronous one would, late and interleaved, in order per kind.

mod answers;
mod perform;
mod sockets;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use moorline_broker::ReadLimit;
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::{RoomName, SessionId};
use moorline_proto::shard::{ConnectionId, Input, PageReader, Shard, ShardConfig};
use moorline_proto::time::Now;

use self::answers::{Answers, Pending};
pub use self::sockets::Sockets;
use crate::backend::Backend;
use crate::invariants::{bounds, takeover};
use crate::planted::{Planted, overlook_holes};
use crate::random::Random;

/// Announcements that are taken in together, at most: a good part of what is published between two looks.
const TOGETHER_MAX: usize = 16;

/// One shard and what is between it and everything else.
pub struct Driver {
    /// The shard.
    pub shard: Shard,
    /// Its connections.
    pub sockets: Sockets,
    /// What it was told to be like.
    pub config: Arc<ShardConfig>,
    backend: Rc<Backend>,
    answers: Answers,
    /// Announced, not taken in yet.
    pub announced: VecDeque<Input>,
    /// How many are there when it looks next.
    busy_until: usize,
    /// Whether announcements were lost.
    pub behind: bool,
    random: Random,
    /// Whether answers come at once.
    pub is_prompt: bool,
    /// Sessions that expire, on whichever shard they are.
    pub expired: Vec<SessionId>,
    /// Rooms that a session reads from before since just now.
    pub rereads: Vec<(SessionId, RoomName)>,
    /// Subscribed rooms, and how often.
    pub subscribed: BTreeMap<RoomName, i64>,
    /// Connections whose session was established just now.
    pub established: Vec<ConnectionId>,
    page: ReadLimit,
    /// Whether what nobody waits for is saved at once.
    pub saves_at_once: bool,
    unsubscribes: u64,
    /// Pages that were asked for.
    reads: u64,
    last_read: Option<(PageReader, RoomName, ReadFrom)>,
}

impl Driver {
    /// A driver with a shard that has no sessions.
    pub fn new(config: &Arc<ShardConfig>, backend: &Rc<Backend>, now: Now, seed: u64) -> Self {
        let mut random = Random(seed);
        let page = ReadLimit { records: 1 + random.below(6), bytes: config.pending_max_bytes / 2 };
        let sockets = Sockets {
            links: BTreeMap::new(),
            slots: BTreeMap::new(),
            users: Rc::clone(&backend.users),
            random: Random(random.number()),
            partial_percent: 30,
            offered: None,
            violations: Vec::new(),
        };
        Self {
            shard: Shard::new(Arc::clone(config), now),
            sockets,
            config: Arc::clone(config),
            backend: Rc::clone(backend),
            answers: Answers::default(),
            announced: VecDeque::new(),
            busy_until: 0,
            behind: false,
            random,
            is_prompt: false,
            expired: Vec::new(),
            rereads: Vec::new(),
            subscribed: BTreeMap::new(),
            established: Vec::new(),
            page,
            saves_at_once: false,
            unsubscribes: 0,
            reads: 0,
            last_read: None,
        }
    }

    /// The shard takes in what happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.take_in(now, input);
        self.settle(now);
    }

    fn take_in(&mut self, now: Now, input: Input) {
        let is_writable = matches!(input, Input::Writable(_));
        self.sockets.offered = is_writable.then_some(0);
        self.shard.handle(now, input, &mut self.sockets);
        if let Some(offered) = self.sockets.offered.take() {
            self.check_bound(offered);
        }
    }

    /// The shard does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.shard.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.shard.handle_timeout(now, &mut self.sockets);
            self.settle(now);
        }
    }

    /// Performs what the shard wants until it wants nothing more.
    ///
    /// Says that something is wrong where that never ends.
    pub fn settle(&mut self, now: Now) {
        const READS_MAX: u64 = 20_000;
        let reads = self.reads;
        loop {
            if self.reads - reads > READS_MAX && self.sockets.violations.is_empty() {
                let (last, state) =
                    (&self.last_read, self.last_read.as_ref().map(|read| self.backend.state(&read.1)));
                let violation = format!("a shard reads without an end, at one moment: {last:?} of {state:?}");
                self.sockets.violations.push(violation);
                break;
            }
            let budget = 1 + self.random.below(4);
            while self.shard.fan_out(now, budget, &mut self.sockets) {}
            if let Some(output) = self.shard.poll_output() {
                self.perform(now, output);
                continue;
            }
            let ready = if self.is_prompt { self.answers.ready() } else { Vec::new() };
            if ready.is_empty() {
                break;
            }
            if let Some(input) = self.next_answer(&ready) {
                self.take_in(now, input);
            }
        }
        if !self.established.is_empty() {
            let second = takeover::check(&self.sockets.links, &self.sockets.slots);
            self.sockets.violations.extend(second);
        }
        for violation in std::mem::take(&mut self.sockets.violations) {
            self.backend.violation(violation);
        }
    }

    fn check_bound(&self, waiting: usize) {
        if let Some(problem) = bounds::pending(waiting, self.config.pending_max_bytes) {
            self.backend.violation(problem);
        }
    }

    /// Delivers one answer that is on its way. False where there is none.
    pub fn answer(&mut self, now: Now) -> bool {
        let ready = self.answers.ready();
        if ready.is_empty() {
            return false;
        }
        if let Some(input) = self.next_answer(&ready) {
            self.handle(now, input);
        }
        true
    }

    /// The next answer of one of these kinds; none where nobody waits for what was done.
    fn next_answer(&mut self, ready: &[usize]) -> Option<Input> {
        let kind = *self.random.pick(ready);
        match self.answers.take(kind)? {
            Pending::Ask(output) => {
                let pending = self.execute(*output)?;
                self.delivered(kind, pending)
            }
            ready => self.delivered(kind, ready),
        }
    }

    /// What is there at once; what is not waits in its turn.
    fn delivered(&mut self, kind: usize, pending: Pending) -> Option<Input> {
        match pending {
            Pending::Answer(input) => Some(*input),
            Pending::Reread(input, session, room) => {
                self.rereads.push((session, room));
                Some(*input)
            }
            Pending::Done => None,
            later @ (Pending::Later(_) | Pending::Ask(_)) => {
                self.answers.push(kind, Some(later));
                None
            }
        }
    }

    /// Takes in some announcements before anyone is served. False where there is none, or it is busy with something else.
    pub fn hear(&mut self, now: Now) -> bool {
        if self.behind && (self.announced.is_empty() || self.random.chance(30)) {
            self.behind = false;
            if self.backend.planted != Some(Planted::NeverTellLost) {
                self.handle(now, Input::AnnouncementsLost);
            }
            return true;
        }
        let is_busy = !self.is_prompt && self.announced.len() < self.busy_until;
        if is_busy || self.announced.is_empty() {
            return false;
        }
        self.busy_until = *self.random.pick(&[0, 0, 5, TOGETHER_MAX]);
        let count = 1 + self.random.below(self.announced.len().min(TOGETHER_MAX));
        let mut together: Vec<Input> = self.announced.drain(..count).collect();
        if self.backend.planted == Some(Planted::OverlookHoles) {
            overlook_holes(&mut together);
        }
        for input in together {
            self.take_in(now, input);
        }
        self.settle(now);
        true
    }
}
