//! What all shards of the node share: the store, and what the world knows to be true about it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use moorline_broker::{
    Announcement, Announcements, Broker, BrokerError, Keep, Publication, Published, ReadLimit, SessionStore,
};
use moorline_proto::batch::{Batch, ReadFrom};
use moorline_proto::id::{RoomName, SessionId, StreamName};
use moorline_proto::position::Offset;
use moorline_proto::record::Record;
use moorline_proto::resume::RoomState;
use moorline_proto::session_record::{Mark, SessionRecord};
use moorline_proto::stream::{Command, Done};
use moorline_proto::time::Now;
use moorline_proto::users::{UserLimits, Users};

use crate::ground::{Clock, Ground, Open, Outcome, Unsynced};
use crate::invariants::answers::{self, Try};
use crate::planted::Planted;
use crate::truth::Truth;
use crate::written::{self, Called};

/// What stands where something in memory must be ready at once.
pub(crate) const READY: &str = "what is in memory is ready at once";

/// An answer that several wait for.
pub(crate) type Answer = Shared<BoxFuture<'static, Result<Published, BrokerError>>>;

/// The same, of a stream.
pub type StreamAnswer = Shared<BoxFuture<'static, Result<Done, BrokerError>>>;

/// What was asked of a stream, and not answered.
struct AskedStream {
    room: RoomName,
    stream: StreamName,
    asked: written::Asked,
    called: Called,
    answer: StreamAnswer,
}

/// A publication whose answer has not come.
struct Asked {
    room: RoomName,
    number: u64,
    sender: String,
    answer: Answer,
}

/// What all shards share.
pub struct Backend {
    ground: RefCell<Box<dyn Ground>>,
    open: RefCell<Open>,
    announcements: RefCell<Box<dyn Announcements>>,
    /// Announced, not given to the shards yet.
    news: RefCell<VecDeque<Announcement>>,
    asked: RefCell<Vec<Asked>>,
    asked_streams: RefCell<Vec<AskedStream>>,
    clock: Clock,
    pub(crate) users: Rc<RefCell<Users>>,
    /// What is true.
    pub truth: RefCell<Truth>,
    /// What was found to be wrong.
    pub violations: RefCell<Vec<String>>,
    /// Session ids that were claimed and not removed, with the fence that holds them.
    pub(crate) claims: RefCell<BTreeMap<SessionId, u64>>,
    /// What the store had when it was opened last, as long as nobody removed it.
    restored: RefCell<BTreeMap<SessionId, (Arc<SessionRecord>, u64)>>,
    /// What is planted.
    pub planted: Option<Planted>,
}

impl Backend {
    /// Opens the ground.
    ///
    /// # Errors
    /// It could not be opened.
    pub fn new(mut ground: Box<dyn Ground>, clock: Clock, planted: Option<Planted>) -> Result<Self, String> {
        let open = ground.open()?;
        let announcements = open.broker.announcements();
        Ok(Self {
            ground: RefCell::new(ground),
            open: RefCell::new(open),
            announcements: RefCell::new(announcements),
            news: RefCell::default(),
            asked: RefCell::default(),
            asked_streams: RefCell::default(),
            clock,
            users: users(),
            truth: RefCell::default(),
            violations: RefCell::default(),
            claims: RefCell::default(),
            restored: RefCell::default(),
            planted,
        })
    }

    pub(crate) fn violation(&self, text: String) {
        self.violations.borrow_mut().push(text);
    }

    fn violations(&self, found: impl IntoIterator<Item = String>) {
        self.violations.borrow_mut().extend(found);
    }

    pub(crate) fn broker(&self) -> Arc<dyn Broker> {
        Arc::clone(&self.open.borrow().broker)
    }

    pub(crate) fn sessions(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.open.borrow().sessions)
    }

    /// What the store had of a session when it was opened last.
    pub(crate) fn restored(&self, id: &SessionId) -> Option<Arc<SessionRecord>> {
        self.restored.borrow().get(id).map(|(record, _)| Arc::clone(record))
    }

    /// All that the store had when it was opened last, with their fences; who is away longest comes first.
    pub(crate) fn all_restored(&self) -> Vec<(Arc<SessionRecord>, u64)> {
        let mut restored: Vec<_> = self.restored.borrow().values().cloned().collect();
        restored.sort_by_key(|(record, _)| record.disconnected_at.map_or(u64::MAX, |at| at.0));
        restored
    }

    /// What the store had when it was opened last, for who reads a failure.
    pub(crate) fn left(&self) -> Vec<String> {
        let name = |mark: &Mark| format!(" {}:{:x}/{}", mark.room, mark.acked.epoch.0, mark.acked.offset.0);
        let line = |(record, _): &(Arc<SessionRecord>, u64)| {
            format!("restored {}:{}", record.id, record.rooms.iter().map(name).collect::<String>())
        };
        self.restored.borrow().values().map(line).collect()
    }

    pub(crate) fn waits(&self) -> bool {
        self.ground.borrow().waits()
    }

    pub(crate) fn expire(&self) {
        self.ground.borrow_mut().expire();
    }

    pub(crate) fn let_go(&self) {
        self.ground.borrow_mut().let_go();
    }

    /// What the log knows of a room.
    #[must_use]
    pub fn state(&self, room: &RoomName) -> RoomState {
        self.page(room, Offset::START, 1).0
    }

    fn page(&self, room: &RoomName, after: Offset, records: usize) -> (RoomState, Vec<Record>) {
        let limit = ReadLimit { records, bytes: usize::MAX };
        let page =
            self.broker().read(room.clone(), ReadFrom::After(after), limit).now_or_never().expect(READY);
        page.map(|page| (page.state, page.records)).unwrap_or_default()
    }

    /// Publishes to one room, and writes down what became of it. The sender has an order of his own.
    pub fn publish(&self, publication: Publication, sender: &str) -> Answer {
        let Publication { room, message, except, keep } = publication.clone();
        let number = answers::number_of(message.as_bytes());
        let is_kept = matches!(keep, Keep::Record { .. });
        if is_kept {
            let attempt = Try { sender: sender.to_owned(), message: message.clone(), except: except.clone() };
            let truth = &mut *self.truth.borrow_mut();
            truth.latest = truth.latest.max(self.clock.now().timestamp);
            truth.tries.record(&room, number, attempt);
        }
        let answer = self.broker().publish(publication).shared();
        if is_kept {
            self.asked.borrow_mut().push(Asked {
                room,
                number,
                sender: sender.to_owned(),
                answer: answer.clone(),
            });
        }
        self.observe();
        answer
    }

    /// The log may write down this time.
    fn seen(&self, now: Now) {
        let truth = &mut *self.truth.borrow_mut();
        truth.latest = truth.latest.max(now.timestamp);
    }

    /// Asks something of a stream, and writes down what became of it.
    pub fn stream(&self, room: &RoomName, stream: &StreamName, command: Command) -> StreamAnswer {
        let now = self.clock.now();
        let asked = {
            self.seen(now);
            self.truth.borrow_mut().streams.asked((room, stream), &command, now.instant)
        };
        let answer = self.broker().stream(room.clone(), stream.clone(), command).shared();
        self.asked_streams.borrow_mut().extend(asked.map(|(asked, called)| AskedStream {
            room: room.clone(),
            stream: stream.clone(),
            asked,
            called,
            answer: answer.clone(),
        }));
        self.observe();
        answer
    }

    /// What the node's timer for streams does, once it is due.
    pub(crate) fn lapse(&self) {
        const CALLS_MAX: usize = 1_000;
        /// How early a planted bug lets leases run out.
        const EARLY: Duration = Duration::from_secs(1);
        let now = self.clock.now();
        let is_early = self.planted == Some(Planted::LapseEarly);
        let until = if is_early { Now { instant: now.instant + EARLY, ..now } } else { now };
        let is_due = || self.ground.borrow().lapses_at().is_some_and(|at| at <= until.instant);
        if self.planted == Some(Planted::NeverLapse) || !is_due() {
            return;
        }
        self.seen(now);
        self.clock.set(until);
        let calls = (0..CALLS_MAX).take_while(|_| is_due()).map(|_| self.ground.borrow_mut().lapse()).count();
        self.clock.set(now);
        if calls == CALLS_MAX {
            self.violation("the timer for streams has something to do without an end".to_owned());
        }
        self.observe();
    }

    /// The first half of a commit.
    pub(crate) fn begin(&self) {
        self.ground.borrow_mut().begin();
    }

    /// Its second half.
    pub(crate) fn end(&self, outcome: Outcome) {
        self.ground.borrow_mut().end(outcome);
        self.observe();
    }

    /// Takes in what was announced and answered.
    fn observe(&self) {
        let mut announced = Vec::new();
        loop {
            let before = announced.len();
            let _more = self.announcements.borrow_mut().receive(&mut announced, 100).now_or_never();
            if announced.len() == before {
                break;
            }
        }
        let now = self.clock.now();
        for announcement in announced {
            let found = self.truth.borrow_mut().announced(&announcement, now);
            self.violations(found);
            push(&mut self.news.borrow_mut(), announcement);
        }
        self.settle();
    }

    fn settle(&self) {
        let asked = std::mem::take(&mut *self.asked.borrow_mut());
        for mut waiting in asked {
            let Some(result) = (&mut waiting.answer).now_or_never() else {
                self.asked.borrow_mut().push(waiting);
                continue;
            };
            let by = (waiting.number, &*waiting.sender);
            let found = self.truth.borrow_mut().answered(&waiting.room, by, result);
            self.violations(found);
        }
        self.settle_streams();
    }

    fn settle_streams(&self) {
        let asked = std::mem::take(&mut *self.asked_streams.borrow_mut());
        for mut waiting in asked {
            let Some(result) = (&mut waiting.answer).now_or_never() else {
                self.asked_streams.borrow_mut().push(waiting);
                continue;
            };
            let AskedStream { room, stream, asked, called, .. } = &waiting;
            let streams = &mut self.truth.borrow_mut().streams;
            let found = streams.answered((room, stream), (asked, *called), &result);
            self.violations(found);
        }
    }

    /// What was announced since the last call.
    pub(crate) fn news(&self) -> VecDeque<Announcement> {
        std::mem::take(&mut *self.news.borrow_mut())
    }

    /// The node dies, and another one opens what it left.
    pub(crate) fn crash(&self, unsynced: Unsynced) {
        // Nobody is told any more.
        self.asked.borrow_mut().clear();
        self.asked_streams.borrow_mut().clear();
        let forgotten = self.forgotten();
        self.ground.borrow_mut().crash(unsynced);
        self.truth.borrow_mut().unclean_ends += 1;
        self.reopen(&forgotten);
    }

    /// The node ends as it should, and another one goes on.
    pub(crate) fn restart(&self) {
        if let Err(why) = self.ground.borrow_mut().close() {
            self.violation(format!("the store could not be closed: {why}"));
        }
        self.observe();
        let forgotten = self.forgotten();
        self.reopen(&forgotten);
    }

    /// Up to where each room is forgotten, also where that is not kept yet.
    fn forgotten(&self) -> BTreeMap<RoomName, u64> {
        let up_to = |room: RoomName| {
            let (state, records) = self.page(&room, Offset::START, usize::MAX);
            let head = self.truth.borrow().head(&room);
            let mut truth = self.truth.borrow_mut();
            let was_cut = truth.was_cut.entry(room.clone()).or_default();
            *was_cut = state.cut.0.max(*was_cut);
            drop(truth);
            let first = records.first().map_or(u64::MAX, |first| first.offset.0);
            (state.cut == Offset::START).then_some((room, head.min(first.saturating_sub(1))))
        };
        let rooms = self.truth.borrow().names();
        rooms.into_iter().filter_map(up_to).collect()
    }

    fn reopen(&self, forgotten: &BTreeMap<RoomName, u64>) {
        let epoch = self.state(&crate::names::room("a")).epoch;
        self.asked.borrow_mut().clear();
        self.asked_streams.borrow_mut().clear();
        self.news.borrow_mut().clear();
        *self.users.borrow_mut() = Users::new(LIMITS);
        self.claims.borrow_mut().clear();
        let open = match self.ground.borrow_mut().open() {
            Ok(open) => open,
            Err(why) => return self.violation(format!("the store could not be opened: {why}")),
        };
        let fences = open.restored.iter().map(|(record, fence)| (record.id.clone(), *fence));
        self.claims.borrow_mut().extend(fences);
        let restored = open.restored.iter().map(|restored| (restored.0.id.clone(), restored.clone()));
        *self.restored.borrow_mut() = restored.collect();
        *self.announcements.borrow_mut() = open.broker.announcements();
        *self.open.borrow_mut() = open;
        self.observe();
        self.news.borrow_mut().clear();
        self.truth.borrow_mut().former_epochs.push(epoch);
        self.survey(forgotten);
    }

    /// Compares what is there after a restart with what must be.
    fn survey(&self, forgotten: &BTreeMap<RoomName, u64>) {
        let (rooms, now) = (self.truth.borrow().names(), self.clock.now().instant);
        for room in rooms {
            let (state, records) = self.page(&room, Offset::START, usize::MAX);
            let up_to = forgotten.get(&room).copied().unwrap_or_default();
            let found = self.truth.borrow_mut().reopened((&room, up_to), &state, &records, now);
            self.violations(found);
        }
        self.truth.borrow_mut().tries.settle_after_restart();
    }
}

const LIMITS: UserLimits = UserLimits { connected: 3, absent: 2 };

fn users() -> Rc<RefCell<Users>> {
    Rc::new(RefCell::new(Users::new(LIMITS)))
}

/// Puts an announcement behind the others; what continues the last batch becomes part of it, as where nobody looks meanwhile.
fn push(news: &mut VecDeque<Announcement>, announcement: Announcement) {
    const BATCH_RECORDS: usize = 256;
    match (news.back_mut(), announcement) {
        (Some(Announcement::Batch(last)), Announcement::Batch(next))
            if continues(last, &next) && last.records.len() < BATCH_RECORDS =>
        {
            last.records.extend(next.records);
        }
        (_, announcement) => news.push_back(announcement),
    }
}

fn continues(last: &Batch, next: &Batch) -> bool {
    last.room == next.room && last.epoch == next.epoch && last.last() == next.after
}
