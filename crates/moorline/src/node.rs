//! A node: its shards, its pump, and the ways to them.

use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_broker::{Broker, Durability, LocalBroker, MemoryLog, MemorySessions, NodeId, SessionStore};
use moorline_proto::coding::Coding;
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::id::{SessionId, UserId};
use moorline_proto::identity::TokenId;
use moorline_proto::position::Epoch;
use moorline_proto::revocations::{Revocations, RevocationsFull};
use moorline_proto::shard::{ConnectionId, Event, Input, Shard};
use moorline_proto::time::Timestamp;
use moorline_proto::users::{UserLimits, Users};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{Admission, Unestablished};
use crate::authenticate::Authenticator;
use crate::authorize::Authorizer;
use crate::backend::{Backend, by_absence};
use crate::clock::{Clock, timestamp};
use crate::config::{Config, ConfigError};
use crate::host::Sockets;
use crate::limits::Limits;
use crate::pump;
use crate::shard::{Driver, Mailbox, ShardHandle};
use crate::telemetry::{self, Telemetry};
use crate::throttle::Rates;

/// How often the memory log looks for what is too old.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// How often those who were quiet are forgotten by the limits.
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// Told of every event, from the shard's own task: it must not block. Panics in it are the application's to avoid.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// What an application brings along.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Told of every event. Default nobody; the log has them too.
    pub observer: Option<Observer>,
    /// Says whom a token speaks for. Default nobody: then a token is answered by `no_authenticator`, and who a connection
    /// is depends on its [`Endpoint`](crate::Endpoint) alone.
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// Asked about joins and publishes that the grants allow. Default nobody.
    pub authorizer: Option<Arc<dyn Authorizer>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("observer", &self.observer.is_some())
            .field("authenticator", &self.authenticator.is_some())
            .field("authorizer", &self.authorizer.is_some())
            .finish()
    }
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
    store: Arc<dyn SessionStore>,
    users: Arc<Mutex<Users>>,
    revocations: Arc<Mutex<Revocations>>,
    rates: Arc<Rates>,
    unestablished: Arc<Unestablished>,
    telemetry: Telemetry,
    clock: Clock,
    connections: AtomicU64,
    draining: CancellationToken,
    stopped: CancellationToken,
    tracker: TaskTracker,
    hooks: Hooks,
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
        Self::in_memory_with(config, Hooks::default())
    }

    /// The same, with what the application brings along.
    ///
    /// # Errors
    /// Names the setting that cannot be, or what is missing.
    pub fn in_memory_with(config: Config, hooks: Hooks) -> Result<Self, StartError> {
        tokio::runtime::Handle::try_current()?;
        let clock = Clock::start();
        let log = MemoryLog::new(Epoch(random_epoch()?), config.retention.clone());
        let broker = Arc::new(LocalBroker::new(log, move || clock.now(), Durability::Memory));
        let backend = Backend::new(Arc::clone(&broker) as _, Arc::new(MemorySessions::new()));
        let node = Self::start(config, backend, hooks)?;
        let stopped = node.0.stopped.clone();
        node.spawn(pump::lapse(Arc::clone(&broker), stopped.clone()));
        node.spawn(pump::expire(broker, EXPIRE_EVERY, stopped));
        Ok(node)
    }

    /// A node over any broker and session store. It takes the sessions over that the store kept, before it answers anybody.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Names the setting that cannot be, or what is missing.
    pub fn start(config: Config, backend: Backend, hooks: Hooks) -> Result<Self, StartError> {
        config.check()?;
        let Backend { broker, sessions, restored } = backend;
        tokio::runtime::Handle::try_current()?;
        let forms = if config.compression.is_some() { 1 + Coding::COUNT } else { 1 };
        let ways: Vec<(ShardHandle, Mailbox)> = (0..config.shards).map(|_| ShardHandle::new(forms)).collect();
        let node = Self(Arc::new(Inner {
            users: Arc::new(Mutex::new(Users::new(config.users))),
            revocations: Arc::new(Mutex::new(Revocations::new(revocations_kept(&config)))),
            rates: Arc::new(Rates::new(config.limits)),
            unestablished: Arc::default(),
            telemetry: Telemetry::start(),
            shards: ways.iter().map(|(handle, _)| handle.clone()).collect(),
            broker,
            store: Arc::clone(&sessions),
            clock: Clock::start(),
            connections: AtomicU64::new(1),
            draining: CancellationToken::new(),
            stopped: CancellationToken::new(),
            tracker: TaskTracker::new(),
            hooks,
            config,
        }));
        let owner = NodeId(uuid::Uuid::now_v7().to_string().into());
        let announcements = node.0.broker.announcements();
        tokio::spawn(pump::pump(announcements, Arc::clone(&node.0.shards), node.0.stopped.clone()));
        let mut restored_of: Vec<Vec<_>> = vec![Vec::new(); ways.len()];
        for record in by_absence(restored) {
            restored_of[node.index_of(&record.id)].push(record);
        }
        for ((handle, mailbox), restored) in ways.into_iter().zip(restored_of) {
            let driver = node.driver(handle, &sessions, &owner);
            let run = driver.run(restored, mailbox, node.0.stopped.clone());
            tokio::spawn(watch(tokio::spawn(run), node.clone()));
        }
        node.spawn(forget_quiet(Arc::clone(&node.0.rates), node.0.stopped.clone()));
        Ok(node)
    }

    fn driver(&self, handle: ShardHandle, store: &Arc<dyn SessionStore>, owner: &NodeId) -> Driver {
        let inner = &self.0;
        Driver {
            shard: Shard::new(
                inner
                    .config
                    .shard_config(inner.hooks.authenticator.is_some(), inner.hooks.authorizer.is_some()),
                inner.clock.now(),
            ),
            sockets: Sockets::new(
                Arc::clone(&inner.users),
                Arc::clone(&inner.revocations),
                inner.tracker.clone(),
                inner.config.compression.unwrap_or_default(),
            ),
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
    pub async fn drains(&self) {
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

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.0.hooks
    }

    pub(crate) fn rates(&self) -> &Arc<Rates> {
        &self.0.rates
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// One more connection that is not established yet.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> Result<Admission, Rejection> {
        self.0.unestablished.admit(&self.0.rates.current(), address)
    }

    /// Other limits from now on, for the connections there are too: rates that were off when a connection came count
    /// from its next one on, and sessions beyond a lower bound stay.
    pub fn set_limits(&self, limits: Limits, users: UserLimits) {
        self.0.rates.replace(limits);
        self.with_users(|counts| counts.set_limits(users));
    }

    /// From now on no token of the user's counts that was issued until now; its sessions end with close 4003. Returns how
    /// many those were. Kept in memory until no such token can be valid any more.
    ///
    /// # Errors
    /// `overloaded` where there are too many revocations: nothing was changed.
    pub async fn revoke_user(&self, user: &UserId) -> Result<usize, Rejection> {
        self.with_revocations(|revocations, now| revocations.revoke_user(user.clone(), now))?;
        let user = user.clone();
        let ended = self.ask_all(move |shard, now, host| shard.revoke_user(now, &user, host)).await;
        self.kept().await?;
        Ok(ended.iter().sum())
    }

    /// From now on the token with that id does not count; the sessions that it let in end with close 4003. Returns how
    /// many those were. Kept in memory until it cannot be valid any more. Cost: one look at every session.
    ///
    /// # Errors
    /// `overloaded` where there are too many revocations: nothing was changed.
    pub async fn revoke_token(&self, token: TokenId) -> Result<usize, Rejection> {
        self.with_revocations(|revocations, now| revocations.revoke_token(token.clone(), now))?;
        let ended = self.ask_all(move |shard, now, host| shard.revoke_token(now, &token, host)).await;
        self.kept().await?;
        Ok(ended.iter().sum())
    }

    fn with_revocations(
        &self,
        act: impl FnOnce(&mut Revocations, Timestamp) -> Result<(), RevocationsFull>,
    ) -> Result<(), Rejection> {
        let mut revocations = self.0.revocations.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut revocations, timestamp())
            .map_err(|full| Rejection::new(ErrorCode::Overloaded, full.to_string()))
    }

    /// Whether every shard answers within that time.
    pub async fn is_responsive(&self, within: Duration) -> bool {
        let all = async { self.ask_all(|_, _, _| ()).await.len() == self.shards().len() };
        tokio::time::timeout(within, all).await.unwrap_or(false)
    }

    pub(crate) fn broker(&self) -> &Arc<dyn Broker> {
        &self.0.broker
    }

    pub(crate) fn store(&self) -> &Arc<dyn SessionStore> {
        &self.0.store
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

    pub(crate) fn with_users<T>(&self, ask: impl FnOnce(&mut Users) -> T) -> T {
        ask(&mut self.0.users.lock().unwrap_or_else(PoisonError::into_inner))
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
                telemetry::handshake(if *resumed { "resumed" } else { "new" });
                tracing::info!(
                    session = session.as_str(),
                    user = user.as_ref().map(|u| u.as_str()),
                    resumed,
                    "connected"
                );
            }
            Event::Disconnected { session, user, code } => {
                telemetry::closed(*code);
                tracing::info!(
                    session = session.as_str(),
                    user = user.as_ref().map(|u| u.as_str()),
                    code,
                    "disconnected"
                );
            }
            Event::Dead { session, .. } => tracing::info!(session = session.as_str(), "no sign of life"),
            Event::Reset { session, reason } => {
                telemetry::reset(*reason);
                tracing::info!(session = session.as_str(), reason = reason.as_str(), "told of a loss");
            }
            Event::Ended { session } => tracing::debug!(session = session.as_str(), "ended"),
        }
        if let Some(observer) = &self.0.hooks.observer {
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

/// How long a token that was issued now can count.
fn revocations_kept(config: &Config) -> Duration {
    config.expiry.lifetime_max + config.expiry.leeway * 2
}

/// Forgets what no longer counts against a limit.
async fn forget_quiet(rates: Arc<Rates>, stopped: CancellationToken) {
    let mut every = tokio::time::interval(FORGET_EVERY);
    loop {
        tokio::select! {
            biased;
            () = stopped.cancelled() => return,
            _ = every.tick() => rates.forget_quiet(),
        }
    }
}

/// An epoch that no log had before; zero stands for an unknown one.
fn random_epoch() -> Result<u64, StartError> {
    Ok(getrandom::u64().map_err(StartError::Random)?.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_is_kept_until_the_last_token_that_it_concerns_is_refused() {
        let config = Config::default();
        // Issued by a clock that is ahead by the leeway, valid for as long as any may be, and believed for the leeway more.
        let last = config.expiry.leeway + config.expiry.lifetime_max + config.expiry.leeway;
        assert!(revocations_kept(&config) >= last);
    }
}
