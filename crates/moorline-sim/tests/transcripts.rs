//! The transcripts of the specification, run against the shard machine with a real broker, in virtual time. What a line
//! means is in `spec/vectors/transcripts/README.md`.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use moorline_broker::{
    Announcement, Announcements, Broker as _, Durability, Fence, Keep, LocalBroker, MemoryLog,
    MemorySessions, NodeId, Publication, PublishKey, Published, ReadLimit, RetentionRules, SessionStore as _,
};
use moorline_proto::batch::{EncodedBatch, EncodedEphemeral};
use moorline_proto::codec;
use moorline_proto::coding::Coding;
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::frame::{
    Answer, ClientFrame, Hello, Presence, Publish, PublishAnswer, PublishOutcome, Ref, Target,
};
use moorline_proto::grants::{Names, Pattern};
use moorline_proto::heartbeat::Policy;
use moorline_proto::id::{Owner, RoomName, SessionId, StreamName, UserId};
use moorline_proto::identity::{Identity, Token, TokenId};
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::revocations::Revocations;
use moorline_proto::session_record::SessionRecord;
use moorline_proto::shard::{
    Claim, ConnectionId, ExpiryConfig, Host, Input, Output, Peer, SaveError, SessionKey, Shard, ShardConfig,
};
use moorline_proto::stream::{Canceller, Command};
use moorline_proto::time::{Instant, Now, Timestamp};
use moorline_proto::token::ResumeToken;
use moorline_proto::users::{UserLimits, Users};
use moorline_sim::wire;
use serde_json::{Value, json};

const TRANSCRIPTS: [&str; 26] = [
    "ack.txt",
    "authorizer.txt",
    "errors.txt",
    "establish.txt",
    "except.txt",
    "expiry.txt",
    "heartbeat.txt",
    "lagging.txt",
    "overtaking.txt",
    "publish.txt",
    "reconnect.txt",
    "reset.txt",
    "restart.txt",
    "resume.txt",
    "revocation.txt",
    "rooms.txt",
    "saves.txt",
    "stored.txt",
    "streams.txt",
    "streams_asking.txt",
    "streams_lagging.txt",
    "streams_producing.txt",
    "streams_reading.txt",
    "takeover.txt",
    "targets.txt",
    "tokens.txt",
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/transcripts")
}

#[test]
fn every_transcript_comes_true() {
    let names = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".txt")).collect();
    names.sort();
    assert_eq!(names, TRANSCRIPTS);
    let failures: Vec<String> = names.iter().filter_map(|name| run(name).err()).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn run(name: &str) -> Result<(), String> {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    check(name, &text)
}

fn check(name: &str, text: &str) -> Result<(), String> {
    let lines: Vec<(usize, &str)> = (1..).zip(text.lines().map(str::trim)).collect();
    let is_setting = |line: &&(usize, &str)| line.1.starts_with("set ");
    let mut stage = Stage::new(lines.iter().filter(is_setting).map(|(_, line)| *line));
    for (number, line) in lines.iter().filter(|line| !is_setting(line)) {
        stage.line(line).map_err(|why| format!("{name}:{number}: {why}"))?;
    }
    stage.all_told().map_err(|why| format!("{name}:{}: {why}", lines.len()))
}

#[test]
fn a_transcript_that_is_wrong_fails_at_its_line() {
    let established = concat!(
        "a: connect /ws session=s\n",
        r#"a< {"type":"connection_established","session":"s","resume_token":"$T","resumed":false,"#,
        r#""rooms":{},"heartbeat_ms":30000}"#
    );
    assert_eq!(check("right", established), Ok(()));
    let wrong = [
        ("a: connect /ws session=s", "x:1: a was sent"),
        (&established.replace("30000", "1"), "x:2: a was sent"),
        (&format!("{established}\na< {{}}"), "x:3: a was sent nothing"),
        (&format!("{established}\na> ping\na> ping"), "x:4: a was sent"),
        (&format!("{established}\na: closed 1000"), "x:3: a was sent nothing"),
        (&format!("{established}\nb> ping"), "x:3: nobody is b"),
        (&format!("{established}\na: jump"), "x:3: what is that"),
    ];
    for (text, begins) in wrong {
        let found = check("x", text).unwrap_err();
        assert!(found.starts_with(begins), "{found}");
    }
}

/// One connection, as its client sees it.
struct Socket {
    bytes: Vec<u8>,
    /// How many bytes it takes from now on.
    room: usize,
}

/// What the shard asks of its driver at once.
struct Sockets {
    sockets: HashMap<ConnectionId, Socket>,
    bound: HashMap<SessionKey, ConnectionId>,
    users: Users,
    revocations: Revocations,
}

impl Host for Sockets {
    fn write(&mut self, session: SessionKey, bytes: &[u8]) -> usize {
        let socket = self.sockets.get_mut(&self.bound[&session]).unwrap();
        let count = bytes.len().min(socket.room);
        socket.room -= if socket.room == usize::MAX { 0 } else { count };
        socket.bytes.extend(&bytes[..count]);
        count
    }

    fn compress(&mut self, _: Coding, _: &[u8], _: &mut Vec<u8>) -> bool {
        false
    }

    fn bind(&mut self, connection: ConnectionId, session: SessionKey) {
        self.bound.insert(session, connection);
    }

    fn with_users(&mut self, act: &mut dyn FnMut(&mut Users)) {
        act(&mut self.users);
    }

    fn is_revoked(&mut self, identity: &Identity) -> bool {
        self.revocations.cover(identity)
    }
}

/// Somebody in a transcript.
struct Actor {
    connection: ConnectionId,
    url: String,
    /// Until it has said hello.
    is_silent: bool,
    peer: Option<Peer>,
    heard: VecDeque<String>,
}

/// How the session store is.
#[derive(Clone, Copy)]
enum Condition {
    Working,
    Failing,
    /// It answers no save.
    Silent,
}

/// Everything that a transcript plays on.
struct Stage {
    shard: Shard,
    sockets: Sockets,
    broker: LocalBroker,
    announcements: Box<dyn Announcements>,
    store: MemorySessions,
    /// What the store has; none while the server is down.
    kept: BTreeMap<SessionId, Arc<SessionRecord>>,
    condition: Condition,
    config: Arc<ShardConfig>,
    is_down: bool,
    page: ReadLimit,
    actors: BTreeMap<String, Actor>,
    variables: BTreeMap<String, Value>,
    /// Whose publishes wait for the authorizer.
    asking: VecDeque<Peer>,
    clock: Arc<AtomicU64>,
    now: Instant,
    connections: u64,
    /// How many streams were named by the server.
    streams: u64,
}

const BEGIN: u64 = 1_795_262_400_000;

impl Stage {
    fn new<'a>(settings: impl Iterator<Item = &'a str>) -> Self {
        let mut rules = RetentionRules::default();
        let mut config = ShardConfig {
            heartbeat: Policy::default(),
            heartbeat_frame: "ping".to_owned(),
            session_lifetime: Duration::from_secs(3_600),
            absent_max_bytes: 256 * 1024 * 1024,
            rooms_max: 128,
            metadata_max_bytes: 4_096,
            pending_max_bytes: 128 * 1024,
            stall_timeout: Duration::from_secs(30),
            save_timeout: Duration::from_secs(10),
            in_flight_max: 1_024,
            shard_rooms_max: 1_000_000,
            expiry: ExpiryConfig::default(),
            authenticates: false,
            authorizes: false,
            framing: wire::FRAMING,
        };
        for setting in settings {
            let [_, name, value] = words(setting)[..] else { panic!("{setting}") };
            let value = value.parse().unwrap();
            match name {
                "retention.own_records" => rules.own.records = value,
                "retention.room_records" => rules.room.records = value,
                "connection.pending_max_bytes" => config.pending_max_bytes = value,
                "session.lifetime_ms" => {
                    config.session_lifetime = Duration::from_millis(value.try_into().unwrap());
                }
                "session.rooms_max" => config.rooms_max = value,
                "limits.rooms_max" => config.shard_rooms_max = value,
                "authenticator" => config.authenticates = value == 1,
                "authorizer" => config.authorizes = value == 1,
                _ => panic!("no transcript needs the setting {name} so far"),
            }
        }
        let clock = Arc::new(AtomicU64::new(BEGIN));
        let hand = Arc::clone(&clock);
        let log = MemoryLog::new(Epoch(0x0123_4567_89ab_cdef), rules);
        let broker = LocalBroker::new(
            log,
            move || Now::at(Timestamp(hand.load(Ordering::Relaxed))),
            Durability::Memory,
        );
        let users = Users::new(UserLimits::default());
        let config = Arc::new(config);
        let revocations = Revocations::new(Duration::from_secs(24 * 3600));
        let page = ReadLimit { records: 256, bytes: config.pending_max_bytes / 2 };
        let begin = Now { instant: Instant::default(), timestamp: Timestamp(BEGIN) };
        let mut stage = Self {
            shard: Shard::new(Arc::clone(&config), begin),
            sockets: Sockets { sockets: HashMap::new(), bound: HashMap::new(), users, revocations },
            announcements: broker.announcements(),
            broker,
            store: MemorySessions::new(),
            kept: BTreeMap::new(),
            condition: Condition::Working,
            config,
            is_down: false,
            page,
            actors: BTreeMap::new(),
            variables: BTreeMap::new(),
            asking: VecDeque::new(),
            clock,
            now: Instant::default(),
            connections: 0,
            streams: 0,
        };
        stage.settle();
        stage
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(who) = head.strip_suffix('<') {
            return self.expect(who, rest);
        }
        if let Some(who) = head.strip_suffix(':')
            && rest.starts_with("closed ")
        {
            return self.expect(who, rest);
        }
        self.all_told()?;
        let rest = &self.filled(rest);
        if head == "wait" {
            self.pass(duration(rest));
        } else if let Some(who) = head.strip_suffix('>') {
            self.say(who, rest)?;
        } else if let Some(who) = head.strip_suffix(':') {
            self.act(who, &words(rest)).ok_or_else(|| format!("what is that: {line}"))?;
        } else {
            return Err(format!("what is that: {line}"));
        }
        self.settle();
        Ok(())
    }

    // What clients do.

    fn act(&mut self, who: &str, words: &[&str]) -> Option<()> {
        match *words {
            ["connect" | "open", ..] => {
                self.connections += 1;
                let connection = ConnectionId(self.connections);
                let (is_silent, url) = (words[0] == "open", words[1..].join(" "));
                let actor = Actor { connection, url, is_silent, peer: None, heard: VecDeque::new() };
                self.sockets.sockets.insert(connection, Socket { bytes: Vec::new(), room: usize::MAX });
                self.actors.insert(who.to_owned(), actor);
                if !is_silent {
                    self.establish(who, Hello::default(), None);
                }
            }
            ["drop"] => self.handle(Input::Lost(self.actors.get(who)?.peer?, None)),
            ["pong"] => self.handle(Input::Alive(self.actors.get(who)?.peer?)),
            ["full"] => self.socket(who)?.room = 0,
            ["fits", bytes] => self.socket(who)?.room = bytes.parse().ok()?,
            ["takes" | "writable", ..] => {
                self.socket(who)?.room = words.get(1).map_or(Some(usize::MAX), |bytes| bytes.parse().ok())?;
                self.handle(Input::Writable(self.actors.get(who)?.peer?));
            }
            ["allows" | "forbids"] if who == "authorizer" => {
                let peer = self.asking.pop_front()?;
                let why = || Rejection::new(ErrorCode::Forbidden, "the application does not allow it");
                let outcome = if words[0] == "allows" { Ok(()) } else { Err(why()) };
                self.handle(Input::Authorized(peer, outcome));
            }
            _ if who == "http" => return self.ask(words),
            _ => return self.befall(who, words),
        }
        Some(())
    }

    /// What happens to the server and around it.
    fn befall(&mut self, what: &str, words: &[&str]) -> Option<()> {
        match (what, words) {
            ("store", ["works"]) => self.condition = Condition::Working,
            ("store", ["fails"]) => self.condition = Condition::Failing,
            ("store", ["hangs"]) => self.condition = Condition::Silent,
            ("elsewhere", ["claims", id]) => {
                let id = SessionId::new(id).unwrap();
                self.store.claim(id, NodeId("other".into())).now_or_never()?.unwrap();
            }
            ("server", ["dies" | "stops"]) => self.go_down(words[0] == "stops"),
            ("server", ["starts"]) => self.come_up(true),
            ("server", ["starts", "empty"]) => self.come_up(false),
            _ => return None,
        }
        Some(())
    }

    /// What the application does by HTTP.
    fn ask(&mut self, words: &[&str]) -> Option<()> {
        let now = self.moment();
        match *words {
            ["disconnect", id] => {
                let id = SessionId::new(id).unwrap();
                self.shard.disconnect(now, &id, &mut self.sockets);
            }
            ["revoke", "user", user] => {
                let user = UserId::new(user).unwrap();
                self.sockets.revocations.revoke_user(user.clone(), now.timestamp).unwrap();
                self.shard.revoke_user(now, &user, &mut self.sockets);
            }
            ["revoke", "token", token] => {
                let token = TokenId::new(token).unwrap();
                self.sockets.revocations.revoke_token(token.clone(), now.timestamp).unwrap();
                self.shard.revoke_token(now, &token, &mut self.sockets);
            }
            ["clear", room] => {
                self.broker.clear(RoomName::new(room).unwrap()).now_or_never().unwrap().unwrap();
            }
            ["cancel", room, stream] => {
                let cancel = Command::Cancel { by: Canceller::default() };
                let stream = StreamName::new(stream).unwrap();
                self.stream(RoomName::new(room).unwrap(), Some(stream), cancel).unwrap();
            }
            ["add", id, room] => {
                self.shard.add_to_room(&SessionId::new(id).unwrap(), &RoomName::new(room).unwrap()).unwrap();
            }
            ["remove", id, room] => {
                let (id, room) = (SessionId::new(id).unwrap(), RoomName::new(room).unwrap());
                self.shard.remove_from_room(now, &id, &room, &mut self.sockets).unwrap();
            }
            _ => return None,
        }
        Some(())
    }

    fn go_down(&mut self, in_peace: bool) {
        if in_peace {
            self.handle(Input::Drain(Duration::ZERO));
            self.settle();
        }
        self.is_down = true;
        self.actors.values_mut().for_each(|actor| actor.peer = None);
    }

    /// A new shard, with what the store has.
    fn come_up(&mut self, restores: bool) {
        self.is_down = false;
        self.shard = Shard::new(Arc::clone(&self.config), self.moment());
        self.sockets.users = Users::new(UserLimits::default());
        self.sockets.bound.clear();
        let mut restored: Vec<_> = self.kept.values().filter(|_| restores).cloned().collect();
        restored.sort_by_key(|record| record.disconnected_at.map_or(u64::MAX, |at| at.0));
        for record in restored {
            let stored = self.store.claim(record.id.clone(), NodeId("n".into())).now_or_never().unwrap();
            self.handle(Input::Restore(record, stored.unwrap().fence.0));
            self.settle();
        }
    }

    fn socket(&mut self, who: &str) -> Option<&mut Socket> {
        self.sockets.sockets.get_mut(&self.actors.get(who)?.connection)
    }

    fn say(&mut self, who: &str, text: &str) -> Result<(), String> {
        if who == "http" {
            let publish = text.strip_prefix("publish ").ok_or("what is that: HTTP publishes")?;
            let publish = Publish::parse(publish).map_err(|rejection| rejection.to_string())?;
            self.publish("key/http", &publish).map_err(|rejection| rejection.to_string())?;
            return Ok(());
        }
        let actor = self.actors.get_mut(who).ok_or_else(|| format!("nobody is {who}"))?;
        let inbound = codec::decode(text);
        if std::mem::take(&mut actor.is_silent) {
            let Ok(ClientFrame::Hello(hello)) = inbound.frame else { return Err("hello comes first".into()) };
            self.establish(who, *hello, inbound.reference);
        } else {
            let peer = actor.peer.ok_or_else(|| format!("{who} has no session"))?;
            self.handle(Input::Frame(peer, inbound));
        }
        Ok(())
    }

    /// What a connection claims, as its handshake reads it.
    fn establish(&mut self, who: &str, hello: Hello, reference: Option<Ref>) {
        let actor = &self.actors[who];
        let url = words(&actor.url);
        let query: HashMap<&str, &str> = url[1..].iter().map(|word| word.split_once('=').unwrap()).collect();
        let known = |value: &str| self.variables.get(value)?.as_str().map(str::to_owned);
        let parameter =
            |name: &str| query.get(name).map(|value| known(value).unwrap_or_else(|| (*value).to_owned()));
        let number = u8::try_from(self.connections).unwrap();
        let token = parameter("resume_token").map(|text| ResumeToken::presented(&text));
        let has_token = hello.token.is_some();
        let identity = match (hello.token, parameter("user")) {
            (Some(token), _) => identity(&token, self.moment()).unwrap(),
            (None, Some(user)) => Identity::user(UserId::new(&user).unwrap()),
            (None, None) => Identity::anonymous(),
        };
        let claim = Claim {
            connection: actor.connection,
            coding: None,
            identity,
            asked: hello.session.or(parameter("session").map(|id| SessionId::new(&id).unwrap())),
            may_choose: !has_token,
            resume_token: hello.resume_token.or(token),
            positions: hello.positions,
            last: parameter("last_message_id").map(|id| Offset(id.parse().unwrap())),
            metadata: hello.metadata.map(Into::into),
            home: url[0].strip_prefix("/ws/").map(|room| RoomName::new(room).unwrap()),
            own_rooms: true,
            reference,
            fresh_id: SessionId::new(&format!("generated-{number}")).unwrap(),
            fresh_token: ResumeToken::from_random([number; 32]),
        };
        self.handle(Input::Establish(Box::new(claim)));
    }

    // What they hear.

    fn expect(&mut self, who: &str, expected: &str) -> Result<(), String> {
        let actor = self.actors.get_mut(who).ok_or_else(|| format!("nobody is {who}"))?;
        let found = actor.heard.pop_front().ok_or_else(|| format!("{who} was sent nothing more"))?;
        let expected = self.filled(expected);
        let same = match (serde_json::from_str::<Value>(&expected), serde_json::from_str::<Value>(&found)) {
            (Ok(expected), Ok(found)) => self.matches(&expected, &found),
            _ => expected == found,
        };
        if same { Ok(()) } else { Err(format!("{who} was sent\n  {found}\nand not\n  {expected}")) }
    }

    /// Everything that was sent must stand in the transcript before anything else happens.
    fn all_told(&self) -> Result<(), String> {
        let untold = self.actors.iter().find_map(|(who, actor)| Some((who, actor.heard.front()?)));
        untold.map_or(Ok(()), |(who, frame)| Err(format!("{who} was sent before this\n  {frame}")))
    }

    fn matches(&mut self, expected: &Value, found: &Value) -> bool {
        match (expected, found) {
            (Value::String(text), _) if text == "$_" => true,
            (Value::String(text), _) if text.starts_with('$') => {
                // Different names are different values, so that a new token cannot be the old one.
                let is_new = self.variables.values().all(|value| value != found);
                is_new && self.variables.insert(text.clone(), found.clone()).is_none()
            }
            (Value::Object(expected), Value::Object(found)) => {
                expected.len() == found.len()
                    && expected
                        .iter()
                        .all(|(key, value)| found.get(key).is_some_and(|found| self.matches(value, found)))
            }
            (Value::Array(expected), Value::Array(found)) => {
                expected.len() == found.len()
                    && expected.iter().zip(found).all(|(expected, found)| self.matches(expected, found))
            }
            _ => expected == found,
        }
    }

    /// A text with the variables that are known.
    fn filled(&self, text: &str) -> String {
        self.variables.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&json!(name).to_string(), &value.to_string())
        })
    }

    // What the machine is told, and wants.

    fn moment(&self) -> Now {
        Now { instant: self.now, timestamp: Timestamp(self.clock.load(Ordering::Relaxed)) }
    }

    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.now < until {
            let due = self.shard.poll_timeout().filter(|_| !self.is_down).unwrap_or(until).min(until);
            let due = self.broker.lapses_in().map_or(due, |wait| due.min(self.now + wait));
            // Time goes on, also where something is overdue.
            self.now = due.max(self.now + Duration::from_millis(1)).min(until);
            let millis = u64::try_from(self.now.elapsed().as_millis()).unwrap();
            self.clock.store(BEGIN + millis, Ordering::Relaxed);
            self.broker.expire();
            self.broker.lapse();
            if !self.is_down && self.shard.poll_timeout().is_some_and(|due| due <= self.now) {
                self.shard.handle_timeout(self.moment(), &mut self.sockets);
            }
            self.settle();
        }
    }

    fn handle(&mut self, input: Input) {
        self.shard.handle(self.moment(), input, &mut self.sockets);
        while self.shard.fan_out(self.moment(), usize::MAX, &mut self.sockets) {}
    }

    fn settle(&mut self) {
        loop {
            while self.shard.fan_out(self.moment(), usize::MAX, &mut self.sockets) {}
            let mut news = Vec::new();
            if let Some(output) = self.shard.poll_output() {
                if let Some(answer) = self.perform(output) {
                    self.handle(answer);
                }
            } else if self.announcements.receive(&mut news, 100).now_or_never().is_some() {
                news.into_iter().for_each(|news| self.handle(announced(news)));
            } else {
                break;
            }
        }
        for actor in self.actors.values_mut() {
            let socket = self.sockets.sockets.get_mut(&actor.connection).unwrap();
            actor.heard.extend(std::iter::from_fn(|| wire::take(&mut socket.bytes)).map(shown));
        }
    }

    fn perform(&mut self, output: Output) -> Option<Input> {
        let now = self.moment();
        Some(match output {
            Output::Load(connection, _) if matches!(self.condition, Condition::Failing) => {
                Input::Loaded(connection, Err(unavailable()))
            }
            Output::Load(connection, id) => {
                Input::Loaded(connection, Ok(self.store.load(id).now_or_never()?.unwrap()))
            }
            Output::Claim(connection, id) => {
                let stored = self.store.claim(id, NodeId("n".into())).now_or_never()?.unwrap();
                Input::Claimed(connection, Ok(stored.fence.0))
            }
            Output::Survey { surveyor, session, user, requests } => {
                let surveys = self.broker.survey(session, user, requests).now_or_never()?;
                Input::Surveyed(surveyor, Ok(surveys.unwrap()))
            }
            Output::Save { record, fence, waiting } => {
                let session = record.id.clone();
                let result = match self.condition {
                    Condition::Silent => return None,
                    Condition::Failing => Err(SaveError::Rejected(unavailable())),
                    Condition::Working => {
                        let saved = self.store.save(Arc::clone(&record), Fence(fence)).now_or_never()?;
                        saved.map_err(|_| SaveError::Fenced)
                    }
                };
                if result.is_ok() {
                    self.kept.insert(session.clone(), record);
                }
                Input::Saved { session, fence, waiting, result }
            }
            Output::Subscribe(key, room) => {
                let state = self.broker.subscribe(room.clone()).now_or_never()?.unwrap();
                Input::Subscribed(key, room, Ok(state))
            }
            Output::Read { reader, room, from } => {
                let page = self.broker.read(room.clone(), from, self.page).now_or_never()?.unwrap();
                Input::PageRead(reader, room, Ok(page))
            }
            Output::Publish { ticket, sender, publish } => {
                Input::Published(ticket, self.publish(&sender, &publish))
            }
            Output::Stream { ticket, room, stream, command } => {
                Input::Published(ticket, self.stream(room, stream, *command))
            }
            Output::Authenticate(ticket, token) => {
                Input::Authenticated(ticket, identity(&token, now).map(Box::new))
            }
            Output::Authorize { peer, .. } => {
                self.asking.push_back(peer);
                return None;
            }
            Output::Presence(ticket, room) => {
                let (count, sessions) = self.shard.present(&room, Presence::MAX_LISTED);
                Input::Presence(ticket, Presence { room, count, sessions })
            }
            other => {
                self.perform_unanswered(now, other);
                return None;
            }
        })
    }

    fn perform_unanswered(&mut self, now: Now, output: Output) {
        match output {
            Output::Remove(id, fence) => {
                self.kept.remove(&id);
                // Refused where the session is another node's by now.
                let _fenced = self.store.remove(id, Fence(fence)).now_or_never().unwrap();
            }
            Output::Unsubscribe(room) => self.broker.unsubscribe(room),
            Output::Established(peer) => {
                let mut actors = self.actors.values_mut();
                actors.find(|actor| actor.connection == peer.connection).unwrap().peer = Some(peer);
            }
            Output::Refuse(connection, refusal) => {
                let socket = self.sockets.sockets.get_mut(&connection).unwrap();
                if let Some(frame) = &refusal.frame {
                    wire::FRAMING.text(&mut socket.bytes, &codec::encode(frame));
                }
                (wire::FRAMING.close)(&mut socket.bytes, refusal.code.number(), "");
            }
            Output::Close { peer, rest } => {
                self.sockets.sockets.get_mut(&peer.connection).unwrap().bytes.extend(rest);
            }
            Output::Expire(id) => self.shard.expire(now, &id, &mut self.sockets),
            // Transcripts say themselves when a socket is writable.
            _ => {}
        }
    }

    fn publish(&self, sender: &str, publish: &Publish) -> Result<Answer, Rejection> {
        match &publish.to {
            Target::Room(room) => self.publish_to(room.clone(), sender, publish).map(Answer::Published),
            Target::Sessions(ids) => {
                let rooms = ids.iter().map(|id| RoomName::own(&Owner::Session(id.clone())));
                let results = rooms.map(|room| PublishOutcome(self.publish_to(room, sender, publish)));
                Ok(Answer::Several { results: results.collect() })
            }
        }
    }

    /// Streams that clients leave without a name are `stream-1`, `stream-2` and so on.
    fn stream(
        &mut self,
        room: RoomName,
        stream: Option<StreamName>,
        command: Command,
    ) -> Result<Answer, Rejection> {
        let stream = stream.unwrap_or_else(|| {
            self.streams += 1;
            StreamName::new(&format!("stream-{}", self.streams)).unwrap()
        });
        let done = self.broker.stream(room.clone(), stream.clone(), command).now_or_never().unwrap();
        done.map(|done| Answer::of_stream(room, stream, &done)).map_err(|error| error.rejection())
    }

    fn publish_to(
        &self,
        room: RoomName,
        sender: &str,
        publish: &Publish,
    ) -> Result<PublishAnswer, Rejection> {
        let Publish { message, except, id, durability, .. } = publish.clone();
        let key = id.map(|id| PublishKey { sender: sender.into(), id });
        let keep = if publish.ephemeral { Keep::Ephemeral } else { Keep::Record { key, durability } };
        let publication = Publication { room: room.clone(), message, except, keep };
        let published = self.broker.publish(publication).now_or_never().unwrap();
        let (position, durability, duplicate) = match published.map_err(|error| error.rejection())? {
            Published::Stored { position, durability, duplicate } => {
                (Some(position), Some(durability), duplicate)
            }
            Published::Ephemeral => (None, None, false),
        };
        let audience = self.shard.audience(&room, publish.except.as_deref());
        let queued = position.map_or(0, |_| audience.queued);
        Ok(PublishAnswer { room, position, reached: audience.reached, queued, durability, duplicate })
    }
}

fn unavailable() -> Rejection {
    Rejection::new(ErrorCode::Unavailable, "the session store is unavailable")
}

fn announced(news: Announcement) -> Input {
    match news {
        Announcement::Batch(batch) => Input::Batch(Arc::new(EncodedBatch::new(batch, &wire::FRAMING))),
        Announcement::Ephemeral(ephemeral) => {
            Input::Ephemeral(Arc::new(EncodedEphemeral::new(ephemeral, &wire::FRAMING)))
        }
        Announcement::Cancel(cancel) => Input::StreamCancel(Arc::new(cancel)),
        Announcement::Lost => Input::AnnouncementsLost,
    }
}

fn shown(frame: wire::Frame) -> String {
    match frame {
        wire::Frame::Text(text) | wire::Frame::Coded(_, text) => text,
        wire::Frame::Ping => "(ping)".to_owned(),
        wire::Frame::Pong => "(pong)".to_owned(),
        wire::Frame::Close(code) => format!("closed {code}"),
    }
}

/// Whom a token of the transcripts speaks for: `ann`, or `ann;join=a,b*;publish=c;session=s;for=60s;id=t1`. `for` is how
/// long it is valid, `ahead` how far in the future it says that it was issued.
fn identity(token: &Token, now: Now) -> Result<Identity, Rejection> {
    let mut parts = token.expose().split(';');
    let user = parts.next().and_then(|user| UserId::new(user).ok());
    let user = user.ok_or_else(|| Rejection::new(ErrorCode::NotAuthenticated, "this is no token"))?;
    let mut identity = Identity { issued_at: Some(now.timestamp), ..Identity::user(user) };
    identity.grants.session = Names::NONE;
    for part in parts {
        let (name, value) = part.split_once('=').unwrap();
        let names = || {
            let patterns = value.split(',').filter(|text| !text.is_empty());
            Names::Matching(patterns.map(|text| Pattern::new(text).unwrap()).collect())
        };
        match name {
            "join" => identity.grants.join = names(),
            "publish" => identity.grants.publish = names(),
            "session" => identity.grants.session = names(),
            "id" => identity.token = TokenId::new(value).ok(),
            "ahead" => {
                let ahead = u64::try_from(duration(value).as_millis()).unwrap();
                identity.issued_at = Some(Timestamp(now.timestamp.0 + ahead));
            }
            "for" => {
                let until = now.timestamp.0 + u64::try_from(duration(value).as_millis()).unwrap();
                identity.expires_at = Some(Timestamp(until));
            }
            _ => panic!("{name} says nothing in a token"),
        }
    }
    Ok(identity)
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Such as `30s`.
fn duration(text: &str) -> Duration {
    if let Some(millis) = text.strip_suffix("ms") {
        return Duration::from_millis(millis.parse().unwrap());
    }
    Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap())
}
