//! What the client does with what it hears.

use super::*;
use crate::identity::Token;

#[test]
fn a_token_that_ends_soon_is_told_and_a_fresh_one_is_sent_while_connected() {
    let now = Instant::default();
    let mut client = Client::new(ClientConfig::default(), now);
    let refresh = || Input::Authenticate { token: Token::presented("fresh") };
    let outputs = |client: &mut Client| std::iter::from_fn(|| client.poll_output()).collect::<Vec<_>>();
    client.handle(now, refresh());
    assert_eq!(outputs(&mut client), [Output::Connect]);
    client.handle(now, Input::Opened);
    let established = r#"{"type":"connection_established","session":"s","resume_token":"t","resumed":false,"rooms":{},"heartbeat_ms":1}"#;
    client.handle(now, Input::TextReceived(established.to_owned()));
    outputs(&mut client);
    client.handle(now, Input::TextReceived(r#"{"type":"token_expiring","expires_in_ms":60000}"#.to_owned()));
    let expires_in = Duration::from_secs(60);
    assert_eq!(outputs(&mut client), [Output::Event(Event::TokenExpiring { expires_in })]);
    client.handle(now, refresh());
    let frame = r#"{"token":"fresh","type":"auth"}"#.to_owned();
    assert_eq!(outputs(&mut client), [Output::SendText(frame)]);
    client.handle(now, Input::Closed(None));
    client.handle(now, refresh());
    assert!(!outputs(&mut client).iter().any(|output| matches!(output, Output::SendText(_))));
}

/// A client in a room that stands at 12 of the epoch 7, connected again to a server that has another epoch.
struct Returned {
    client: Client,
}

const ROOM: &str = "r";

impl Returned {
    fn new(established: &str) -> Self {
        let mut returned = Self { client: Client::new(ClientConfig::default(), Instant::default()) };
        returned.connect(r#"{"r":{"epoch":"0000000000000007","message_id":8,"replayed":0}}"#, false);
        for offset in 9..=12 {
            returned.hear(&message(offset));
        }
        returned.come_back(established);
        returned
    }

    fn come_back(&mut self, established: &str) {
        self.greet_again();
        self.establish(established, true);
    }

    /// The connection is lost. Returns the `hello` on the next one.
    fn greet_again(&mut self) -> String {
        self.client.handle(Instant::default(), Input::Closed(None));
        self.client.handle_timeout(Instant::default() + Duration::from_secs(60));
        self.client.handle(Instant::default(), Input::Opened);
        let outputs = std::iter::from_fn(|| self.client.poll_output());
        let sent = outputs.filter_map(|output| match output {
            Output::SendText(text) => Some(text),
            _ => None,
        });
        sent.last().unwrap()
    }

    fn connect(&mut self, rooms: &str, resumed: bool) {
        self.client.handle(Instant::default(), Input::Opened);
        self.establish(rooms, resumed);
    }

    fn establish(&mut self, rooms: &str, resumed: bool) {
        self.hear(&format!(
            r#"{{"type":"connection_established","session":"s","resume_token":"t","resumed":{resumed},"rooms":{rooms},"heartbeat_ms":30000}}"#
        ));
    }

    fn hear(&mut self, text: &str) -> Vec<Output> {
        self.client.handle(Instant::default(), Input::TextReceived(text.to_owned()));
        std::iter::from_fn(|| self.client.poll_output()).collect()
    }

    fn takes(&mut self, offset: u64) -> bool {
        !self.hear(&message(offset)).is_empty()
    }

    fn stands(&self) -> Option<(Option<Epoch>, u64)> {
        let room = RoomName::new(ROOM).unwrap();
        self.client.position(&room).map(|(epoch, offset)| (epoch, offset.0))
    }
}

fn message(offset: u64) -> String {
    format!(r#"{{"type":"m","room":"{ROOM}","message_id":{offset},"timestamp":"2026-11-21T12:00:00.000Z"}}"#)
}

const RENAMED: &str = r#"{"r":{"epoch":"0000000000000009","message_id":14,"replayed":2}}"#;

#[test]
fn after_a_reset_to_another_epoch_numbers_that_were_known_before_are_new_ones() {
    let mut returned = Returned::new(RENAMED);
    // The server kept no more than 10 of the former epoch: its 11 and 12 are others.
    let reset =
        r#"{"type":"reset","room":"r","reason":"epoch","epoch":"0000000000000009","from":null,"to":10}"#;
    assert_eq!(returned.hear(reset).len(), 1);
    assert_eq!(returned.stands(), Some((Some(Epoch(9)), 10)));
    assert_eq!([11, 12, 12, 13].map(|offset| returned.takes(offset)), [true, true, false, true]);
}

#[test]
fn a_reset_that_is_lost_with_its_connection_is_told_again_since_the_old_position_is_named_again() {
    let mut returned = Returned::new(RENAMED);
    assert_eq!(returned.stands(), Some((Some(Epoch(7)), 12)));
    returned.come_back(RENAMED);
    assert_eq!(returned.stands(), Some((Some(Epoch(7)), 12)));
}

#[test]
fn what_is_lost_of_an_own_room_that_was_quiet_is_told() {
    let mut returned = Returned::new(r#"{"@all":{"epoch":"0000000000000009","message_id":1,"replayed":0}}"#);
    let reset =
        r#"{"type":"reset","room":"@all","reason":"retention","epoch":"0000000000000009","from":0,"to":1}"#;
    assert_eq!(returned.hear(reset).len(), 1);
}

#[test]
fn without_a_reset_it_goes_on_under_the_new_name() {
    let mut returned = Returned::new(RENAMED);
    let pong = returned.hear(r#"{"type":"ping"}"#);
    let position = r#""r":{"epoch":"0000000000000009","message_id":12}"#;
    assert!(matches!(&pong[..], [Output::SendText(text)] if text.contains(position)), "{pong:?}");
    assert_eq!([12, 13, 14].map(|offset| returned.takes(offset)), [false, true, true]);
    assert_eq!(returned.stands(), Some((Some(Epoch(9)), 14)));
}

#[test]
fn joins_whose_answers_overtake_each_other_are_told_apart() {
    let mut returned = Returned { client: Client::new(ClientConfig::default(), Instant::default()) };
    returned.connect("{}", false);
    for offset in [1, 0] {
        let since = Since::Position(Position { epoch: Epoch(7), offset: Offset(offset) });
        let join = Input::Join { room: RoomName::new(ROOM).unwrap(), since };
        returned.client.handle(Instant::default(), join);
    }
    for (reference, at) in [(1, 2), (2, 3)] {
        returned.hear(&format!(
            r#"{{"type":"reply","ref":{reference},"ok":true,"room":"r","epoch":"0000000000000007","message_id":{at}}}"#
        ));
    }
    returned.hear(r#"{"type":"joined","room":"r","epoch":"0000000000000007","message_id":2}"#);
    assert_eq!(returned.stands(), Some((Some(Epoch(7)), 1)), "where the first one asked to read from");
}

#[test]
fn a_join_that_changes_nothing_is_not_taken_for_the_next_one() {
    let mut returned = Returned { client: Client::new(ClientConfig::default(), Instant::default()) };
    returned.connect(r#"{"r":{"epoch":"0000000000000007","message_id":4,"replayed":0}}"#, false);
    let past = Since::Position(Position { epoch: Epoch(7), offset: Offset(0) });
    for (reference, since) in [(1, Since::Now), (2, past)] {
        let join = Input::Join { room: RoomName::new(ROOM).unwrap(), since };
        returned.client.handle(Instant::default(), join);
        returned.hear(&format!(
            r#"{{"type":"reply","ref":{reference},"ok":true,"room":"r","epoch":"0000000000000007","message_id":4}}"#
        ));
    }
    returned.hear(r#"{"type":"joined","room":"r","epoch":"0000000000000007","message_id":4}"#);
    assert_eq!(returned.stands(), Some((Some(Epoch(7)), 0)), "what is lost since is told next");
}

#[test]
fn a_join_behind_a_position_of_a_former_epoch_is_told_what_is_lost_of_it() {
    let mut returned = Returned::new(RENAMED);
    let since = Since::Position(Position { epoch: Epoch(7), offset: Offset(4) });
    let join = Input::Join { room: RoomName::new(ROOM).unwrap(), since };
    returned.client.handle(Instant::default(), join);
    returned
        .hear(r#"{"type":"reply","ref":1,"ok":true,"room":"r","epoch":"0000000000000009","message_id":6}"#);
    returned.hear(r#"{"type":"joined","room":"r","epoch":"0000000000000009","message_id":6}"#);
    let reset =
        r#"{"type":"reset","room":"r","reason":"retention","epoch":"0000000000000009","from":4,"to":6}"#;
    assert_eq!(returned.hear(reset).len(), 1);
    assert!(returned.takes(7));
}

/// A client that asked to join at 3 of the epoch 7, and has no answer.
fn joining_elsewhere() -> Returned {
    let mut joining = Returned { client: Client::new(ClientConfig::default(), Instant::default()) };
    joining.connect("{}", false);
    let since = Since::Position(Position { epoch: Epoch(7), offset: Offset(3) });
    let join = Input::Join { room: RoomName::new(ROOM).unwrap(), since };
    joining.client.handle(Instant::default(), join);
    joining
}

/// The answer comes: its membership begins at this number of the epoch 9.
fn joined_elsewhere(mut joining: Returned, at: u64) -> Returned {
    let at = format!(r#""room":"r","epoch":"0000000000000009","message_id":{at}}}"#);
    joining.hear(&format!(r#"{{"type":"reply","ref":1,"ok":true,{at}"#));
    joining.hear(&format!(r#"{{"type":"joined",{at}"#));
    joining
}

const PING: &str = r#"{"type":"ping"}"#;
const RESET: &str =
    r#"{"type":"reset","room":"r","reason":"epoch","epoch":"0000000000000009","from":null,"to":5}"#;
const POSITION: &str = r#"{"type":"position","room":"r","epoch":"0000000000000009","message_id":6}"#;
const ASKED: &str = r#""positions":{"r":{"epoch":"0000000000000007","message_id":3}}"#;

fn names(offset: u64) -> String {
    format!(r#""positions":{{"r":{{"epoch":"0000000000000009","message_id":{offset}}}}}"#)
}

#[test]
fn who_joined_by_another_historys_number_names_that_until_it_is_known_what_became_of_it() {
    for (joined_at, told, named) in [
        (5, &[][..], ASKED),
        // It may overtake the reset.
        (5, &[PING], ASKED),
        (5, &[RESET], &names(5)),
        // That history went on in this one: there is no reset.
        (3, &[&message(4)], &names(4)),
        (3, &[POSITION], &names(6)),
    ] {
        let mut joined = joined_elsewhere(joining_elsewhere(), joined_at);
        told.iter().for_each(|frame| drop(joined.hear(frame)));
        let hello = joined.greet_again();
        assert!(hello.contains(named), "{joined_at} {told:?}: {hello}");
    }
}

#[test]
fn who_joined_by_another_historys_number_acknowledges_nothing_until_it_is_known_what_became_of_it() {
    let mut joined = joined_elsewhere(joining_elsewhere(), 5);
    assert_eq!(joined.hear(PING), [Output::SendText(r#"{"type":"pong"}"#.to_owned())]);
    joined.hear(RESET);
    let pong = joined.hear(PING);
    assert!(matches!(&pong[..], [Output::SendText(text)] if text.contains(&names(5))), "{pong:?}");
}

#[test]
fn another_historys_number_went_on_where_no_reset_follows_on_the_next_connection() {
    let mut joined = joined_elsewhere(joining_elsewhere(), 5);
    joined.come_back(RENAMED);
    // The reset may still have been to come.
    assert!(joined.greet_again().contains(ASKED));
    joined.establish(RENAMED, true);
    let pong = joined.hear(PING);
    assert!(matches!(&pong[..], [Output::SendText(text)] if text.contains(&names(3))), "{pong:?}");
    let hello = joined.greet_again();
    assert!(hello.contains(&names(3)), "{hello}");
}

#[test]
fn a_join_elsewhere_that_was_sent_twice_does_not_bring_the_other_historys_number_back() {
    let mut joining = joining_elsewhere();
    // It was carried out, and its answer lost with the connection.
    joining.come_back(RENAMED);
    assert!(joining.takes(13));
    let mut joined = joined_elsewhere(joining, 5);
    assert_eq!(joined.stands(), Some((Some(Epoch(9)), 13)));
    let hello = joined.greet_again();
    assert!(hello.contains(&names(13)), "{hello}");
}

fn chunk(message_id: u64, at: u64, content: &str) -> String {
    format!(
        r#"{{"type":"chunk","stream":"s","at":{at},"content":"{content}","data":{{"n":1.0}},"room":"{ROOM}","message_id":{message_id},"timestamp":"2026-11-21T12:00:00.000Z"}}"#
    )
}

fn complete(message_id: u64) -> String {
    format!(r#"{{"type":"complete","stream":"s","room":"{ROOM}","message_id":{message_id},"timestamp":"-"}}"#)
}

/// A client in a room that stands at 5.
fn reading() -> Returned {
    let mut reading = Returned { client: Client::new(ClientConfig::default(), Instant::default()) };
    reading.connect(r#"{"r":{"epoch":"0000000000000007","message_id":5,"replayed":0}}"#, false);
    while reading.client.poll_output().is_some() {}
    reading
}

const RESUMED: &str = r#"{"r":{"epoch":"0000000000000007","message_id":20,"replayed":0}}"#;

impl Returned {
    /// Where the chunk begins that the application gets, and what it says; a fault where the connection is given up.
    fn given(&mut self, text: &str) -> Given {
        match &self.hear(text)[..] {
            [] => Given::Nothing,
            [Output::Event(Event::Message { text, .. })] => {
                let chunk: serde_json::Value = serde_json::from_str(text).unwrap();
                Given::Text(chunk["at"].as_u64().unwrap(), chunk["content"].as_str().unwrap().to_owned())
            }
            [Output::Close(None), Output::Event(Event::Disconnected { retry_at: Some(_) })] => Given::Fault,
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Given {
    Nothing,
    Text(u64, String),
    Fault,
}

fn text(at: u64, content: &str) -> Given {
    Given::Text(at, content.to_owned())
}

#[test]
fn r27_streams_a_text_is_given_once_whatever_comes_again() {
    let mut reading = reading();
    assert_eq!(reading.given(&chunk(6, 0, "")), text(0, ""));
    assert_eq!(reading.given(&chunk(7, 0, "añ")), text(0, "añ"));
    assert!(reading.takes(9));
    reading.come_back(RESUMED);
    // The position was kept, and so was the text: only what is new of it is given, and the position does not fall.
    assert_eq!(reading.given(&chunk(9, 0, "añ")), Given::Nothing);
    assert_eq!(reading.given(&chunk(9, 1, "ñ😀d")), text(2, "😀d"));
    assert_eq!(reading.stands(), Some((Some(Epoch(7)), 9)));
    assert_eq!(reading.given(&chunk(11, 4, "e")), text(4, "e"));
    assert_eq!(reading.hear(&complete(12)).len(), 1);
    assert!(reading.hear(&complete(12)).is_empty());
}

#[test]
fn r27_streams_a_chunk_that_is_cut_says_so_and_keeps_everything_else() {
    let mut reading = reading();
    reading.hear(&chunk(6, 0, "ab"));
    let cut = reading.hear(&chunk(7, 0, "ab\\nc"));
    let [Output::Event(Event::Message { room, message_id, text })] = &cut[..] else { panic!("{cut:?}") };
    assert_eq!((room.as_str(), *message_id), (ROOM, Some(Offset(7))));
    let cut: serde_json::Value = serde_json::from_str(text).unwrap();
    let expected = serde_json::json!({"type": "chunk", "stream": "s", "at": 2, "content": "\nc", "room": ROOM,
        "message_id": 7, "timestamp": "2026-11-21T12:00:00.000Z"});
    assert_eq!(cut, expected);
}

#[test]
fn r27_streams_a_text_comes_anew_after_a_reset_a_replay_and_a_new_membership() {
    let reset =
        r#"{"type":"reset","room":"r","reason":"cleared","epoch":"0000000000000007","from":6,"to":8}"#;
    let left = r#"{"type":"left","room":"r","reason":"removed"}"#;
    let joined = r#"{"type":"joined","room":"r","epoch":"0000000000000007","message_id":8}"#;
    for told in [&[reset][..], &[left, joined]] {
        let mut reading = reading();
        assert_eq!(reading.given(&chunk(6, 0, "ab")), text(0, "ab"));
        told.iter().for_each(|frame| assert!(!reading.hear(frame).is_empty()));
        assert_eq!(reading.given(&chunk(8, 0, "abc")), text(0, "abc"), "{told:?}");
    }
    let mut reading = reading();
    assert_eq!(reading.given(&chunk(6, 0, "ab")), text(0, "ab"));
    let replay = Input::Replay { room: RoomName::new(ROOM).unwrap(), after: Offset(5) };
    reading.client.handle(Instant::default(), replay);
    reading
        .hear(r#"{"type":"reply","ref":1,"ok":true,"room":"r","epoch":"0000000000000007","message_id":5}"#);
    assert_eq!(reading.given(&chunk(6, 0, "abc")), text(0, "abc"));
}

#[test]
fn r27_streams_a_gap_in_a_text_ends_the_connection_and_the_next_one_mends_it() {
    let mut reading = reading();
    assert_eq!(reading.given(&chunk(6, 0, "ab")), text(0, "ab"));
    assert_eq!(reading.given(&chunk(7, 3, "d")), Given::Fault);
    assert_eq!(reading.stands(), Some((Some(Epoch(7)), 6)));
    reading.client.handle_timeout(Instant::default() + Duration::from_secs(60));
    reading.connect(RESUMED, true);
    while reading.client.poll_output().is_some() {}
    assert_eq!(reading.given(&chunk(6, 0, "abcd")), text(2, "cd"));
}

#[test]
fn r27_streams_a_join_that_was_sent_twice_brings_no_ended_stream_back() {
    let mut joining = Returned { client: Client::new(ClientConfig::default(), Instant::default()) };
    joining.connect("{}", false);
    let join = Input::Join { room: RoomName::new(ROOM).unwrap(), since: Since::Start };
    joining.client.handle(Instant::default(), join);
    // Carried out; its answer was lost with the connection.
    joining.come_back(r#"{"r":{"epoch":"0000000000000007","message_id":9,"replayed":2}}"#);
    assert_eq!(joining.given(&chunk(2, 0, "ab")), text(0, "ab"));
    joining.hear(&complete(4));
    joining.hear(&chunk(5, 0, "other").replace(r#""stream":"s""#, r#""stream":"t""#));
    assert!(joining.takes(9));
    let at = r#""room":"r","epoch":"0000000000000007","message_id":0}"#;
    joining.hear(&format!(r#"{{"type":"reply","ref":1,"ok":true,{at}"#));
    joining.hear(&format!(r#"{{"type":"joined",{at}"#));
    assert_eq!(joining.given(&chunk(2, 0, "ab")), Given::Nothing);
    assert!(joining.hear(&complete(4)).is_empty());
    let more = chunk(5, 0, "other one").replace(r#""stream":"s""#, r#""stream":"t""#);
    assert_eq!(joining.given(&more), text(5, " one"));
}

#[test]
fn r27_streams_texts_of_a_room_that_is_new_to_the_client_are_given_though_the_replay_counts_none() {
    let mut reading = reading();
    reading.come_back(r#"{"q":{"epoch":"0000000000000007","message_id":9,"replayed":0}}"#);
    let in_q = |text: String| text.replace(r#""room":"r""#, r#""room":"q""#);
    assert_eq!(reading.given(&in_q(chunk(4, 0, "ab"))), text(0, "ab"));
    assert_eq!(reading.given(&in_q(chunk(9, 2, "c"))), text(2, "c"));
}

#[test]
fn r27_streams_what_a_producer_is_told_is_no_message() {
    let cancel = r#"{"type":"stream_cancel","room":"r","stream":"s","by":{"session":null,"user":null}}"#;
    assert!(reading().hear(cancel).is_empty());
}
