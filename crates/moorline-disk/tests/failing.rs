//! A store on a disk that fails: what its users are told, and how it goes on.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use moorline_broker::{
    Broker as _, BrokerError, Keep, NodeId, Publication, Published, ReadLimit, SessionStore as _, StoreError,
};
use moorline_disk::testing::VolatileDisk;
use moorline_disk::{Doubt, OpenError, Options, Place, Store};
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::{RoomName, SessionId};
use moorline_proto::message::Message;
use moorline_proto::position::Offset;
use moorline_proto::session_record::SessionRecord;
use moorline_proto::time::Timestamp;
use moorline_proto::token::{TokenHash, TokenSet};
use redb::StorageBackend;

const DEADLINE: Duration = Duration::from_secs(20);

fn open(disk: &VolatileDisk) -> Result<Store, OpenError> {
    Store::open_in(Box::new(disk.clone()), &Options::default())
}

fn room() -> RoomName {
    RoomName::new("a").unwrap()
}

async fn publish(store: &Store, number: u64) -> Result<Offset, BrokerError> {
    // All but the first are more than the file has to spare.
    let padding = "x".repeat(if number == 1 { 0 } else { 2_000_000 });
    let text = format!(r#"{{"type":"m","n":{number},"x":"{padding}"}}"#);
    let message = Message::stored(text.into_bytes().into());
    let keep = Keep::Record { key: None, durability: None };
    match store.broker().publish(Publication { room: room(), message, except: None, keep }).await? {
        Published::Stored { position, .. } => Ok(position.offset),
        Published::Ephemeral => unreachable!("it is stored"),
    }
}

async fn kept(store: &Store) -> Vec<u64> {
    let limit = ReadLimit { records: 100, bytes: usize::MAX };
    let page = store.broker().read(room(), ReadFrom::After(Offset::START), limit).await.unwrap();
    page.records.iter().map(|record| record.offset.0).collect()
}

async fn save(store: &Store, id: &str) -> Result<(), StoreError> {
    save_as(store, id, 0).await
}

/// Saves a session that was resumed so often.
async fn save_as(store: &Store, id: &str, reconnections: u32) -> Result<(), StoreError> {
    let id = SessionId::new(id).unwrap();
    let sessions = store.sessions();
    let fence = sessions.claim(id.clone(), NodeId("n".into())).await?.fence;
    let record = SessionRecord {
        id,
        user: None,
        token: None,
        tokens: TokenSet::new(TokenHash([1; 32])),
        metadata: None,
        connected_at: Timestamp(1),
        disconnected_at: None,
        reconnections,
        own_rooms: true,
        rooms: Vec::new(),
    };
    sessions.save(Arc::new(record), fence).await
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Breaks the disk, and mends it again.
async fn nothing_is_acknowledged_that_is_not_kept(break_it: impl Fn(&VolatileDisk, bool)) {
    let disk = VolatileDisk::default();
    let store = open(&disk).unwrap();
    assert_eq!(publish(&store, 1).await, Ok(Offset(1)));
    assert_eq!(save(&store, "before").await, Ok(()));
    break_it(&disk, true);
    assert_eq!(publish(&store, 2).await, Err(BrokerError::Unavailable), "it may be kept later");
    until("the trouble is told", || store.health().trouble().is_some()).await;
    assert_eq!(publish(&store, 3).await, Err(BrokerError::CannotKeep));
    assert_eq!(save(&store, "meanwhile").await, Err(StoreError::Unavailable));
    assert_eq!(kept(&store).await, [1], "what was kept is read all the same");
    break_it(&disk, false);
    until("it goes on", || store.health().trouble().is_none()).await;
    assert_eq!(kept(&store).await, [1, 2], "what waited is kept now");
    assert_eq!(publish(&store, 4).await, Ok(Offset(3)));
    disk.lose_power(|| false);
    drop(store);
    and_a_loss_of_power_takes_nothing(&disk).await;
}

/// What was kept before and after the failure is there.
async fn and_a_loss_of_power_takes_nothing(disk: &VolatileDisk) {
    let mut store = open(disk).unwrap();
    assert!(!store.opened().was_clean);
    assert_eq!(kept(&store).await, [1, 2, 3]);
    let sessions: Vec<_> = store.take_restored().iter().map(|record| record.id.to_string()).collect();
    assert!(sessions.contains(&"before".to_owned()), "{sessions:?}");
    store.close().unwrap();
    assert!(open(disk).unwrap().opened().was_clean);
}

#[tokio::test]
async fn a_full_disk() {
    nothing_is_acknowledged_that_is_not_kept(VolatileDisk::set_full).await;
}

#[tokio::test]
async fn a_disk_that_cannot_sync() {
    nothing_is_acknowledged_that_is_not_kept(VolatileDisk::set_sync_fails).await;
}

#[tokio::test]
async fn a_store_that_cannot_write_at_its_end_is_not_closed_in_order() {
    let disk = VolatileDisk::default();
    let store = open(&disk).unwrap();
    assert_eq!(publish(&store, 1).await, Ok(Offset(1)));
    disk.set_full(true);
    assert_eq!(publish(&store, 2).await, Err(BrokerError::Unavailable));
    assert!(store.close().is_err());
    disk.set_full(false);
    let store = open(&disk).unwrap();
    assert!(!store.opened().was_clean);
    assert_eq!(kept(&store).await[..1], [1]);
}

/// Nobody need be there to save it again: its connection may have ended meanwhile, and then the server.
#[tokio::test]
async fn what_a_kept_session_saves_while_nothing_can_be_written_is_kept_with_the_first_commit() {
    let disk = VolatileDisk::default();
    let store = open(&disk).unwrap();
    assert_eq!(publish(&store, 1).await, Ok(Offset(1)));
    assert_eq!(save(&store, "before").await, Ok(()));
    disk.set_full(true);
    assert_eq!(publish(&store, 2).await, Err(BrokerError::Unavailable));
    until("the trouble is told", || store.health().trouble().is_some()).await;
    assert_eq!(
        save_as(&store, "before", 7).await,
        Err(StoreError::Unavailable),
        "nobody is told that it is kept"
    );
    assert_eq!(save(&store, "new").await, Err(StoreError::Unavailable));
    disk.set_full(false);
    until("it goes on", || store.health().trouble().is_none()).await;
    assert_eq!(store.sessions().settled().await, Ok(()));
    disk.lose_power(|| false);
    drop(store);
    let restored = open(&disk).unwrap().take_restored();
    let restored: Vec<_> = restored.iter().map(|record| (record.id.as_str(), record.reconnections)).collect();
    assert_eq!(restored, [("before", 7)]);
}

#[test]
fn damage_is_told_and_never_a_panic() {
    let whole = VolatileDisk::default();
    let store = open(&whole).unwrap();
    store.close().unwrap();
    let mut length = 0;
    whole.damage(|bytes| length = bytes.len());
    for end in (0..length).step_by(997).chain([length - 1]) {
        let disk = VolatileDisk::default();
        let bytes = std::cell::RefCell::new(Vec::new());
        whole.damage(|whole| bytes.replace(whole.clone()).clear());
        disk.damage(|to| *to = bytes.borrow()[..end].to_vec());
        if end > 0 {
            assert!(open(&disk).is_err(), "cut at {end}");
        }
    }
}

#[tokio::test]
async fn a_commit_that_failed_is_not_left_out_at_the_end() {
    let disk = VolatileDisk::default();
    let store = open(&disk).unwrap();
    assert_eq!(publish(&store, 1).await, Ok(Offset(1)));
    disk.set_full(true);
    assert_eq!(publish(&store, 2).await, Err(BrokerError::Unavailable));
    // Something that would fit waits behind it.
    let broker = store.broker();
    assert_eq!(save(&store, "behind").await, Err(StoreError::Unavailable));
    assert!(store.close().is_err(), "what failed is lost: the next start must know");
    let page = broker
        .read(room(), ReadFrom::After(Offset::START), ReadLimit { records: 9, bytes: usize::MAX })
        .await
        .unwrap();
    assert_eq!(page.state.head, Offset(1), "nobody was shown it");
    disk.set_full(false);
    assert!(!open(&disk).unwrap().opened().was_clean);
}

#[tokio::test]
async fn nothing_is_accepted_once_it_closes() {
    let disk = VolatileDisk::default();
    let store = open(&disk).unwrap();
    let broker = store.broker();
    store.close().unwrap();
    for durability in [None, Some(moorline_broker::Durability::Memory)] {
        let message = Message::stored(br#"{"type":"m"}"#.to_vec().into());
        let keep = Keep::Record { key: None, durability };
        let refused = broker.publish(Publication { room: room(), message, except: None, keep }).await;
        assert_eq!(refused, Err(BrokerError::CannotKeep));
    }
}

#[test]
fn whoever_uses_a_store_keeps_others_out_also_while_its_file_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    Store::open(directory.path(), &Options::default()).unwrap().close().unwrap();
    let lock = std::fs::File::open(directory.path().join("moorline.lock")).unwrap();
    lock.try_lock().unwrap();
    let refused = Store::open(directory.path(), &Options::default()).err();
    assert!(matches!(refused, Some(OpenError::InUse(_))), "{refused:?}");
    let refused = moorline_disk::compact(directory.path()).err();
    assert!(matches!(refused, Some(OpenError::InUse(_))), "{refused:?}");
}

/// What a disk does when it is to sync.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Syncing {
    Works,
    Hangs,
    /// Once: a fault of ours, which nothing else shows.
    Panics,
}

/// A disk that can be told to hang.
#[derive(Clone, Debug)]
struct Stubborn {
    disk: VolatileDisk,
    /// What it does, and how many wait for it to do otherwise.
    state: Arc<(Mutex<(Syncing, usize)>, Condvar)>,
}

impl Stubborn {
    fn new() -> Self {
        let state = Arc::new((Mutex::new((Syncing::Works, 0)), Condvar::new()));
        Self { disk: VolatileDisk::default(), state }
    }

    fn set(&self, syncing: Syncing) {
        self.state.0.lock().unwrap().0 = syncing;
        self.state.1.notify_all();
    }

    fn is_hanging(&self) -> bool {
        self.state.0.lock().unwrap().1 > 0
    }
}

impl Place for Stubborn {
    fn path(&self) -> &Path {
        self.disk.path()
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(Reluctant { inner: self.disk.open()?, place: self.clone() }))
    }

    fn renew(&self) -> io::Result<()> {
        self.disk.renew()
    }

    fn doubt(&self) -> &Arc<Doubt> {
        self.disk.doubt()
    }

    fn bytes(&self) -> u64 {
        self.disk.bytes()
    }
}

#[derive(Debug)]
struct Reluctant {
    inner: Box<dyn StorageBackend>,
    place: Stubborn,
}

impl StorageBackend for Reluctant {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (state, changed) = &*self.place.state;
        let mut state = state.lock().unwrap();
        state.1 += 1;
        let mut state = changed.wait_while(state, |(syncing, _)| *syncing == Syncing::Hangs).unwrap();
        state.1 -= 1;
        let panics = std::mem::replace(&mut state.0, Syncing::Works) == Syncing::Panics;
        drop(state);
        assert!(!panics, "as it was told to");
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }
}

#[tokio::test]
async fn a_commit_that_hangs_is_trouble_and_nobody_else_waits_for_it() {
    let place = Stubborn::new();
    let options = Options { hangs_after: Duration::from_millis(50), ..Options::default() };
    let store = Arc::new(Store::open_in(Box::new(place.clone()), &options).unwrap());
    assert_eq!(publish(&store, 1).await, Ok(Offset(1)));
    place.set(Syncing::Hangs);
    let first = Arc::clone(&store);
    let first = tokio::spawn(async move { save(&first, "first").await });
    until("it hangs", || place.is_hanging()).await;
    until("the trouble is told", || store.health().trouble().is_some()).await;
    let trouble = store.health().trouble().unwrap();
    assert!(trouble.starts_with("the store has not answered for "), "{trouble}");
    assert_eq!(save(&store, "meanwhile").await, Err(StoreError::Unavailable));
    let meanwhile = store.sessions().load(SessionId::new("meanwhile").unwrap()).await;
    assert!(meanwhile.unwrap().is_none(), "what was refused is not kept");
    assert_eq!(store.sessions().settled().await, Err(StoreError::Unavailable));
    assert_eq!(kept(&store).await, [1], "what was kept is read all the same");
    assert!(!first.is_finished(), "it may be kept yet");
    place.set(Syncing::Works);
    assert_eq!(first.await.unwrap(), Ok(()));
    until("it goes on", || store.health().trouble().is_none()).await;
    assert_eq!(save(&store, "after").await, Ok(()));
    Arc::into_inner(store).unwrap().close().unwrap();
}

#[tokio::test]
async fn a_commit_that_only_takes_its_time_is_no_trouble() {
    let place = Stubborn::new();
    let options = Options { hangs_after: Duration::MAX, ..Options::default() };
    let store = Arc::new(Store::open_in(Box::new(place.clone()), &options).unwrap());
    place.set(Syncing::Hangs);
    let saves = ["first", "second"].map(|id| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { save(&store, id).await })
    });
    until("it hangs", || place.is_hanging()).await;
    assert_eq!(store.health().trouble(), None);
    place.set(Syncing::Works);
    for save in saves {
        assert_eq!(save.await.unwrap(), Ok(()));
    }
}

#[tokio::test]
async fn a_thread_that_fails_is_trouble_for_good_and_leaves_nobody_waiting() {
    let place = Stubborn::new();
    let store = Arc::new(Store::open_in(Box::new(place.clone()), &Options::default()).unwrap());
    assert_eq!(publish(&store, 1).await, Ok(Offset(1)));
    place.set(Syncing::Hangs);
    let tasks = ["in it", "behind it"].map(|id| {
        let store = Arc::clone(&store);
        async move { (save(&store, id).await, publish(&store, 2).await) }
    });
    let [within, behind] = tasks;
    let within = tokio::spawn(within);
    until("it hangs", || place.is_hanging()).await;
    let behind = tokio::spawn(behind);
    tokio::task::yield_now().await;
    place.set(Syncing::Panics);
    let refused = |(saved, published)| {
        let is_told = [BrokerError::Unavailable, BrokerError::CannotKeep].map(Err).contains(&published);
        saved == Err(StoreError::Unavailable) && is_told
    };
    assert!(refused(within.await.unwrap()) && refused(behind.await.unwrap()));
    until("the trouble is told", || store.health().trouble().is_some()).await;
    let trouble = store.health().trouble().unwrap();
    assert_eq!(trouble, "the store's thread has failed: restart the server");
    assert_eq!(publish(&store, 3).await, Err(BrokerError::CannotKeep));
    assert_eq!(save(&store, "after").await, Err(StoreError::Unavailable));
    assert_eq!(kept(&store).await, [1]);
    assert!(Arc::into_inner(store).unwrap().close().is_err());
    place.disk.kill();
    let store = Store::open_in(Box::new(place), &Options::default()).unwrap();
    assert!(!store.opened().was_clean);
    assert_eq!(kept(&store).await, [1]);
}

#[tokio::test]
async fn what_the_system_has_in_memory_alone_is_not_believed_after_a_kill_either() {
    let disk = VolatileDisk::default();
    let store = open(&disk).unwrap();
    assert_eq!(publish(&store, 1).await, Ok(Offset(1)));
    disk.set_sync_fails(true);
    assert_eq!(publish(&store, 1).await, Err(BrokerError::Unavailable));
    disk.kill();
    drop(store);
    disk.set_sync_fails(false);
    let store = open(&disk).unwrap();
    assert_eq!(save(&store, "after").await, Ok(()));
    let before = kept(&store).await;
    disk.lose_power(|| false);
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!(kept(&store).await, before);
}

#[tokio::test]
async fn a_file_beside_which_a_sync_failed_is_renewed_by_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), &Options::default()).unwrap();
    assert_eq!(publish(&store, 1).await, Ok(Offset(1)));
    store.close().unwrap();
    let (file, marker) =
        ["moorline.redb", "moorline.unsynced"].map(|name| directory.path().join(name)).into();
    std::fs::write(&marker, []).unwrap();
    let old = std::fs::File::open(&file).unwrap();
    old.lock().unwrap();
    // The old file is locked: only another one can be opened.
    let store = Store::open(directory.path(), &Options::default()).unwrap();
    assert_eq!(kept(&store).await, [1]);
    assert!(!marker.exists());
}
