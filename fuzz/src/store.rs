//! A store's file of which bytes have changed: it is refused, or what it says is what was written.
//!
//! Input: changes of three bytes for the place and one to be put there by exclusive or; where that is zero, the file ends at the
//! place.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use futures_util::FutureExt as _;
use moorline_broker::{
    Broker as _, Keep, NodeId, Publication, PublishKey, ReadLimit, RetentionRules, SessionStore as _,
};
use moorline_disk::Ground;
use moorline_disk::testing::VolatileDisk;
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::{PublishId, RoomName, SessionId, StreamName};
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::session_record::SessionRecord;
use moorline_proto::stream::{Command, Done, Expected, Holder, Lease, Open};
use moorline_proto::time::{Now, Timestamp};
use moorline_proto::token::{TokenHash, TokenSet};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const ROOMS: [&str; 3] = ["a", "b", "@all"];
const MESSAGES: usize = 60;
/// More changes only take longer.
const CHANGES_MAX: usize = 64;

/// What a store says: its messages, each by its place, and its sessions.
#[derive(Default)]
struct Said {
    messages: BTreeMap<(&'static str, Offset), (Timestamp, Vec<u8>)>,
    sessions: BTreeMap<String, String>,
}

struct Written {
    file: Vec<u8>,
    said: Said,
}

static WRITTEN: LazyLock<Written> = LazyLock::new(|| {
    let disk = VolatileDisk::default();
    write(&open(&disk).expect("a new store"));
    let mut file = Vec::new();
    disk.damage(|bytes| file.clone_from(bytes));
    let said = Said::by(open(&disk).expect("the store"));
    assert!(said.messages.len() > MESSAGES && said.sessions.len() == 1, "{} messages", said.messages.len());
    Written { file, said }
});

pub(crate) fn run(input: &[u8]) {
    let Written { file, said } = &*WRITTEN;
    let disk = VolatileDisk::default();
    disk.damage(|bytes| {
        bytes.clone_from(file);
        input.chunks_exact(4).take(CHANGES_MAX).for_each(|change| apply(bytes, change));
    });
    if let Ok(ground) = open(&disk) {
        check(&Said::by(ground), said);
    }
}

/// What is said now was said before.
fn check(now: &Said, said: &Said) {
    for (place, message) in &now.messages {
        assert_eq!(Some(message), said.messages.get(place), "a message that nobody wrote, at {place:?}");
    }
    for (id, session) in &now.sessions {
        assert_eq!(Some(session), said.sessions.get(id), "a session that nobody wrote");
    }
}

fn apply(bytes: &mut Vec<u8>, change: &[u8]) {
    let at = u32::from_le_bytes([change[0], change[1], change[2], 0]);
    let at = usize::try_from(at).unwrap_or(usize::MAX) % bytes.len().max(1);
    match (change[3], bytes.get_mut(at)) {
        (0, _) => bytes.truncate(at),
        (bits, Some(byte)) => *byte ^= bits,
        (_, None) => {}
    }
}

fn open(disk: &VolatileDisk) -> Result<Ground, moorline_disk::OpenError> {
    let clock = Arc::new(|| Now::at(NOW));
    Ground::open(Box::new(disk.clone()), &RetentionRules::default(), (clock, Epoch(9)))
}

fn commit(ground: &Ground) {
    while let Some(commit) = ground.begin_commit() {
        ground.write(&commit).expect("it is written");
        ground.end_commit(commit);
    }
}

fn write(ground: &Ground) {
    let sessions = ground.sessions();
    let id = SessionId::new("s").expect("an id");
    let claimed = sessions.claim(id, NodeId("n".into())).now_or_never().expect("now").expect("claimed");
    let saving = sessions.save(session(), claimed.fence);
    for number in 0..MESSAGES {
        let room = RoomName::stored(ROOMS[number % ROOMS.len()]).expect("a room");
        drop(publish(ground, room, number));
        if number % 7 == 0 {
            commit(ground);
        }
    }
    stream(ground);
    commit(ground);
    assert!(saving.now_or_never().is_some_and(|saved| saved.is_ok()));
}

fn publish(ground: &Ground, room: RoomName, number: usize) -> impl Sized + use<> {
    let message = format!(r#"{{"type":"m","n":{number},"x":"{}"}}"#, "x".repeat(number * 10));
    let key = PublishKey { sender: "s".into(), id: PublishId::new(&number.to_string()).expect("an id") };
    ground.broker().publish(Publication {
        room,
        message: Message::stored(message.into_bytes().into()),
        except: None,
        keep: Keep::Record { key: Some(key), durability: None },
    })
}

fn stream(ground: &Ground) {
    let (broker, room) = (ground.broker(), RoomName::new("a").expect("a room"));
    let ask = |command| broker.stream(room.clone(), StreamName::new("s").expect("a name"), command);
    let principal: Arc<str> = Arc::from("p");
    let lease = Lease::new(std::time::Duration::from_secs(30)).expect("a lease");
    let open = Open {
        principal: principal.clone(),
        session: None,
        data: None,
        except: None,
        lease,
        expected: Expected::Any,
    };
    let opened = ask(Command::Open(Box::new(open)));
    commit(ground);
    let Some(Ok(Done::Opened { fence, .. })) = opened.now_or_never() else { panic!("a stream is opened") };
    let holder = Holder { principal, session: None, fence };
    drop(ask(Command::Append { holder, at: 0, content: "text of a stream".into() }));
    broker.lapse();
}

fn session() -> Arc<SessionRecord> {
    Arc::new(SessionRecord {
        id: SessionId::new("s").expect("an id"),
        user: None,
        token: None,
        tokens: TokenSet::new(TokenHash([1; 32])),
        metadata: Some("{}".into()),
        connected_at: NOW,
        disconnected_at: None,
        reconnections: 3,
        own_rooms: true,
        rooms: Vec::new(),
    })
}

impl Said {
    fn by(mut ground: Ground) -> Self {
        let mut said = Self::default();
        let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
        for name in ROOMS {
            let room = RoomName::stored(name).expect("a room");
            let page = ground.broker().read(room, ReadFrom::After(Offset::START), limit).now_or_never();
            for record in page.expect("now").expect("a page").records {
                let message = record.message.as_bytes().to_vec();
                said.messages.insert((name, record.offset), (record.timestamp, message));
            }
        }
        for session in ground.take_restored() {
            said.sessions.insert(session.id.as_str().to_owned(), format!("{session:?}"));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_not_changed_says_everything() {
        let disk = VolatileDisk::default();
        disk.damage(|bytes| bytes.clone_from(&WRITTEN.file));
        let now = Said::by(open(&disk).expect("the store"));
        assert_eq!((now.messages.len(), now.sessions.len()), (WRITTEN.said.messages.len(), 1));
        check(&now, &WRITTEN.said);
    }

    #[test]
    #[should_panic(expected = "a message that nobody wrote")]
    fn a_message_that_nobody_wrote_is_told() {
        let mut now = Said::default();
        now.messages.insert(("a", Offset(1)), (NOW, br#"{"type":"other"}"#.to_vec()));
        check(&now, &WRITTEN.said);
    }
}
