//! The driver of one shard: one task that owns its machine and its sockets' write sides, and performs its outputs.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline_broker::{Broker, BrokerError, Fence, NodeId, ReadLimit, SessionStore, StoreError};
use moorline_proto::batch::{EncodedBatch, EncodedEphemeral};
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::id::{SessionId, UserId};
use moorline_proto::resume::SurveyRequest;
use moorline_proto::session_record::SessionRecord;
use moorline_proto::shard::{Claim, Host, Input, Output, Peer, SaveError, Shard, Surveyor, Ticket};
use moorline_proto::stream::Cancel;
use moorline_proto::time::Now;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::authorize::{Action, AuthorizeRequest};
use crate::clock::Clock;
use crate::host::{Sockets, Waiting};
use crate::node::Node;
use crate::transport::Writer;

/// How many inputs wait for a shard: enough for a burst, few enough that a reader notices a busy one.
const INBOX: usize = 4096;
/// How many announcements wait for a shard. One that falls further behind reads the logs instead.
const ANNOUNCED: usize = 8192;
/// How many bytes of them, in all their forms. Shards share the bytes; one that is stuck must not keep them for ever.
const ANNOUNCED_BYTES: usize = 64 * 1024 * 1024;
/// How many of either are taken at once.
const TAKE: usize = 512;
/// How many members are served, or answers performed, before other tasks of the thread get their turn.
const TURN: usize = 256;
/// How many pages of logs are read in one turn: a storm of readers must not keep everybody else waiting.
const READS: usize = 8;
/// How many records one page has at most.
const PAGE_RECORDS: usize = 256;

/// What a shard is sent.
pub(crate) enum Message {
    Input(Box<Input>),
    Establish(Box<Claim>, Waiting),
    /// An input whose sender waits until it is handled.
    LastOfCredit(Box<Input>, oneshot::Sender<()>),
    /// A look-up or command, which answers by itself.
    Call(Call),
}

pub(crate) type Call = Box<dyn FnOnce(&mut Shard, Now, &mut dyn Host) + Send>;

/// What the pump posts to every shard.
#[derive(Clone)]
pub(crate) enum Posted {
    Batch(Arc<EncodedBatch>),
    Ephemeral(Arc<EncodedEphemeral>),
    Cancel(Arc<Cancel>),
}

impl Posted {
    fn bytes(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.wire.len(),
            Self::Ephemeral(ephemeral) => ephemeral.wire.len(),
            Self::Cancel(_) => 0,
        }
    }
}

/// The ways to a shard.
#[derive(Clone)]
pub(crate) struct ShardHandle {
    inbox: mpsc::Sender<Message>,
    posted: mpsc::Sender<Posted>,
    posted_bytes: Arc<AtomicUsize>,
    /// How many bytes may wait, as they are: no compressed form, which others may make meanwhile, is larger.
    posted_max: usize,
    behind: Arc<AtomicBool>,
}

/// A shard's ends of those ways.
pub(crate) struct Mailbox {
    inbox: mpsc::Receiver<Message>,
    posted: mpsc::Receiver<Posted>,
    posted_bytes: Arc<AtomicUsize>,
    behind: Arc<AtomicBool>,
}

impl ShardHandle {
    /// `forms`: in how many forms an announcement may be kept, plain and compressed.
    pub(crate) fn new(forms: usize) -> (Self, Mailbox) {
        let (inbox, inbox_end) = mpsc::channel(INBOX);
        let (posted, posted_end) = mpsc::channel(ANNOUNCED);
        let (behind, posted_bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mailbox = Mailbox {
            inbox: inbox_end,
            posted: posted_end,
            posted_bytes: Arc::clone(&posted_bytes),
            behind: Arc::clone(&behind),
        };
        (Self { inbox, posted, posted_bytes, posted_max: ANNOUNCED_BYTES / forms, behind }, mailbox)
    }

    pub(crate) fn inbox(&self) -> mpsc::Sender<Message> {
        self.inbox.clone()
    }

    /// Posts an announcement without waiting: a shard that cannot take it is behind, and reads the logs.
    pub(crate) fn post(&self, posted: Posted) {
        let bytes = posted.bytes();
        let waiting = self.posted_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting > self.posted_max || self.posted.try_send(posted).is_err() {
            self.posted_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.behind.store(true, Ordering::Release);
        }
    }

    /// Announcements were lost before they came here.
    pub(crate) fn lost(&self) {
        self.behind.store(true, Ordering::Release);
        // Only wakes it; one that has something to do is awake.
        let _full = self.inbox.try_send(Message::Call(Box::new(|_, _, _| {})));
    }

    /// Asks for a session for a connection; the answer is an error where it is refused. None where the shard has stopped.
    pub(crate) async fn establish(&self, claim: Claim, writer: Writer) -> Option<oneshot::Receiver<Peer>> {
        let (established, answer) = oneshot::channel();
        let waiting = Waiting { writer, established };
        self.inbox.send(Message::Establish(Box::new(claim), waiting)).await.ok()?;
        Some(answer)
    }

    /// Runs something inside the shard and returns its result; none where the shard has stopped.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Shard, Now, &mut dyn Host) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        let call: Call = Box::new(move |shard, now, host| {
            // Who asked may have stopped waiting.
            let _unwanted = done.send(act(shard, now, host));
        });
        self.inbox.send(Message::Call(call)).await.ok()?;
        result.await.ok()
    }

    pub(crate) async fn input(&self, input: Input) {
        // A shard that has stopped needs no input.
        let _stopped = self.inbox.send(Message::Input(Box::new(input))).await;
    }
}

/// What a shard's driver works with.
pub(crate) struct Driver {
    pub(crate) shard: Shard,
    pub(crate) sockets: Sockets,
    pub(crate) node: Node,
    pub(crate) handle: ShardHandle,
    pub(crate) clock: Clock,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) owner: NodeId,
    /// Answers that were there at once.
    pub(crate) ready: VecDeque<Input>,
    /// How many pages may still be read before what has come meanwhile gets its turn.
    pub(crate) reads: usize,
    /// Pages that wait for the next turn: at most one per session and one per room.
    pub(crate) reads_later: VecDeque<Output>,
}

impl Driver {
    /// Runs until the node stops.
    pub(crate) async fn run(
        mut self,
        restored: Vec<Arc<SessionRecord>>,
        mut mailbox: Mailbox,
        stopped: CancellationToken,
    ) {
        self.restore(restored, &stopped).await;
        let mut messages = Vec::with_capacity(TAKE);
        let mut posted = Vec::with_capacity(TAKE);
        let mut bytes = 0;
        let mut sleep = pin!(tokio::time::sleep_until(self.clock.runtime(self.clock.now().instant)));
        loop {
            self.reads = READS;
            for _ in 0..READS.min(self.reads_later.len()) {
                let read = self.reads_later.pop_front();
                read.into_iter().for_each(|read| self.perform(read));
            }
            self.settle().await;
            // Until now they were held here, and counted.
            mailbox.posted_bytes.fetch_sub(std::mem::take(&mut bytes), Ordering::Relaxed);
            let deadline = self.shard.poll_timeout().map(|at| self.clock.runtime(at));
            if let Some(deadline) = deadline.filter(|deadline| *deadline != sleep.deadline()) {
                sleep.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                () = stopped.cancelled() => return,
                () = sleep.as_mut(), if deadline.is_some() => {
                    self.shard.handle_timeout(self.clock.now(), &mut self.sockets);
                }
                _ = mailbox.posted.recv_many(&mut posted, TAKE) => {
                    bytes = posted.iter().map(Posted::bytes).sum();
                    self.announced(&mut posted);
                }
                _ = mailbox.inbox.recv_many(&mut messages, TAKE) => self.received(&mut messages).await,
                () = std::future::ready(()), if !self.reads_later.is_empty() => tokio::task::yield_now().await,
            }
            if mailbox.behind.swap(false, Ordering::AcqRel) {
                self.handle(Input::AnnouncementsLost);
            }
        }
    }

    pub(crate) fn handle(&mut self, input: Input) {
        self.shard.handle(self.clock.now(), input, &mut self.sockets);
    }

    fn announced(&mut self, posted: &mut Vec<Posted>) {
        for posted in posted.drain(..) {
            self.handle(match posted {
                Posted::Batch(batch) => Input::Batch(batch),
                Posted::Ephemeral(ephemeral) => Input::Ephemeral(ephemeral),
                Posted::Cancel(cancel) => Input::StreamCancel(cancel),
            });
        }
    }

    async fn received(&mut self, messages: &mut Vec<Message>) {
        for message in messages.drain(..) {
            match message {
                Message::Input(input) => self.handle(*input),
                Message::LastOfCredit(input, handled) => {
                    self.handle(*input);
                    // A reader that is gone has nothing more to say.
                    let _gone = handled.send(());
                }
                // Who hung up meanwhile gets nothing, which costs nothing.
                Message::Establish(_, waiting) if waiting.established.is_closed() => {}
                Message::Establish(claim, waiting) => {
                    self.sockets.wait(claim.connection, waiting);
                    self.handle(Input::Establish(claim));
                }
                Message::Call(call) => call(&mut self.shard, self.clock.now(), &mut self.sockets),
            }
            self.settle().await;
        }
    }

    /// Serves members and performs outputs until there is nothing left to do, letting other tasks run in between.
    pub(crate) async fn settle(&mut self) {
        let mut turns = 0;
        loop {
            while self.shard.fan_out(self.clock.now(), TURN, &mut self.sockets) {
                tokio::task::yield_now().await;
            }
            self.node.telemetry().delivered(self.shard.take_delivered());
            if let Some(input) = self.ready.pop_front() {
                self.handle(input);
            } else if let Some(output) = self.shard.poll_output() {
                self.perform(output);
            } else {
                return;
            }
            turns += 1;
            if turns % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits for an answer: takes it now where it is there, else has it sent to the inbox.
    fn wait_for<T: 'static>(
        &mut self,
        mut future: BoxFuture<'static, T>,
        then: impl FnOnce(T) -> Input + Send + 'static,
    ) {
        if let Some(answer) = (&mut future).now_or_never() {
            self.ready.push_back(then(answer));
            return;
        }
        let handle = self.handle.clone();
        self.node.spawn(async move { handle.input(then(future.await)).await });
    }

    fn later(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.node.spawn(work);
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Load(connection, id) => {
                let record = self.store.load(id);
                self.wait_for(record, move |record| {
                    Input::Loaded(connection, record.map_err(store_rejection))
                });
            }
            Output::Claim(connection, id) => {
                let claim = self.store.claim(id, self.owner.clone());
                self.wait_for(claim, move |stored| {
                    Input::Claimed(connection, stored.map(|stored| stored.fence.0).map_err(store_rejection))
                });
            }
            Output::Survey { surveyor: Surveyor::Join(join), session, user, requests }
                if join.by_client && self.node.hooks().authorizer.is_some() =>
            {
                self.survey_allowed(Surveyor::Join(join), session, user, requests);
            }
            Output::Survey { surveyor, session, user, requests } => {
                let survey = self.broker.survey(session, user, requests);
                self.wait_for(survey, |surveys| Input::Surveyed(surveyor, surveys.map_err(broker_rejection)));
            }
            Output::Save { record, fence, waiting } => self.save(record, fence, waiting),
            Output::Remove(id, fence) => {
                let remove = self.store.remove(id, Fence(fence));
                self.later(async move { log_removal(remove.await) });
            }
            Output::Subscribe(key, room) => {
                let subscribe = self.broker.subscribe(room.clone());
                self.wait_for(subscribe, move |state| {
                    Input::Subscribed(key, room, state.map_err(broker_rejection))
                });
            }
            Output::Unsubscribe(room) => self.broker.unsubscribe(room),
            read @ Output::Read { .. } if self.reads == 0 => self.reads_later.push_back(read),
            Output::Read { reader, room, from } => {
                self.reads -= 1;
                let bytes = self.node.config().pending_max_bytes / 2;
                let page = self.broker.read(room.clone(), from, ReadLimit { records: PAGE_RECORDS, bytes });
                self.wait_for(page, move |page| {
                    Input::PageRead(reader, room, page.map_err(broker_rejection))
                });
            }
            other => self.perform_for_peers(other),
        }
    }

    fn perform_for_peers(&mut self, output: Output) {
        match output {
            Output::Publish { ticket, sender, publish } => self.publish(ticket, &sender, &publish),
            Output::Stream { ticket, room, stream, command } => {
                let answer = self.node.ask_stream(room, stream, *command);
                self.wait_for(answer, |answer| Input::Published(ticket, answer));
            }
            Output::Presence(ticket, room) => {
                let (node, handle) = (self.node.clone(), self.handle.clone());
                self.later(async move {
                    let presence = node.presence(room).await;
                    handle.input(Input::Presence(ticket, presence)).await;
                });
            }
            Output::Authenticate(ticket, token) => {
                let node = self.node.clone();
                let identity = async move {
                    node.authenticate(&token).await.map(Box::new).map_err(|error| error.rejection())
                };
                self.wait_for(identity.boxed(), |identity| Input::Authenticated(ticket, identity));
            }
            Output::Authorize { peer, session, user, rooms } => {
                let node = self.node.clone();
                let allowed = async move {
                    for room in &rooms {
                        let (session, user) = (Some(&session), user.as_ref());
                        let action = Action::Publish;
                        node.authorize(AuthorizeRequest { session, user, action, room }).await?;
                    }
                    Ok(())
                };
                self.wait_for(allowed.boxed(), move |allowed| Input::Authorized(peer, allowed));
            }
            Output::Established(peer) => {
                let is_gone = !self.sockets.established(peer);
                self.ready.extend(is_gone.then_some(Input::Lost(peer, None)));
            }
            Output::Refuse(connection, refusal) => {
                self.node.refused(&refusal, None);
                self.sockets.refuse(connection, &refusal);
            }
            Output::AwaitWritable(peer) => {
                if let Some(writer) = self.sockets.writer(peer).cloned() {
                    let handle = self.handle.clone();
                    self.later(async move {
                        writer.writable().await;
                        drop(writer);
                        handle.input(Input::Writable(peer)).await;
                    });
                }
            }
            Output::Close { peer, rest } => self.sockets.close(peer, &rest),
            Output::Expire(id) => {
                let node = self.node.clone();
                self.later(async move { node.expire(id).await });
            }
            Output::Event(event) => self.node.observe(&event),
            // The others were performed before.
            _ => {}
        }
    }

    /// Asks the authorizer before the broker: whoever may not join is not told where the room stands.
    fn survey_allowed(
        &mut self,
        surveyor: Surveyor,
        session: SessionId,
        user: Option<UserId>,
        requests: Vec<SurveyRequest>,
    ) {
        let node = self.node.clone();
        let survey = async move {
            for SurveyRequest { room, .. } in &requests {
                let (session, user, action) = (Some(&session), user.as_ref(), Action::Join);
                node.authorize(AuthorizeRequest { session, user, action, room }).await?;
            }
            node.broker().survey(session, user, requests).await.map_err(broker_rejection)
        };
        self.wait_for(survey.boxed(), |surveys| Input::Surveyed(surveyor, surveys));
    }

    fn save(&mut self, record: Arc<SessionRecord>, fence: u64, waiting: Option<Peer>) {
        let session = record.id.clone();
        let save = self.store.save(record, Fence(fence));
        self.wait_for(save, move |saved| {
            if let Err(error) = &saved {
                tracing::warn!(session = session.as_str(), %error, "a session record could not be kept");
            }
            Input::Saved { session, fence, waiting, result: saved.map_err(save_error) }
        });
    }

    /// Hands a publish to the broker now, so that a session's publishes keep their order; the answer comes when it comes.
    fn publish(&mut self, ticket: Ticket, sender: &Arc<str>, publish: &moorline_proto::frame::Publish) {
        let publishing = self.node.begin_publish(publish, sender);
        let wants_counts = ticket.reference.is_some();
        let (node, handle) = (self.node.clone(), self.handle.clone());
        let answer = async move {
            let answer = node.finish_publish(publishing, wants_counts).await;
            Input::Published(ticket, answer)
        };
        let mut answer: BoxFuture<'static, Input> = answer.boxed();
        match (&mut answer).now_or_never() {
            Some(input) => self.ready.push_back(input),
            None => self.later(async move { handle.input(answer.await).await }),
        }
    }
}

fn broker_rejection(error: BrokerError) -> Rejection {
    error.rejection()
}

fn store_rejection(error: StoreError) -> Rejection {
    Rejection::new(ErrorCode::Unavailable, error.to_string())
}

fn save_error(error: StoreError) -> SaveError {
    match error {
        StoreError::Fenced => SaveError::Fenced,
        StoreError::Unavailable => SaveError::Rejected(store_rejection(error)),
    }
}

fn log_removal(result: Result<(), StoreError>) {
    match result {
        // It is another node's, and so is its end.
        Ok(()) | Err(StoreError::Fenced) => {}
        Err(error) => tracing::warn!(%error, "a session record could not be removed"),
    }
}
