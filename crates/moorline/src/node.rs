//! A node: its shards, its pump, and the ways to them.

use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_broker::{Broker, Durability, LocalBroker, MemoryLog, MemorySessions, NodeId, SessionStore};
use moorline_proto::id::SessionId;
use moorline_proto::position::Epoch;
use moorline_proto::shard::{ConnectionId, Event, Input, Shard};
use moorline_proto::users::Users;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, timestamp};
use crate::config::{Config, ConfigError};
use crate::host::Sockets;
use crate::pump;
use crate::shard::{Driver, Mailbox, ShardHandle};

/// How often the memory log looks for what is too old.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// Told of every event, from the shard's own task: it must not block. Panics in it are the application's to avoid.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Stub.
#[derive(Clone, Default)]
#[allow(missing_docs, missing_debug_implementations)]
pub struct Hooks {
    pub observer: Option<Observer>,
    pub authenticator: Option<Arc<dyn crate::Authenticator>>,
    pub authorizer: Option<Arc<dyn crate::Authorizer>>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// There is no tokio runtime to run on.
    #[error("a node needs a tokio runtime: start it from within one")]
    Runtime(#[from] tokio::runtime::TryCurrentError),
}

/// A running node. Cloning shares it; it runs until [`Node::drain`].
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    config: Config,
    shards: Arc<[ShardHandle]>,
    broker: Arc<dyn Broker>,
    users: Arc<Mutex<Users>>,
    clock: Clock,
    connections: AtomicU64,
    draining: CancellationToken,
    stopped: CancellationToken,
    tracker: TaskTracker,
    observer: Option<Observer>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("shards", &self.0.shards.len()).finish_non_exhaustive()
    }
}

impl Node {
    /// A node that keeps everything in memory. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Names the setting that cannot be, or what is missing.
    pub fn in_memory(config: Config) -> Result<Self, StartError> {
        Self::in_memory_observed(config, None)
    }

    /// Stub.
    ///
    /// # Errors
    /// Stub.
    pub fn in_memory_with(config: Config, hooks: Hooks) -> Result<Self, StartError> {
        Self::in_memory_observed(config, hooks.observer)
    }

    /// Stub.
    pub fn set_limits(&self, _limits: crate::Limits, _users: crate::UserLimits) {}

    /// The same, with someone who is told of every event: connects, disconnects, and peers that were declared dead.
    ///
    /// # Errors
    /// Names the setting that cannot be, or what is missing.
    pub fn in_memory_observed(config: Config, observer: Option<Observer>) -> Result<Self, StartError> {
        tokio::runtime::Handle::try_current()?;
        let log = MemoryLog::new(Epoch(random_epoch()?), config.retention.clone());
        let broker = Arc::new(LocalBroker::new(log, timestamp, Durability::Memory));
        let node = Self::start(config, Arc::clone(&broker) as _, Arc::new(MemorySessions::new()), observer)?;
        let stopped = node.0.stopped.clone();
        node.spawn(pump::expire(broker, EXPIRE_EVERY, stopped));
        Ok(node)
    }

    /// A node over any broker and session store. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Names the setting that cannot be, or what is missing.
    #[expect(clippy::needless_pass_by_value, reason = "the node keeps both, in each shard")]
    pub fn start(
        config: Config,
        broker: Arc<dyn Broker>,
        store: Arc<dyn SessionStore>,
        observer: Option<Observer>,
    ) -> Result<Self, StartError> {
        config.check()?;
        tokio::runtime::Handle::try_current()?;
        let ways: Vec<(ShardHandle, Mailbox)> = (0..config.shards).map(|_| ShardHandle::new()).collect();
        let node = Self(Arc::new(Inner {
            users: Arc::new(Mutex::new(Users::new(config.users))),
            shards: ways.iter().map(|(handle, _)| handle.clone()).collect(),
            broker,
            clock: Clock::start(),
            connections: AtomicU64::new(1),
            draining: CancellationToken::new(),
            stopped: CancellationToken::new(),
            tracker: TaskTracker::new(),
            observer,
            config,
        }));
        let owner = NodeId(uuid::Uuid::now_v7().to_string().into());
        let announcements = node.0.broker.announcements();
        tokio::spawn(pump::pump(announcements, Arc::clone(&node.0.shards), node.0.stopped.clone()));
        for (handle, mailbox) in ways {
            let run = node.driver(handle, &store, &owner).run(mailbox, node.0.stopped.clone());
            tokio::spawn(watch(tokio::spawn(run), node.clone()));
        }
        Ok(node)
    }

    fn driver(&self, handle: ShardHandle, store: &Arc<dyn SessionStore>, owner: &NodeId) -> Driver {
        let inner = &self.0;
        Driver {
            shard: Shard::new(inner.config.shard_config(), inner.clock.now()),
            sockets: Sockets::new(Arc::clone(&inner.users), inner.tracker.clone()),
            node: self.clone(),
            handle,
            clock: inner.clock,
            broker: Arc::clone(&inner.broker),
            store: Arc::clone(store),
            owner: owner.clone(),
            ready: std::collections::VecDeque::new(),
            reads: 0,
            reads_later: std::collections::VecDeque::new(),
        }
    }

    /// Sends every connection away and stops: `closing` with a time to come back, close 1001, and what still waits
    /// for its socket is given until the configured timeout. New connections are refused from the first moment on.
    pub async fn drain(&self) {
        self.0.draining.cancel();
        let spread = self.0.config.drain.spread;
        for shard in self.0.shards.iter() {
            shard.input(Input::Drain(spread)).await;
        }
        for shard in self.0.shards.iter() {
            // Answered behind the drain: by then every close frame is on its way.
            let _stopped = shard.call(|_, _, _| ()).await;
        }
        self.0.stopped.cancel();
        self.0.tracker.close();
        if tokio::time::timeout(self.0.config.drain.timeout, self.0.tracker.wait()).await.is_err() {
            tracing::warn!("some connections did not go before the drain's timeout");
        }
    }

    /// Whether the node sends its connections away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Waits until the node sends its connections away.
    pub(crate) async fn drains(&self) {
        self.0.draining.cancelled().await;
    }

    /// Waits until the node has stopped: after a drain, or because of a fault of ours that the log names. Whoever
    /// runs it ends then, and starts it anew.
    pub async fn stopped(&self) {
        self.0.stopped.cancelled().await;
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn broker(&self) -> &Arc<dyn Broker> {
        &self.0.broker
    }

    pub(crate) fn shards(&self) -> &[ShardHandle] {
        &self.0.shards
    }

    /// The shard that a session lives on.
    pub(crate) fn shard_of(&self, id: &SessionId) -> &ShardHandle {
        &self.0.shards[self.index_of(id)]
    }

    fn index_of(&self, id: &SessionId) -> usize {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let count = self.0.shards.len() as u64;
        usize::try_from(hasher.finish() % count).unwrap_or_default()
    }

    /// An id for a new session. It lives on the shard of the session that was asked for, where one was.
    pub(crate) fn fresh_id(&self, asked: Option<&SessionId>) -> SessionId {
        let shard = asked.map(|id| self.index_of(id));
        loop {
            let text = uuid::Uuid::now_v7().to_string();
            if let Ok(id) = SessionId::new(&text)
                && shard.is_none_or(|shard| self.index_of(&id) == shard)
            {
                return id;
            }
        }
    }

    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.0.connections.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn with_users<T>(&self, ask: impl FnOnce(&Users) -> T) -> T {
        ask(&self.0.users.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.0.clock.uptime()
    }

    /// Runs something that a drain waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.0.tracker.spawn(work)
    }

    pub(crate) fn observe(&self, event: &Event) {
        match event {
            Event::Connected { session, user, resumed } => {
                tracing::info!(%session, user = user.as_ref().map(|u| u.as_str()), resumed, "connected");
            }
            Event::Disconnected { session, user, code } => {
                tracing::info!(%session, user = user.as_ref().map(|u| u.as_str()), code, "disconnected");
            }
            Event::Dead { session, .. } => tracing::info!(%session, "no sign of life"),
            Event::Ended { session } => tracing::debug!(%session, "ended"),
        }
        if let Some(observer) = &self.0.observer {
            observer(event);
        }
    }
}

/// Stops the whole node when one of its shards fails: a part that is silently gone would lose messages in silence.
async fn watch(shard: JoinHandle<()>, node: Node) {
    if let Err(error) = shard.await {
        tracing::error!(%error, "a shard failed; the node stops");
        node.0.draining.cancel();
        node.0.stopped.cancel();
    }
}

/// An epoch that no log had before; zero stands for an unknown one.
fn random_epoch() -> Result<u64, StartError> {
    Ok(getrandom::u64().map_err(StartError::Random)?.max(1))
}
