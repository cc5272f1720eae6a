//! What all parts of a run share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::latency::Latency;
use super::plan::Plan;
use super::room::Room;

/// Different reasons that are told; further ones count together.
const REASONS_MAX: usize = 16;

/// Reasons, and how often each was given.
#[derive(Debug, Default)]
pub(super) struct Reasons(Mutex<BTreeMap<String, u64>>);

impl Reasons {
    pub(super) fn count(&self, why: impl Into<String>) {
        let mut reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let why = why.into();
        let is_full = reasons.len() >= REASONS_MAX && !reasons.contains_key(&why);
        *reasons.entry(if is_full { "other reasons".to_owned() } else { why }).or_default() += 1;
    }

    pub(super) fn all(&self) -> Vec<(String, u64)> {
        let reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.iter().map(|(why, count)| (why.clone(), *count)).collect()
    }
}

/// A run of the benchmark.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) rooms: Vec<Arc<Room>>,
    began: Instant,
    /// When the traffic began, in microseconds of the run.
    traffic_at: AtomicU64,
    /// From when a message was due until it was received.
    pub(super) latency: Latency,
    /// From when a message was due until it was sent: how late we are ourselves.
    pub(super) lateness: Latency,
    /// From the first byte of a connection until it was established.
    pub(super) handshakes: Latency,
    pub(super) opened: AtomicU64,
    pub(super) alive: AtomicU64,
    /// Why connections could not be opened.
    pub(super) failed: Reasons,
    /// Why they ended before they should.
    pub(super) ended: Reasons,
    /// What the server limits: its own words, which name the setting.
    pub(super) limits: Reasons,
    /// Why publishes were refused otherwise, and errors that answer nothing.
    pub(super) refused: Reasons,
    fatal: Mutex<Option<anyhow::Error>>,
    /// Messages are to be published.
    pub(super) go: CancellationToken,
    /// No more messages are to be published.
    pub(super) over: CancellationToken,
    /// The connections are to end.
    pub(super) done: CancellationToken,
    /// Somebody has no more patience: what is there is told.
    pub(super) interrupted: CancellationToken,
    /// And not even for what is usually waited for in the end.
    pub(super) hurried: CancellationToken,
}

impl Run {
    /// # Errors
    /// There can be no histograms.
    pub(super) fn new(plan: Plan) -> Result<Self, hdrhistogram::CreationError> {
        let parts = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) * 4;
        let rooms = (0..plan.rooms).map(|index| Arc::new(Room::new(plan.room(index), index))).collect();
        Ok(Self {
            plan,
            rooms,
            began: Instant::now(),
            traffic_at: AtomicU64::default(),
            latency: Latency::new(parts)?,
            lateness: Latency::new(1)?,
            handshakes: Latency::new(1)?,
            opened: AtomicU64::default(),
            alive: AtomicU64::default(),
            failed: Reasons::default(),
            ended: Reasons::default(),
            limits: Reasons::default(),
            refused: Reasons::default(),
            fatal: Mutex::default(),
            go: CancellationToken::new(),
            over: CancellationToken::new(),
            done: CancellationToken::new(),
            interrupted: CancellationToken::new(),
            hurried: CancellationToken::new(),
        })
    }

    /// Microseconds since the run began.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// When that comes, in the runtime's time.
    pub(super) fn moment(&self, micros: u64) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.began + Duration::from_micros(micros))
    }

    pub(super) fn begin_traffic(&self) -> Instant {
        self.traffic_at.store(self.now(), SeqCst);
        self.go.cancel();
        Instant::now()
    }

    pub(super) fn traffic_at(&self) -> u64 {
        self.traffic_at.load(SeqCst)
    }

    /// It makes no sense to go on. The first reason counts.
    pub(super) fn fail(&self, why: anyhow::Error) {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.over.cancel();
    }

    pub(super) fn failure(&self) -> Option<anyhow::Error> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The sum over all rooms.
    pub(super) fn sum(&self, count: impl Fn(&Room) -> &AtomicU64) -> u64 {
        self.rooms.iter().map(|room| count(room).load(SeqCst)).sum()
    }
}
